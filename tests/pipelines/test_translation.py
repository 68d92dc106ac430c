"""Table 6 in one stage: a small corpus and small models, from data to the page of examples."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from pipelines.table6_report import report
from pipelines.translation import translation
from pipelines.translation_job import Job
from pipelines.translation_settings import read

from benchmarks.errors import InputError
from pipelines import table6
from pipelines.config import params
from pipelines.jobs.records import write_records
from pipelines.reporting.pages import index
from tests.optional import PREPARING, skip_without

ROOT = Path(__file__).parents[2]
NAME = "toy_translation"


def _small() -> dict:
    """params.yaml with everything of translation made small."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    train = {"epochs": 3, "lr": 0.01, "warmup": 5, "tokens": 300, "smoothing": 0.0}
    editing = {"editor": "rmsprop", "hyperparameters": {"lr": 0.001}, "c_edit": 100, "c_loc": 100}
    editing |= {"pool": 4, "alternatives": 4, "max_steps": 2}
    params |= {"processes": 1, "training_seeds": [0, 1], "run_translation": [NAME]}
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
                {"training": "plain", "editor": "covariance", "layers": "last_feed_forward", "views": 2},
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
    skip_without(*PREPARING)
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
    assert table["published_bleu_drawdown"].tolist()[:2] == [0.76, 0.35]
    assert pd.isna(table["published_bleu_drawdown"][2])  # tuned: another row than the paper's
    assert "case:lc" in (results / "table6.md").read_text()
    run = json.loads((results / "run.json").read_text())
    models = [f"{name}{seed}" for name in ("plain", "editable-100") for seed in ("", "@1")]
    assert set(run["seconds"]) == {f"{done}/{model}" for done in ("train", "translate") for model in models}
    assert run["packages"]["fairseq-fixed"]
    assert run["parameters"]["note"] == "Small."
    assert set(run["data"]["sizes"]) == {"training", "validation", "test"}


@pytest.mark.parametrize("succeeded", [[False, True, False, False], [False] * 4])
def test_edits_that_failed_are_read_as_failures(project, succeeded):
    path = project / "results" / NAME / "edits" / "plain-rmsprop-last_decoder_layer-lr0.001.csv"
    records = pd.read_csv(path, keep_default_na=False)
    write_records(path, records.assign(succeeded=succeeded))
    job = _job(project)
    results = table6.read(job)
    assert results[0].records["succeeded"].tolist() == succeeded
    assert table6.table(job.chosen, results)["success_rate"][0] == 25 * sum(succeeded)


def test_the_time_that_decoding_takes_stands_in_files_of_timings(project):
    results = project / "results" / NAME
    timings = pd.read_csv(results / "timings.csv")
    seconds = json.loads((results / "run.json").read_text())["seconds"]
    for row in timings.itertuples():
        written = json.loads((results / "translations" / f"{row.training}.timing.json").read_text())
        assert written == {"seconds": row.decoding_seconds, "sentences": row.test_sentences}
        assert row.test_sentences == 10
        assert 0 < row.decoding_seconds == seconds[f"translate/{row.training}"]
    assert len(list((results / "translations").glob("*.timing.json"))) == 4


def test_the_index_leads_to_the_table_and_says_its_best_row(project):
    (project / "results/published").mkdir()
    (project / "results/published/table6.csv").write_text("training\n")  # no benchmark
    report(_job(project))
    index = (project / "results/README.md").read_text()
    assert "## published" not in index
    table = pd.read_csv(project / "results" / NAME / "table6.csv")
    assert f"## {NAME}\n\nSmall.\n\nSmallest BLEU drawdown" in index
    assert f"**{table['bleu_drawdown'].min():.2f} points**" in index
    for file in ("table6.md", "table6.csv", "examples.md", "claims.md", "figures/table6.png", "run.json"):
        assert f"]({NAME}/{file})" in index


def test_the_page_shows_what_was_said_wanted_and_done(project):
    results = project / "results" / NAME
    records = pd.read_csv(results / "edits" / "plain-rmsprop-last_decoder_layer-lr0.001.csv", keep_default_na=False)
    page = (results / "examples.md").read_text()
    shown = records[~records["trivial"]].iloc[0]
    for text in (shown["source"], shown["before"], shown["target"], shown["after"]):
        assert re.sub(r"([\\|*`])", r"\\\1", text).replace("<", "&lt;") in page


