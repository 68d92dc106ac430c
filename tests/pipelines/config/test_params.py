"""Every rule of params.yaml: what breaks it is named, with what is allowed, in one sentence."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import yaml

import editors
from benchmarks.errors import InputError
from pipelines.config import params
from pipelines.jobs.cells import cells_of

COMMITTED = Path(__file__).parents[3] / "params.yaml"
MISSING = object()


def load(tmp_path: Path, text: str) -> params.Settings:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return params.load(path)


def changed(where: str, value: object) -> str:
    """The committed parameters with the value at a dotted path replaced, added or, for MISSING, left out."""
    content = copy.deepcopy(yaml.safe_load(COMMITTED.read_text()))
    *outer, last = where.split(".")
    block = content
    for key in outer:
        block = block[key]
    if value is MISSING:
        del block[last]
    else:
        block[last] = value
    return yaml.safe_dump(content, sort_keys=False)


def complaint(tmp_path: Path, text: str) -> str:
    with pytest.raises(InputError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert "\n" not in message
    assert "params.yaml" in message
    for jargon in (
        "pydantic",
        "Input should",
        "input should",
        "validation",
        "instance of",
        "dictionary",
        "value_error",
    ):
        assert jargon not in message
    return message


def test_the_committed_parameters_load_and_keep_their_values():
    loaded, raw = params.load(COMMITTED), yaml.safe_load(COMMITTED.read_text())
    assert loaded.run == raw["run"]
    assert loaded.training("digits", "plain").lr == float(raw["benchmarks"]["digits"]["trainings"]["plain"]["lr"])
    assert loaded.editor("gd").subsets == raw["editors"]["gd"]["subsets"]


def test_every_editor_on_the_leaderboard_is_there_and_has_a_block():
    loaded = params.load(COMMITTED)
    assert {"gd", "scaled_gd", "rprop", "rmsprop", "momentum", "adam"} <= set(loaded.leaderboard)
    assert set(loaded.leaderboard) <= set(loaded.editors)
    assert {loaded.method(name) for name in loaded.editors} <= set(editors.available())


@pytest.mark.parametrize(
    ("where", "allowed"),
    [
        ("sead", "leaderboard, seed, training_seeds, device"),
        ("benchmarks.digits.modle", "note, data, model, trainings"),
        ("benchmarks.digits.data.option", "dataset, options"),
        ("benchmarks.digits.model.width", "architecture, options"),
        ("benchmarks.digits.trainings.plain.epoch", "epochs, batch_size, lr, schedule"),
        ("benchmarks.digits.tuning.shard", "edits, control_size, min_success"),
        ("benchmarks.digits.evaluation.min_success", "edits, control_size, shard"),
        ("benchmarks.digits.analysis.control_size", "edits, shard, cells"),
        ("benchmarks.digits.sequences.shard", "edits, orders, control_size, cells, source, ablation"),
        ("benchmarks.digits.sequences.ablation.source", "edits, orders, control_size, cells"),
        ("benchmarks.digits_finetune.similar.views", "edits, augmentations, embedding, cells"),
        ("editors.gd.trails", "backtracking, memory, trials, max_steps, edits, subsets, fixed, ranges"),
    ],
)
def test_an_unknown_key_is_named_with_those_that_are_allowed(tmp_path, where, allowed):
    message = complaint(tmp_path, changed(where, 1))
    assert f"unknown key '{where}'" in message
    assert allowed in message


def test_a_misspelt_key_is_named_rather_than_missed_and_the_right_one_proposed(tmp_path):
    content = yaml.safe_load(changed("benchmarks.digits.trainings.plain.epoch", 3))
    del content["benchmarks"]["digits"]["trainings"]["plain"]["epochs"]
    message = complaint(tmp_path, yaml.safe_dump(content))
    assert "unknown key 'benchmarks.digits.trainings.plain.epoch'; did you mean 'epochs'? allowed here: " in message
    assert "more)" not in message
    assert "did you mean" not in complaint(tmp_path, changed("editors.gd.colour", 1))


@pytest.mark.parametrize(
    "where", ["seed", "benchmarks.digits.data", "benchmarks.digits.trainings.plain.lr", "editors.gd.trials"]
)
def test_a_key_left_out_is_named(tmp_path, where):
    assert f"{where} is missing" in complaint(tmp_path, changed(where, MISSING))


@pytest.mark.parametrize(
    ("where", "value", "needed"),
    [
        ("seed", "0", "must be a whole number, not '0'"),
        ("seed", True, "must be a whole number, not True"),
        ("seed", None, "must be a whole number, not None"),
        ("device", 0, "must be text, not 0"),
        ("run", "digits", "must be a list, not 'digits'"),
        ("run", [], "must be at least 1 long"),
        ("leaderboard", [], "must be at least 1 long"),
        ("leaderboard", [1], "leaderboard.0 must be text, not 1"),
        ("threads", 0, "must be >= 1, not 0"),
        ("processes", -1, "must be >= 1, not -1"),
        ("processes", 1.5, "must be a whole number, not 1.5"),
        ("cache_gib", -1, "must be >= 0, not -1"),
        ("benchmarks", 3, "must be a block of keys and values, not 3"),
        ("benchmarks.digits.data", "digits", "must be a block of keys and values, not 'digits'"),
        ("benchmarks.digits.note", None, "must be text, not None"),
        ("benchmarks.digits.trainings", {}, "must be at least 1 long"),
        ("benchmarks.digits.trainings.plain.recipe", "plane", "must be one of 'plain', 'distilled'"),
        ("benchmarks.digits.trainings.plain.schedule", "linear", "must be one of 'constant' or 'cosine', not 'linear'"),
        ("benchmarks.digits.trainings.plain.epochs", 0, "must be >= 1, not 0"),
        ("benchmarks.digits.trainings.plain.batch_size", 1, "must be >= 2, not 1"),
        ("benchmarks.digits.trainings.plain.lr", 0, "must be > 0, not 0"),
        ("benchmarks.digits.trainings.plain.lr", float("nan"), "trainings.plain.lr must be "),
        ("benchmarks.digits.trainings.plain.lr", float("inf"), "must be a finite number, not inf"),
        ("benchmarks.digits.trainings.plain.lr", "fast", "must be a number, not 'fast'"),
        ("benchmarks.digits.tuning.edits", 0, "must be >= 1, not 0"),
        ("benchmarks.digits.tuning.control_size", 0, "must be >= 1, not 0"),
        ("benchmarks.digits.tuning.min_success", 100.5, "must be <= 100, not 100.5"),
        ("benchmarks.digits.tuning.min_success", -1, "must be >= 0, not -1"),
        ("benchmarks.digits.tuning.min_success", float("nan"), "must be "),
        ("benchmarks.digits.evaluation.edits", "many", "must be a whole number, not 'many'"),
        ("benchmarks.digits.evaluation.shard", 0, "must be >= 1, not 0"),
        ("benchmarks.digits.analysis.edits", 0, "must be >= 2, not 0"),
        ("benchmarks.digits.analysis.cells", [["plain", "gd"]], "cells.0 must be at least 3 long"),
        ("benchmarks.digits.sequences.orders", 0, "must be >= 1, not 0"),
        ("benchmarks.digits.sequences.cells", [], "must be at least 1 long"),
        ("benchmarks.digits.sequences.source", "errors", "must be one of 'random' or 'mistakes', not 'errors'"),
        ("benchmarks.digits_finetune.similar.embedding", "vgg", "must be one of 'auto', 'inception_v3', 'pooled' or"),
        ("editors.gd.memory", -1, "must be >= 0, not -1"),
        ("editors.gd.trials", 0, "must be >= 1, not 0"),
        ("editors.gd.max_steps", 0, "must be >= 1, not 0"),
        ("editors.gd.subsets", {}, "must be at least 1 long"),
        ("editors.gd.ranges", {"lr": [1.0]}, "must be at least 2 long"),
        ("editors.gd.ranges", {"lr": [1.0, 2.0, 3.0]}, "must be at most 2 long"),
        ("editors.gd.ranges", {"lr": "wide"}, "must be a list, not 'wide'"),
        ("editors.gd.fixed", {"lr": "big"}, "must be a number, not 'big'"),
    ],
)
def test_a_value_of_the_wrong_type_or_out_of_range_is_named_with_what_is_needed(tmp_path, where, value, needed):
    message = complaint(tmp_path, changed(where, value))
    assert where in message
    assert needed in message


@pytest.mark.parametrize(
    ("where", "value", "sentence"),
    [
        ("run", ["digit"], "run: unknown benchmark 'digit'; params.yaml describes: digits, cifar10"),
        ("run", ["digits", "digits"], "run: 'digits' is listed twice"),
        ("leaderboard", ["adagrad"], "leaderboard: unknown editor 'adagrad'; params.yaml describes: "),
        ("leaderboard", ["gd", "gd"], "leaderboard: 'gd' is listed twice"),
        ("trainings", ["plain", "distilled"], "trainings: unknown training of digits 'distilled'"),
        ("editors.adagrad", {"trials": 1, "max_steps": 1, "subsets": {"plain": ["all"]}}, "unknown editor 'adagrad'"),
        ("benchmarks.digits.data.dataset", "mnist", "unknown dataset 'mnist'; available: cifar10, digits"),
        ("benchmarks.digits.data.options", {"size": 3}, "dataset 'digits' has no option 'size'; it has: tuning_size"),
        (
            "benchmarks.digits.data.options",
            {"tuning_size": "300"},
            "'tuning_size' of dataset 'digits' must be int, not",
        ),
        ("benchmarks.cifar10.data.options", {"folder": 5}, "must be str or null, not 5"),
        ("benchmarks.digits.data", {"dataset": "image_folder"}, "dataset 'image_folder' needs the option 'folder'"),
        ("benchmarks.digits.model.architecture", "vgg", "unknown architecture 'vgg'; available: "),
        (
            "benchmarks.digits.model.options",
            {"depth": 3},
            "architecture 'resnet18' has no option 'depth'; it has: width",
        ),
        ("benchmarks.digits.model.options", {"width": 0}, "width must be a whole number >= 1, not 0"),
        ("benchmarks.digits.model.options", {"classes": 3}, "'classes' of architecture 'resnet18' is no option"),
        (
            "benchmarks.digits.analysis.cells",
            [["plane", "gd", "all"]],
            "benchmarks.digits.analysis.cells: unknown training 'plane'; params.yaml describes: plain",
        ),
        (
            "benchmarks.digits.sequences.ablation.cells",
            [["plain", "gdd", "all"]],
            "benchmarks.digits.sequences.ablation.cells: unknown editor 'gdd'; params.yaml describes: ",
        ),
        (
            "benchmarks.digits.sequences.source",
            "mistakes",
            "benchmarks.digits: sequences.source: there is no block 'mistakes', so it must be random",
        ),
        (
            "benchmarks.digits.similar",
            {"cells": [["plain", "gd", "all"]]},
            "similar: whether a label is right for another image too can be asked of 'mistakes' only",
        ),
        ("editors.gd.memory", 2.0, "editors.gd.memory: gd remembers no edits, so it must be 0, not 2"),
        ("editors.gd.fixed", {"momentum": 0.9}, "editors.gd: no hyperparameter 'momentum'; it has: lr"),
        ("editors.gd.fixed", {"lr": -1.0}, "lr must be a number > 0, not -1"),
        ("editors.gd.fixed", {"lr": float("nan")}, "lr must be a number > 0, not nan"),
        ("editors.gd.ranges", {"beta": [0.1, 0.2]}, "editors.gd.ranges: no hyperparameter 'beta'; it has: lr"),
        ("editors.gd.ranges", {"lr": [0.0, 1.0]}, "editors.gd.ranges.lr must be a number > 0, not 0"),
        ("editors.gd.ranges", {"lr": [0.2, 0.1]}, "editors.gd.ranges.lr: 0.2 is above 0.1"),
        ("editors.gd.subsets", {"none": ["all"]}, "editors.gd.subsets: unknown training 'none'; known: plain"),
        ("editors.gd.subsets", {"plain": []}, "editors.gd.subsets.plain: needs names, each once, not []"),
        ("editors.gd.subsets", {"plain": ["all", "all"]}, "needs names, each once"),
        ("editors.gd.subsets", {"plain": ["chain*", "chain?"]}, "needs names, each once"),  # the same file names
        (
            "benchmarks.digits_finetune.run.trainings",
            ["pretrained", "distiled"],
            "benchmarks.digits_finetune.run.trainings: unknown training of digits_finetune 'distiled'",
        ),
        (
            "benchmarks.digits_finetune.run.trainings",
            ["distilled"],
            "benchmarks.digits_finetune.run.trainings: 'distilled' is made of 'pretrained', which must be listed",
        ),
        (
            "benchmarks.digits_finetune.run.ranges",
            {"adagrad": {"lr": [0.1, 0.2]}},
            "benchmarks.digits_finetune.run.ranges: unknown editor 'adagrad'",
        ),
        (
            "benchmarks.digits_finetune.run.ranges",
            {"rmsprop": {"lr": [0.2, 0.1]}},
            "benchmarks.digits_finetune.run.ranges.rmsprop.lr: 0.2 is above 0.1",
        ),
        (
            "benchmarks.digits_finetune.run.leaderboard",
            ["rmsprop", "rmsprop"],
            "benchmarks.digits_finetune.run.leaderboard: 'rmsprop' is listed twice",
        ),
        (
            "benchmarks.digits_finetune.run.subsets",
            {"adagrad": {"pretrained": ["all"]}},
            "benchmarks.digits_finetune.run: unknown editor 'adagrad'",
        ),
        (
            "benchmarks.digits_finetune.run.subsets",
            {"gd": {"plain": ["all"]}},
            "benchmarks.digits_finetune.run.subsets.gd: unknown training 'plain'; known: pretrained",
        ),
        (
            "benchmarks.digits_finetune.mistakes",
            None,
            "trainings.editable-rmsprop-extra-match_ranks.targets: without a block 'mistakes', targets must be random",
        ),
        (
            "benchmarks.digits_finetune.mistakes",
            {"training": "plain", "edits": 5},
            "mistakes.training: unknown training 'plain'; params.yaml describes: pretrained",
        ),
        (
            "benchmarks.digits.mistakes",
            {"training": "plain", "edits": 5},
            "mistakes: dataset 'digits' has no images for mistakes",
        ),
    ],
)
def test_a_name_that_does_not_fit_is_named_with_those_that_do(tmp_path, where, value, sentence):
    assert sentence in complaint(tmp_path, changed(where, value))


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", "", "two words"])
def test_a_name_that_could_leave_its_folder_is_refused(tmp_path, name):
    content = yaml.safe_load(COMMITTED.read_text())
    content["benchmarks"] = {name: content["benchmarks"]["digits"]}
    content["run"] = [name]
    assert "must be a name of letters, digits" in complaint(tmp_path, yaml.safe_dump(content))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "must hold keys and values, found nothing"),
        ("# nothing but a comment\n", "must hold keys and values, found nothing"),
        ("- a\n- b\n", "must hold keys and values, found a list"),
        ("seed: [1\n", "cannot be read as YAML"),
        ("editors:\n\tgd: 1\n", "cannot be read as YAML"),
        ("seed: 1\nseed: 2\n", "the key 'seed' is given twice"),
        ("seed: !!python/object/apply:os.getcwd []\n", "cannot be read as YAML"),
        ("seed: 2024-13-45\n", "cannot be read as YAML"),
        ("1: 2\n", "run is missing"),
    ],
)
def test_a_file_that_is_not_a_block_of_yaml_is_refused(tmp_path, text, sentence):
    assert sentence in complaint(tmp_path, text)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "params.yaml").write_bytes(b"seed: \xff\xfe\n")
    with pytest.raises(InputError, match="cannot be read as YAML"):
        params.load(tmp_path / "params.yaml")


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"absent\.yaml does not exist; run this in the repository's root"):
        params.load(tmp_path / "absent.yaml")
    with pytest.raises(InputError, match="cannot be read as YAML"):
        params.load(tmp_path)


@pytest.mark.parametrize("written", ["1e-4", "1E-4", "1.0e-4", "+1e-4", "0.0001", ".1e-3"])
def test_a_number_may_be_written_in_any_way_that_dvc_takes(tmp_path, written):
    text = COMMITTED.read_text().replace("lr: 2.0e-3", f"lr: {written}")
    assert load(tmp_path, text).training("digits", "plain").lr == 1e-4


def test_several_mistakes_are_counted(tmp_path):
    content = yaml.safe_load(COMMITTED.read_text())
    content |= {"threads": 0, "processes": 0, "seed": "x"}
    assert complaint(tmp_path, yaml.safe_dump(content)).endswith("(and 2 more)")


def test_a_benchmark_runs_its_own_trainings_and_cells_or_those_of_the_top():
    loaded = params.load(COMMITTED)
    own, common = loaded.run_of("digits_finetune"), loaded.run_of("digits")
    assert "pretrained" in own.trainings
    assert own.leaderboard == ["rmsprop"]
    assert own.subsets["rmsprop"]["extended"] == ["extra"]
    assert (common.trainings, common.leaderboard) == (loaded.trainings, loaded.leaderboard)
    assert common.subsets == {name: block.subsets for name, block in loaded.editors.items()}
    names = [(cell.training, cell.layers) for cell in cells_of(loaded, "digits_finetune", "rmsprop")]
    assert names == [(training, part) for training, parts in own.subsets["rmsprop"].items() for part in parts]
    assert cells_of(loaded, "digits_finetune", "gd") == []


def test_a_training_needs_the_model_whose_mistakes_it_learns_from():
    block = params.load(COMMITTED).benchmark("tiny_imagenet")
    assert block.sources_of("densenet169-distilled") == ("densenet169-pretrained",)
    assert block.sources_of("editable-rmsprop-extra-mistakes") == ("pretrained",)
    chosen = block.trainings["editable-rmsprop-extra-mistakes"].model_copy(update={"start": None, "teacher": None})
    alone = block.model_copy(update={"trainings": block.trainings | {"alone": chosen}})
    assert chosen.made_of == ()
    assert alone.sources_of("alone") == ("pretrained",)


def test_names_that_are_asked_for_later_are_checked_too():
    loaded = params.load(COMMITTED)
    for ask, sentence in (
        (lambda: loaded.benchmark("mnist"), "unknown benchmark 'mnist'; params.yaml describes: digits, cifar10"),
        (lambda: loaded.training("digits", "none"), "unknown training 'none'; params.yaml describes: plain"),
        (lambda: loaded.editor("adagrad"), "unknown editor 'adagrad'"),
    ):
        with pytest.raises(InputError, match=sentence):
            ask()


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "cuda:", "cpu0", "", "cuda:-1"])
def test_an_unknown_device_is_refused_with_those_there_are(tmp_path, device):
    with pytest.raises(InputError, match="device must be auto, cpu, cuda or cuda:<number>"):
        load(tmp_path, changed("device", device)).torch_device()


def test_a_gpu_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such GPU; use cpu"):
        load(tmp_path, changed("device", "cuda:99")).torch_device()


def test_auto_takes_a_gpu_where_there_is_one(tmp_path):
    wanted = "cuda" if torch.cuda.is_available() else "cpu"
    assert load(tmp_path, changed("device", "auto")).torch_device().type == wanted
    assert load(tmp_path, changed("device", "cpu")).torch_device().type == "cpu"


def test_checking_a_model_takes_no_memory_for_it(tmp_path):
    loaded = load(tmp_path, changed("benchmarks.cifar10.model.options", {"width": 20_000}))  # about 4 TB of weights
    assert loaded.benchmark("cifar10").model.options == {"width": 20_000}


def test_a_benchmark_may_search_elsewhere(tmp_path):
    own = {"rmsprop": {"lr": [1e-4, 1e-3]}}
    found = load(tmp_path, changed("benchmarks.digits_finetune.run.ranges", own))
    assert found.ranges("digits_finetune", "rmsprop")["lr"] == [1e-4, 1e-3]
    assert found.ranges("digits", "rmsprop") == found.editor("rmsprop").ranges
    assert found.ranges("digits_finetune", "rmsprop_ewc") == found.editor("rmsprop_ewc").ranges
