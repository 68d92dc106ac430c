"""Translators through the same stages as classifiers: a small corpus, small models, and what is particular to them."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.errors import InputError
from pipelines.tasks import load_settings
from tests.optional import PREPARING, skip_without
from tests.pipelines.conftest import MISSING, PARAMS, Project, changed, write_project

TRAINING = {"recipe": "plain", "epochs": 3, "lr": 0.01, "warmup": 5, "tokens": 300, "smoothing": 0.0}
EDITABLE = TRAINING | {"recipe": "editable", "epochs": 1, "start": "plain", "editor": "rmsprop", "max_steps": 2}
SMALL = {
    "task": "translation",
    "note": "Small.",
    "data": {
        "dataset": "toy_translation",
        "options": {"train_size": 60, "valid_size": 8, "test_size": 10, "merges": 400},
    },
    "model": {"embed_dim": 16, "ffn_dim": 32, "heads": 2, "layers": 2, "dropout": 0.0, "max_positions": 64},
    "trainings": {
        "plain": TRAINING,
        "editable-100": EDITABLE | {"c_edit": 100.0, "c_loc": 100.0, "pool": 4, "alternatives": 4},
    },
    "requests": {"alternatives": 4},
    "editors": {
        "rmsprop_1e-3": {
            **{"method": "rmsprop", "trials": 0, "fixed": {"lr": 1e-3}},
            "layers": {"plain": ["last_decoder_layer"], "editable-100": ["last_decoder_layer"]},
        },
        "rmsprop": {"trials": 2, "fixed": {"beta": 0.5, "eps": 1e-6}},  # of the model that is prepared for it
        "covariance": {"views": 2, "trials": 0, "layers": {"plain": ["last_feed_forward"]}},
    },
    "tuning": {"edits": 4, "control_size": 3, "min_success": 75.0},
    "evaluation": {"edits": 4, "control_size": 5, "shard": 2},
    "analysis": {"cells": [["editable-100", "rmsprop", "last_decoder_layer"]]},
}
RUN = PARAMS | {"run": ["toy"]}
RESULTS = "results/toy"
IMPORTS = "import sacrebleu, sacremoses, subword_nmt.apply_bpe, benchmarks.translation.toolkit as kit; kit.fairseq()"
STAGES = ("prepare", "train", "tune", "evaluate", "analyse", "report")


@pytest.fixture(scope="module")
def made(stage_server: subprocess.Popen[str], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A folder in which the stages have run once; not to be written to."""
    skip_without(*PREPARING)
    folder = write_project(tmp_path_factory.mktemp("translation"), RUN | {"training_seeds": [0, 1]}, toy=SMALL)
    project = Project(folder, stage_server, IMPORTS)
    for stage in STAGES:
        project.succeed(stage, "toy")
    return project


@pytest.fixture
def project(made: Project, tmp_path: Path) -> Project:
    """A copy of that folder to work in."""
    return made.copy(tmp_path / "project")


def read(project: Project, path: str) -> pd.DataFrame:
    return pd.read_csv(project.folder / RESULTS / path, keep_default_na=False, na_values=[""])