def test_every_model_is_asked_for_the_same_edits(project):
    tables = [
        pd.read_csv(path)
        for path in sorted((project / "results" / NAME / "edits").glob("*lr0.001*.csv"))
        if "timing" not in path.name
    ]
    assert len(tables) == 4  # two rows, each with two training seeds
    for table in tables[1:]:
        assert tables[0]["sentence"].tolist() == table["sentence"].tolist()
        assert tables[0]["target"].tolist() == table["target"].tolist()
    lines = (project / "results" / NAME / "edits" / "requests.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["sentence"] for line in lines] == tables[0]["sentence"].tolist()


def _bytes(project: Path) -> dict[str, bytes]:
    files = sorted(path for path in (project / "results").rglob("*") if path.is_file() and "timing" not in path.name)
    return {str(path.relative_to(project)): path.read_bytes() for path in files if path.name != "run.json"}


def test_again_it_changes_nothing_and_says_so(project, capsys):
    before = _bytes(project)
    translation(NAME, project / "params.yaml")
    printed = capsys.readouterr().out
    assert printed.count("unchanged") == 1 + 4 + 2 + 2 + 8  # data, models, requests, searches, rows
    assert _bytes(project) == before
    assert json.loads((project / "mlflow" / f"{NAME}.json").read_text())["created"] == 0


def test_lost_records_come_back_byte_by_byte(project):
    before = _bytes(project)
    for path in (project / "results" / NAME / "edits").glob("plain-*"):
        path.unlink()
    shutil.rmtree(project / "results" / NAME / "tuned")
    shutil.rmtree(project / "models" / NAME / "editable-100")
    translation(NAME, project / "params.yaml")
    assert _bytes(project) == before


def test_pages_say_which_rows_have_views_and_nothing_of_a_learning_rate_that_is_not_there(project):
    folder = project / "results" / NAME
    page = (folder / "table6.md").read_text("utf-8")
    (row,) = [line for line in page.splitlines() if "covariance" in line]
    assert row.startswith("| plain | covariance, 2 views | last_feed_forward | – <sup>")
    assert "up to 2 sentences near the edited one had to follow too" in page
    assert pd.read_csv(folder / "timings.csv")["views"].tolist() == [0, 0, 0, 2]
    table = pd.read_csv(folder / "table6.csv")
    table.loc[3, "bleu_drawdown"] = table["bleu_drawdown"].min() - 1
    said = index._translation(table.assign(success_rate=100.0))
    assert "by `covariance, 2 views` on `last_feed_forward` of the `plain` model" in said
    assert row.split("|")[1:4] == _line_of(folder.parent / "README.md", "covariance").split("|")[1:4]
    pages = [page, (folder / "examples.md").read_text("utf-8"), (folder.parent / "README.md").read_text("utf-8"), said]
    assert not any("nan" in text.lower().split() for text in pages)


def _line_of(path: Path, word: str) -> str:
    (line,) = [line for line in path.read_text("utf-8").splitlines() if line.startswith("|") and word in line]
    return line


def test_nothing_published_stands_beside_a_row_with_views(project):
    chosen, (first, *_) = _job(project).chosen, table6.read(_job(project))
    for views, published in ((None, True), (2, False)):
        row = first.row.model_copy(update={"views": views})
        line = table6.table(chosen, [replace(first, cell=replace(first.cell, row=row))]).iloc[0]
        assert np.isfinite(line["published_bleu_drawdown"]) == published


def test_a_report_without_records_is_one_sentence(project):
    (project / "results" / NAME / "edits" / "plain-rmsprop-last_decoder_layer-lr0.001.csv").unlink()
    with pytest.raises(InputError, match="is missing or broken .*: remove them and run `python -m pipelines.transl"):
        report(_job(project))


def test_another_training_shows_in_the_spread_and_not_in_the_interval(project):
    table = pd.read_csv(project / "results" / NAME / "table6.csv").query("views == 0").set_index(["training", "tuned"])
    folder = project / "results" / NAME / "edits"
    means = []
    for model in ("plain", "plain@1"):
        records = pd.read_csv(folder / f"{_cell_file(model)}.csv")
        means.append((records["bleu_before"] - records["bleu_after"]).abs().mean())
    row = table.loc[("plain", False)]
    assert row["bleu_drawdown"] == pytest.approx(means[0])
    assert row["bleu_drawdown_seeds_mean"] == pytest.approx(sum(means) / 2)
    assert row["bleu_drawdown_seeds_std"] == pytest.approx(abs(means[0] - means[1]) / 2**0.5)
    assert (table["seeds"] == 2).all()
    assert "sd over trainings" in (project / "results" / NAME / "table6.md").read_text()


def _cell_file(model: str) -> str:
    training, _, seed = model.partition("@")
    return f"{training}{'@' + seed if seed else ''}-rmsprop-last_decoder_layer-lr0.001"


def test_a_searched_learning_rate_is_chosen_on_validation_edits_and_used_on_test_edits(project):
    folder = project / "results" / NAME
    file = "editable-100-rmsprop-last_decoder_layer-tuned_lr"
    tuned = json.loads((folder / "tuned" / f"{file}.json").read_text())
    trials = pd.read_csv(folder / "tuned" / f"{file}.csv")
    assert tuned["hyperparameters"] == {"lr": pytest.approx(trials.loc[trials["chosen"], "lr"].item())}
    assert set(trials.columns) >= {"lr", "beta", "eps", "bleu_drawdown", "success_rate", "feasible"}
    row = pd.read_csv(folder / "table6.csv").query("tuned").iloc[0]
    assert row["lr"] == pytest.approx(tuned["hyperparameters"]["lr"])
    assert "tuned" in row["note"]
    validation, test = (
        {json.loads(line)["source"] for line in (folder / where / "requests.jsonl").read_text("utf-8").splitlines()}
        for where in ("tuned", "edits")
    )
    prepared = project / "data" / NAME
    units = {split: (prepared / f"{split}.bpe.de").read_text("utf-8").splitlines() for split in ("valid", "test")}
    assert validation <= set(units["valid"])
    assert test <= set(units["test"])


def test_mlflow_has_a_run_for_every_row_and_training(project):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project}/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name(NAME)
    runs = {run.data.tags["suite.key"]: run for run in client.search_runs([experiment.experiment_id])}
    table = pd.read_csv(project / "results" / NAME / "table6.csv")
    *first, _ = table.itertuples()
    rows = [f"{row.training}/rmsprop/last_decoder_layer/{'tuned ' * row.tuned}{row.lr:g}" for row in first]
    rows.append("plain/covariance, 2 views/last_feed_forward/defaults")
    trainings = [f"training/{name}{seed}" for name in ("plain", "editable-100") for seed in ("", "@1")]
    assert sorted(runs) == sorted([*rows, *trainings])
    assert runs[rows[0]].data.metrics["bleu_drawdown"] == pytest.approx(table["bleu_drawdown"][0])
    assert runs["training/editable-100@1"].data.metrics["locality_loss"] > 0


