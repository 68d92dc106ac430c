"""Table 6 in one stage: a small corpus and small models, from data to the page of examples."""

from __future__ import annotations

import json
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
import yaml

from benchmarks.errors import InputError
from pipelines import settings
from pipelines.table6_report import report
from pipelines.translation import translation
from pipelines.translation_settings import read

pytestmark = pytest.mark.skipif(find_spec("fairseq") is None, reason="needs the extra `translation`")

ROOT = Path(__file__).parents[2]
NAME = "toy_translation"


def _small() -> dict:
    """params.yaml with everything of translation made small."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    train = {"epochs": 4, "lr": 0.01, "warmup": 5, "tokens": 300, "smoothing": 0.0}
    editing = {"editor": "rmsprop", "hyperparameters": {"lr": 0.001}, "c_edit": 100, "c_loc": 100}
    editing |= {"pool": 4, "alternatives": 4, "max_steps": 2}
    params["processes"] = 1
    params["translation"] = {
        NAME: {
            "note": "Small.",
            "data": {
                "corpus": NAME,
                "options": {"train_size": 60, "valid_size": 8, "test_size": 10, "merges": 400},
            },
            "model": {"embed_dim": 16, "ffn_dim": 32, "heads": 2, "layers": 2, "dropout": 0.0, "max_positions": 64},
            "trainings": {"plain": train, "editable-100": train | {"epochs": 1, "start": "plain", "editing": editing}},
            "edits": {"count": 4, "control_size": 5, "alternatives": 4, "shard": 2},
            "rows": [
                {"training": "plain", "editor": "rmsprop", "hyperparameters": {"lr": 0.001}},
                {"training": "editable-100", "editor": "rmsprop", "hyperparameters": {"lr": 0.001}},
                {"training": "editable-100", "editor": "rmsprop", "search": ["lr"]},
            ],
            "tuning": {"edits": 4, "control_size": 3, "min_success": 75.0, "trials": 2},
        }
    }
    return params


def _write(folder: Path, params: dict) -> Path:
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(params))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder in which the stage has run once."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        translation(NAME, _write(folder, _small()))
    return folder


@pytest.fixture
def project(made, tmp_path, monkeypatch):
    """A copy of that folder to work in."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_table_is_computed_from_the_records(project):
    results = project / "results" / NAME
    table = pd.read_csv(results / "table6.csv")
    records = pd.read_csv(results / "edits" / "plain-rmsprop-last_decoder_layer-lr0.001.csv")
    row = table.iloc[0]
    assert (row["training"], row["editor"], row["layers"], row["lr"]) == (
        "plain",
        "rmsprop",
        "last_decoder_layer",
        0.001,
    )
    assert row["bleu_drawdown"] == pytest.approx((records["bleu_before"] - records["bleu_after"]).abs().mean())
    assert row["num_steps"] == pytest.approx(records["steps"].mean())
    assert row["success_rate"] == pytest.approx(100 * records["succeeded"].mean())
    assert row["bleu_low"] <= row["bleu"] <= row["bleu_high"]
    assert row["published_bleu"] == 34.77
    assert table["published_bleu_drawdown"].tolist() == [0.76, 0.35]
    assert "case:lc" in (results / "table6.md").read_text()
    run = json.loads((results / "run.json").read_text())
    assert set(run["seconds"]) == {"train/plain", "train/editable-100"}
    assert run["packages"]["fairseq-fixed"]


def test_the_index_leads_to_the_table_and_says_its_best_row(project):
    (project / "results/published").mkdir()
    (project / "results/published/table6.csv").write_text("training\n")  # no benchmark
    report(settings.load(), NAME, read(settings.load(), NAME))
    index = (project / "results/README.md").read_text()
    assert "## published" not in index
    table = pd.read_csv(project / "results" / NAME / "table6.csv")
    assert f"## {NAME}\n\nSmall.\n\nSmallest BLEU drawdown" in index
    assert f"**{table['bleu_drawdown'].min():.2f} points**" in index
    for file in ("table6.md", "table6.csv", "examples.md", "run.json"):
        assert f"]({NAME}/{file})" in index