def drawn(project: Project, name: str) -> list[dict]:
    lines = (project.folder / RESULTS / f"requests/{name}.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_every_model_is_asked_for_the_same_edits(made):
    files = sorted(
        path for path in (made.folder / RESULTS / "edits").glob("*/*.csv") if not path.name.endswith(".timing.csv")
    )
    assert [path.relative_to(made.folder / RESULTS / "edits").as_posix() for path in files] == [
        f"{editor}/{training}{seed}-{layers}.csv"
        for editor, training, layers in (
            ("covariance", "plain", "last_feed_forward"),
            ("rmsprop", "editable-100", "last_decoder_layer"),
            ("rmsprop_1e-3", "editable-100", "last_decoder_layer"),
            ("rmsprop_1e-3", "plain", "last_decoder_layer"),
        )
        for seed in ("", "@1")
    ]
    for path in files:
        assert pd.read_csv(path)["sentence"].tolist() == [one["sentence"] for one in drawn(made, "test")]
        described = json.loads(path.with_suffix(".json").read_text())
        assert described["bleu_low"] <= described["bleu"] <= described["bleu_high"]
        assert "case:lc" in described["bleu_signature"]
        assert (described["test_sentences"], described["score"]) == (10, "sum")


def test_edits_are_of_their_own_split_and_a_searched_learning_rate_was_found_on_the_other(made):
    folder = made.folder / "data/toy"
    units = {split: (folder / f"{split}.bpe.de").read_text("utf-8").splitlines() for split in ("valid", "test")}
    for name, split in (("tuning", "valid"), ("test", "test")):
        assert {one["source"] for one in drawn(made, name)} <= set(units[split])
    tuned = json.loads((made.folder / RESULTS / "tuned/rmsprop/editable-100-last_decoder_layer.json").read_text())
    trials = read(made, "tuned/rmsprop/editable-100-last_decoder_layer.csv")
    assert tuned["hyperparameters"]["lr"] == pytest.approx(trials.loc[trials["chosen"], "lr"].item())
    records = json.loads((made.folder / RESULTS / "edits/rmsprop/editable-100-last_decoder_layer.json").read_text())
    assert records["hyperparameters"] == tuned["hyperparameters"]
    given = json.loads((made.folder / RESULTS / "tuned/rmsprop_1e-3/plain-last_decoder_layer.json").read_text())
    assert (given["hyperparameters"]["lr"], given["tuning"]) == (1e-3, None)


def test_edits_are_drawn_anew_when_the_sentences_change_though_the_model_does_not(project):
    assert "draw test edits of toy: unchanged" in project.succeed("evaluate", "toy", "rmsprop_1e-3").output
    with (project.folder / "data/toy/corpus.json").open("a") as described:
        described.write("\n")
    assert "draw test edits of toy: 4 edits" in project.succeed("evaluate", "toy", "rmsprop_1e-3").output


def test_a_translator_that_came_with_the_results_is_taken_for_the_corpus_it_was_trained_on(made, tmp_path):
    again = made.copy(tmp_path / "again")
    described = again.folder / RESULTS / "models/plain"
    shutil.copy(again.folder / "models/toy/plain/model.safetensors", described)
    shutil.rmtree(again.folder / "models/toy/plain")
    assert "took results/toy/models/plain/model.safetensors" in again.succeed("train", "toy", "--published").output
    shutil.rmtree(again.folder / "models/toy/plain")
    again.change("toy", trainings__plain__epochs=4)
    ended = again.run("train", "toy", "--published")
    assert ended.code == 2
    assert "model.safetensors was trained with epochs: 3, but toy plain asks for 4" in ended.errors
    again.change("toy", trainings__plain__epochs=3)
    path = described / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"corpus": "another"}))
    ended = again.run("train", "toy", "--published")
    assert ended.code == 2
    assert "model.safetensors was trained on other data than data/toy holds" in ended.errors


def test_what_a_report_needs_of_the_translations_before_editing_lies_beside_the_records(made):
    folder = made.folder / RESULTS / "translations"
    models = [f"{training}{seed}" for training in ("plain", "editable-100") for seed in ("", "@1")]
    assert {path.name.split(".")[0] for path in folder.iterdir()} == set(models)
    for model in models:
        taken = json.loads((folder / f"{model}.timing.json").read_text())
        assert taken["sentences"] == 10
        assert taken["seconds"] > 0
        assert len(read(made, f"translations/{model}.csv")) == 10
        history = read(made, f"models/{model}/history.csv")
        assert ("locality_loss" in history) == model.startswith("editable")


def test_a_report_says_what_records_say_beside_what_is_published(made):
    table = read(made, "table6.csv").set_index(["training", "editor"])
    row, drawdowns = table.loc[("plain", "rmsprop_1e-3")], []
    for seed in ("", "@1"):
        records = read(made, f"edits/rmsprop_1e-3/plain{seed}-last_decoder_layer.csv")
        drawdowns.append((records["bleu_before"] - records["bleu_after"]).mean())
    assert row["bleu_drawdown"] == pytest.approx(drawdowns[0], rel=1e-4)
    assert row["bleu_drawdown_seeds_std"] == pytest.approx(abs(drawdowns[0] - drawdowns[1]) / 2**0.5, rel=1e-4)
    assert row["bleu_low"] <= row["bleu"] <= row["bleu_high"]
    assert (row["published_bleu"], row["published_bleu_drawdown"]) == (34.77, 0.76)
    timings = read(made, "timings.csv").set_index(["training", "editor"])
    taken = json.loads((made.folder / RESULTS / "translations/plain.timing.json").read_text())
    assert timings.loc[("plain", "rmsprop_1e-3"), "decoding_seconds"] == taken["seconds"]
    board = read(made, "leaderboard.csv")
    assert board["published_bleu_drawdown"].notna().sum() <= 2  # neither tuned rows nor views are the paper's
    run = json.loads((made.folder / RESULTS / "run.json").read_text())
    assert run["packages"]["fairseq-fixed"]
    assert run["data"]["sizes"] == {"training": 60, "validation": 8, "test": 10}