def test_raw_files_where_prepared_ones_go_are_one_sentence(project):
    params = _small()
    raw = project / "data" / "multi30k" / "train.de"
    raw.parent.mkdir(parents=True)
    raw.write_text("Ein Hund.\n")
    block = params["translation"].pop(NAME) | {"data": {"corpus": "multi30k", "options": {"folder": "data/multi30k"}}}
    params |= {"translation": {"multi30k": block}, "run_translation": []}
    with pytest.raises(InputError, match="data/multi30k is where prepared data go, not raw files"):
        translation("multi30k", _write(project, params))


def _job(project: Path) -> Job:
    loaded = params.load(project / "params.yaml")
    return Job(loaded, NAME, read(loaded, NAME))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda block: block["data"].update(corpus="wmt"), "unknown corpus 'wmt'"),
        (lambda block: block["data"]["options"].update(size=3), "corpus 'toy_translation' has no option 'size'"),
        (lambda block: block["model"].update(heads=3), "embed_dim must be a multiple of heads, not 16 for 3"),
        (lambda block: block["rows"][0].update(training="other"), "rows: unknown training 'other'"),
        (lambda block: block["rows"][0]["hyperparameters"].update(lr=-1.0), "rmsprop.lr must be a number > 0"),
        (lambda block: block["rows"].append(block["rows"][0]), "rows: two are alike"),
        (
            lambda block: block["rows"].append({"training": "plain", "editor": "gd_ewc"}),
            "editor 'gd_ewc' must know classes of its training data: translators have none",
        ),
        (
            lambda block: block["rows"][2].update(search=["mu"]),
            "search: 'mu' cannot be tuned for this row; rmsprop lea",
        ),
        (lambda block: block.pop("tuning"), "rows: 'editable-100' has a 'search', so there must be a block 'tuning'"),
        (lambda block: block["data"]["options"].update(merges="x"), "option 'merges' of corpus 'toy_translation' must"),
        (lambda block: block["edits"].update(score="mean"), "score must be one of sum, token_average, not 'mean'"),
        (lambda block: block["trainings"]["editable-100"].update(start="other"), "unknown training 'other'"),
        (lambda block: block["trainings"].pop("plain"), "trainings must have `plain`"),
        (lambda block: block["trainings"]["editable-100"]["editing"].update(editor="lookup_cache"), "lookup_cache"),
        (
            lambda block: block["trainings"]["editable-100"]["editing"].update(editor="gd_ewc"),
            "editor 'gd_ewc' needs statistics of a trained model: Editable Training takes those that follow",
        ),
        (
            lambda block: block["edits"].update(counts=3),
            "translation.toy_translation: unknown key 'edits.counts'; did you mean 'count'? allowed",
        ),
    ],
)
def test_a_mistake_in_the_parameters_is_one_sentence(tmp_path, change, message):
    params = _small()
    change(params["translation"][NAME])
    with pytest.raises(ValueError, match=re.escape(message)) as found:
        read(params.load(_write(tmp_path, params)), NAME)
    assert "\n" not in str(found.value)