def test_the_page_shows_what_was_said_wanted_and_done(project):
    results = project / "results" / NAME
    records = pd.read_csv(results / "edits" / "plain-rmsprop-last_decoder_layer-lr0.001.csv", keep_default_na=False)
    page = (results / "examples.md").read_text()
    shown = records[~records["trivial"]].iloc[0]
    for text in (shown["source"], shown["before"], shown["target"], shown["after"]):
        assert re.sub(r"([\\|*`])", r"\\\1", text).replace("<", "&lt;") in page


def test_every_model_is_asked_for_the_same_edits(project):
    tables = [pd.read_csv(path) for path in sorted((project / "results" / NAME / "edits").glob("*lr0.001.csv"))]
    assert len(tables) == 2
    assert tables[0]["sentence"].tolist() == tables[1]["sentence"].tolist()
    assert tables[0]["target"].tolist() == tables[1]["target"].tolist()
    lines = (project / "results" / NAME / "edits" / "requests.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["sentence"] for line in lines] == tables[0]["sentence"].tolist()


def _bytes(project: Path) -> dict[str, bytes]:
    files = sorted(path for path in (project / "results").rglob("*") if path.is_file() and "timing" not in path.name)
    return {str(path.relative_to(project)): path.read_bytes() for path in files if path.name != "run.json"}


def test_again_it_changes_nothing_and_says_so(project, capsys):
    before = _bytes(project)
    translation(NAME, project / "params.yaml")
    printed = capsys.readouterr().out
    assert printed.count("unchanged") == 1 + 2 + 1 + 2  # data, models, requests, rows
    assert _bytes(project) == before


def test_lost_records_come_back_byte_by_byte(project):
    before = _bytes(project)
    for path in (project / "results" / NAME / "edits").glob("plain-*"):
        path.unlink()
    shutil.rmtree(project / "models" / NAME / "editable-100")
    translation(NAME, project / "params.yaml")
    assert _bytes(project) == before


def test_a_report_without_records_is_one_sentence(project):
    (project / "results" / NAME / "edits" / "plain-rmsprop-last_decoder_layer-lr0.001.csv").unlink()
    loaded = settings.load(project / "params.yaml")
    chosen = read(loaded, NAME)
    with pytest.raises(InputError, match="are missing or broken .*: remove them and run `python -m pipelines.transl"):
        report(loaded, NAME, chosen)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda block: block["data"].update(corpus="wmt"), "unknown corpus 'wmt'"),
        (lambda block: block["data"]["options"].update(size=3), "corpus 'toy_translation' has no option 'size'"),
        (lambda block: block["model"].update(heads=3), "embed_dim must be a multiple of heads, not 16 for 3"),
        (lambda block: block["rows"][0].update(training="other"), "rows: unknown training 'other'"),
        (lambda block: block["rows"][0]["hyperparameters"].update(lr=-1.0), "rmsprop.lr must be a number > 0"),
        (lambda block: block["rows"].append(block["rows"][0]), "rows: two are alike"),
        (lambda block: block["edits"].update(score="mean"), "score must be one of sum, token_average, not 'mean'"),
        (lambda block: block["trainings"]["editable-100"].update(start="other"), "unknown training 'other'"),
        (lambda block: block["trainings"].pop("plain"), "trainings must have `plain`"),
        (lambda block: block["trainings"]["editable-100"]["editing"].update(editor="lookup_cache"), "lookup_cache"),
        (
            lambda block: block["edits"].update(counts=3),
            "translation.toy_translation: unknown key 'edits.counts'; allowed",
        ),
    ],
)
def test_a_mistake_in_the_parameters_is_one_sentence(tmp_path, change, message):
    params = _small()
    change(params["translation"][NAME])
    with pytest.raises(ValueError, match=re.escape(message)) as found:
        read(settings.load(_write(tmp_path, params)), NAME)
    assert "\n" not in str(found.value)