def test_pages_show_what_was_said_wanted_and_done(made):
    records = read(made, "edits/rmsprop_1e-3/plain-last_decoder_layer.csv")
    page = (made.folder / RESULTS / "examples.md").read_text()
    shown = records[~records["trivial"]].iloc[0]
    for text in (shown["source"], shown["before"], shown["target"], shown["after"]):
        assert re.sub(r"([\\|*`])", r"\\\1", text).replace("<", "&lt;") in page
    pages = [made.folder / RESULTS / f"{name}.md" for name in ("table6", "leaderboard", "examples", "claims")]
    table, *_, index = texts = [path.read_text("utf-8") for path in (*pages, made.folder / RESULTS / "README.md")]
    assert "case:lc" in table
    assert "2 sentences near the edited one had to follow too" in texts[1]
    assert "carries further than the unedited network" in index
    assert "](examples.md)" in index
    assert not any("nan" in text.lower().split() for text in texts)


def test_again_it_changes_nothing_and_says_so_and_what_is_lost_comes_back_byte_by_byte(project):
    before = project.files(RESULTS) | project.files("models")
    printed = "".join(project.succeed(stage, "toy").output for stage in STAGES[:4])
    assert printed.count("unchanged") == 1 + 4 + (1 + 3) + (1 + 3)  # data, models, twice requests and editors
    assert project.files(RESULTS) | project.files("models") == before
    for lost in (f"{RESULTS}/edits", f"{RESULTS}/tuned", f"{RESULTS}/requests", "models/toy/editable-100"):
        shutil.rmtree(project.folder / lost)
    for stage in STAGES:
        project.succeed(stage, "toy")
    again = project.files(RESULTS) | project.files("models")
    assert again.keys() == before.keys()
    assert {name for name in again if again[name] != before[name]} <= {f"{RESULTS}/run.json"}  # wall times


def test_another_edit_seed_draws_other_edits(project):
    project.choose(edit_seeds=[0, 1], training_seeds=[0])
    project.succeed("evaluate", "toy", "rmsprop_1e-3")
    first, second = drawn(project, "test"), drawn(project, "test@1")
    assert [one["sentence"] for one in first] != [one["sentence"] for one in second]
    records = read(project, "edits/rmsprop_1e-3/plain-last_decoder_layer@1.csv")
    assert records["sentence"].tolist() == [one["sentence"] for one in second]


def test_what_translators_do_not_have_is_refused_in_one_sentence(project):
    cell = ["plain", "rmsprop_1e-3", "last_decoder_layer"]
    project.choose(training_seeds=[0])
    project.change("toy", sequences={"edits": 2, "orders": 1, "cells": [cell]})
    ended = project.run("sequences", "toy")
    assert (ended.code, ended.errors) == (2, "error: toy: sequences: edits in a row are not there for translation\n")
    project.change("toy", editors__covariance__margin=1.0)
    ended = project.run("evaluate", "toy", "covariance")
    said = "margin: translations are compared without one, so it must be 0"
    assert (ended.code, ended.errors) == (2, f"error: toy plain/covariance/last_feed_forward: {said}\n")
    ended = project.run("prepare", "toy", "--export", "files")
    assert (ended.code, ended.errors) == (2, "error: there is no export for translation\n")


@pytest.mark.parametrize(
    ("where", "value", "sentence"),
    [
        ("data.dataset", "wmt", "data: unknown corpus 'wmt'; available: "),
        ("data.options.size", 3, "data: options of corpus 'toy_translation': unknown 'size'; "),
        ("data.options.merges", "x", "data: option 'merges' of corpus 'toy_translation' must be int, not 'x'"),
        ("model.heads", 3, "model: embed_dim must be a multiple of heads, not 16 for 3"),
        ("trainings.plain", MISSING, "trainings.editable-100: cannot be made of 'plain'; there are no others"),
        ("trainings.plain.start", "editable-100", "trainings must have `plain`, made from scratch"),
        ("trainings.editable-100.start", "other", "trainings.editable-100: cannot be made of 'other'; there are plain"),
        ("trainings.editable-100.editor", "lookup_cache", "trainings.editable-100: "),
        ("trainings.editable-100.editor", "gd_ewc", "editor 'gd_ewc' needs statistics of a trained model: Editable Tr"),
        ("editors.gd_ewc", {}, "editors.gd_ewc: it must know classes of its training data"),
        ("requests.score", "mean", "requests.score should be 'sum' or 'token_average', not 'mean'"),
        ("requests.counts", 3, "requests: unknown key 'counts'; allowed here: temperature, alternatives, score"),
    ],
)
def test_a_mistake_in_the_configuration_is_one_sentence(tmp_path: Path, where: str, value: object, sentence: str):
    with pytest.raises(InputError) as refused:
        load_settings(write_project(tmp_path, RUN, toy=changed(SMALL, where, value)) / "params.yaml")
    assert "toy.yaml: " in str(refused.value)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)
