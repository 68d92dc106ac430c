"""Every rule of params.yaml and of benchmarks: what breaks it is named, with what is allowed, in one sentence."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from benchmarks.errors import InputError
from pipelines.config import params
from pipelines.config.params import Settings
from pipelines.jobs.cells import cells_of_run
from pipelines.tasks import load_settings
from tests.pipelines.conftest import DIGITS, MISSING, PARAMS, TABLE_3_TRAINING, changed, write_project

COMMITTED = Path(__file__).parents[3] / "params.yaml"
EDITABLE = {"recipe": "editable", "editor": "rmsprop", "layers": "chain3", "c_edit": 1.0, "c_loc": 1.0}
EDITABLE |= TABLE_3_TRAINING | {"targets": "match_ranks"}
PLAN = {"epochs": 1, "batch_size": 256, "lr": 1e-3, "schedule": "cosine"}
TAUGHT = {"recipe": "distilled", "teacher": "plain", **PLAN}
FINETUNE = DIGITS | {
    "data": {"dataset": "digits_finetune", "options": {"tuning_size": 60, "test_size": 60, "pool_size": 60}},
    "trainings": DIGITS["trainings"] | {"editable": EDITABLE},
    "mistakes": {"training": "plain", "edits": 5},
    "similar": {"cells": [["plain", "gd", "all"]]},
}


def load(folder: Path, changed_params: dict[str, Any] = PARAMS, **benchmarks: dict[str, Any]) -> Settings:
    return load_settings(write_project(folder, changed_params, **benchmarks) / "params.yaml")


def complaint(folder: Path, where: str, value: object, of: dict[str, Any] = DIGITS) -> str:
    """What is said of a change to params.yaml, or to the configuration of digits."""
    chosen = (
        {"changed_params": changed(PARAMS, where, value)} if of is PARAMS else {"digits": changed(of, where, value)}
    )
    with pytest.raises(InputError) as refused:
        load(folder, **chosen)
    message = str(refused.value)
    assert "\n" not in message
    assert "value_error" not in message
    return message.replace(f"{folder}/", "")


def test_the_committed_parameters_and_every_benchmark_in_the_folder_load():
    loaded = load_settings(COMMITTED)
    names = params.available(COMMITTED.parent / params.CONFIGS)
    assert set(loaded.run) <= set(names) >= {"digits", "cifar10", "imagenet", "toy_translation"}
    for name in names:
        assert loaded.benchmark(name).editors
    assert loaded.benchmark("digits").training("plain").lr == 2e-3
    rows = {"gd", "scaled_gd", "rprop", "rmsprop", "momentum", "adam"}
    assert rows <= set(loaded.benchmark("cifar10").editors)
    assert loaded.benchmark("tiny_imagenet").sources_of("editable-rmsprop-extra-mistakes")[-1] == "pretrained"


@pytest.mark.parametrize(
    ("of", "where", "allowed"),
    [
        (PARAMS, "sead", "run, seed, training_seeds, edit_seeds"),
        (DIGITS, "modle", "task, note, data, trainings"),
        (DIGITS, "data.option", "dataset, options"),
        (DIGITS, "model.width", "architecture, options"),
        (DIGITS, "trainings.plain.layers", "recipe, epochs, batch_size, lr, schedule"),
        (DIGITS, "tuning.shard", "edits, success_edits, control_size, min_success"),
        (DIGITS, "evaluation.min_success", "edits, control_size, shard"),
        (DIGITS, "analysis.control_size", "edits, shard, cells, curves"),
        (DIGITS, "sequences.shard", "edits, orders, source, split, control_size, cells"),
        (FINETUNE, "similar.views", "edits, augmentations, embedding, cells"),
        (FINETUNE, "mistakes.views", "training, edits"),
        (DIGITS, "editors.gd.trails", "method, layers, trials, max_steps, fixed, ranges, max_edits, views, margin"),
    ],
)
def test_an_unknown_key_is_named_with_those_that_are_allowed(tmp_path, of, where, allowed):
    block, _, key = where.rpartition(".")
    message = complaint(tmp_path, where, 1, of)
    file = "params.yaml" if of is PARAMS else "benchmarks/configs/digits.yaml"
    assert message.startswith(f"{file}: {block}{': ' if block else ''}unknown key '{key}'; ")
    assert f"allowed here: {allowed}" in message


def test_a_misspelt_key_is_named_rather_than_missed_and_the_right_one_proposed(tmp_path):
    plain = changed(DIGITS["trainings"]["plain"], "epochs", MISSING) | {"epoch": 3}
    message = complaint(tmp_path / "misspelt", "trainings.plain", plain)
    assert "trainings.plain: unknown key 'epoch'; did you mean 'epochs'? allowed here: recipe, " in message
    assert "more)" not in message
    assert "did you mean" not in complaint(tmp_path / "other", "editors.gd.colour", 1)


@pytest.mark.parametrize(
    ("of", "where"),
    [(PARAMS, "seed"), (DIGITS, "task"), (DIGITS, "data"), (DIGITS, "trainings.plain.lr"), (DIGITS, "tuning.edits")],
)
def test_a_key_left_out_is_named(tmp_path, of, where):
    assert f"{where} is missing" in complaint(tmp_path, where, MISSING, of)


@pytest.mark.parametrize(
    ("where", "value", "needed"),
    [
        ("seed", "0", "seed should be a valid integer, not '0'"),
        ("compile", "yes", "compile should be a valid boolean, not 'yes'"),
        ("run", "digits", "run should be a valid list, not 'digits'"),
        ("run", [], "run: List should have at least 1 item"),
        ("run", ["../digits"], "run.0: String should match pattern"),
        ("run", ["digits", "digits"], "run: 'digits' is listed twice"),
        ("run", ["digit"], "benchmark: unknown 'digit'; did you mean 'digits'? benchmarks/configs describes: digits"),
        ("training_seeds", [-1], "training_seeds.0 should be greater than or equal to 0, not -1"),
        ("training_seeds", [0, 0], "training_seeds: 0 is listed twice"),
        ("threads", 0, "threads should be greater than or equal to 1, not 0"),
        ("threads", 10**9, "threads should be less than or equal to 1024, not 1000000000"),
        ("cache_gib", float("inf"), "cache_gib should be a finite number, not inf"),
    ],
)
def test_what_is_wrong_in_params_is_named_with_what_is_needed(tmp_path, where, value, needed):
    assert needed in complaint(tmp_path, where, value, PARAMS)


@pytest.mark.parametrize(
    ("where", "value", "needed"),
    [
        ("task", "image", "task: unknown 'image'; did you mean 'images'? there are: images, translation"),
        ("data", "digits", "data should be a valid dictionary or instance of ImageData, not 'digits'"),
        ("data.dataset", "mnist", "data: unknown dataset 'mnist'; available: cifar10, digits"),
        ("data.options", {"size": 3}, "options of dataset 'digits': unknown 'size'; did you mean 'test_size'? it has:"),
        ("data.options", {"tuning_size": "300"}, "data: option 'tuning_size' of dataset 'digits' must be int, not"),
        ("data", {"dataset": "cifar10", "options": {"folder": 5}}, "'folder' of dataset 'cifar10' must be str or null"),
        ("data", {"dataset": "image_folder"}, "dataset 'image_folder' needs the option 'folder'"),
        ("model.architecture", "vgg", "model: unknown architecture 'vgg'; available: "),
        ("model.options", {"depth": 3}, "model: architecture 'resnet18' has no option 'depth'; it has: width"),
        ("model.options", {"width": 0}, "model: width must be a whole number >= 1, not 0"),
        ("model.options", {"classes": 3}, "model: 'classes' of architecture 'resnet18' is no option"),
        ("trainings.plain.recipe", "plane", "trainings.plain tag 'plane' found using 'recipe' does not match any of"),
        ("trainings.plain.recipe", MISSING, "trainings.plain: Unable to extract tag using discriminator 'recipe'"),
        ("trainings.plain.schedule", "linear", "plain.schedule should be 'constant', 'cosine' or 'triangular', not"),
        ("trainings.plain.lr", -1, "trainings.plain.lr should be greater than 0, not -1"),
        ("trainings.plain.lr", float("nan"), "trainings.plain.lr should be a finite number, not nan"),
        ("trainings.plain.lr_new", 0.1, "trainings.plain: lr_new needs start"),
        ("trainings.plain.start", "plane", "trainings.plain: cannot be made of 'plane'; there are no others"),
        ("trainings.plain.architecture", "vgg", "trainings.plain.architecture: unknown architecture 'vgg'; available:"),
        ("trainings.a/b", DIGITS["trainings"]["plain"], "trainings.a/b: String should match pattern"),
        ("tuning.min_success", 100.5, "tuning.min_success should be less than or equal to 100, not 100.5"),
        ("analysis.cells", [["plain", "gd"]], "analysis.cells.0: List should have at least 3 items"),
        ("analysis.cells", [["plane", "gd", "all"]], "analysis.cells: unknown 'plane'; did you mean 'plain'? tr"),
        ("analysis.cells", [["plain", "gdd", "all"]], "analysis.cells: unknown 'gdd'; did you mean 'gd'? editors: gd"),
        ("sequences.source", "errors", "sequences.source should be 'random' or 'mistakes', not 'errors'"),
        ("sequences.source", "mistakes", "sequences.source: there is no block 'mistakes', so it must be random"),
        ("similar", {"cells": [["plain", "gd", "all"]]}, "similar: whether a label is right for another image too can"),
        ("mistakes", {"training": "plain", "edits": 3}, "mistakes: dataset 'digits' has no images for mistakes"),
        ("editors.two words", {"method": "gd"}, "editors.two words: String should match pattern"),
        ("editors.sgd", {}, "editors: unknown 'sgd'; did you mean 'gd'? available: adam, "),
        ("editors.gd.method", "adm", "editors.gd.method: unknown 'adm'; did you mean 'adam'? available: "),
        ("editors.gd.memory", 2.0, "editors.gd.memory: gd remembers no edits, so it must be 0, not 2"),
        ("editors.gd.fixed", {"lr": "big"}, "editors.gd.fixed.lr should be a valid number, not 'big'"),
        ("editors.gd.fixed", {"momentum": 0.9}, "editors.gd.fixed: unknown 'momentum'; its hyperparameters: lr"),
        ("editors.gd.fixed", {"lr": -1.0}, "editors.gd.fixed.lr must be a number > 0, not -1"),
        ("editors.gd.fixed", {"lr": float("nan")}, "editors.gd.fixed.lr must be a number > 0, not nan"),
        ("editors.gd.ranges", {"beta": [0.1, 0.2]}, "editors.gd.ranges: unknown 'beta'; its hyperparameters: lr"),
        ("editors.gd.ranges", {"lr": [0.0, 1.0]}, "editors.gd.ranges.lr must be a number > 0, not 0"),
        ("editors.gd.ranges", {"lr": [0.2, 0.1]}, "editors.gd.ranges.lr: 0.2 is above 0.1"),
        (
            "editors.gd_ewc",
            {"ranges": {"ewc_lambda": [0.0, 9.0]}},
            "editors.gd_ewc.ranges.ewc_lambda: is searched on a log scale, so it must begin above 0",
        ),
        ("editors.gd.layers", {"plane": ["all"]}, "gd.layers: unknown 'plane'; did you mean 'plain'? trainings: plain"),
        ("editors.gd.layers", {"plain": ["all", "all"]}, "editors.gd.layers.plain: 'all' is listed twice"),
        ("editors.gd.layers", {"plain": ["chain*", "chain?"]}, "'chain_' is listed twice"),  # the same file names
    ],
)
def test_what_is_wrong_in_a_benchmark_is_named_with_what_is_needed(tmp_path, where, value, needed):
    message = complaint(tmp_path, where, value)
    assert message.startswith("benchmarks/configs/digits.yaml: ")
    assert needed in message


@pytest.mark.parametrize(
    ("where", "value", "needed"),
    [
        ("mistakes", None, "trainings.editable.targets: without a block 'mistakes', targets must be random"),
        ("mistakes.training", "plane", "mistakes: training: unknown 'plane'; did you mean 'plain'? trainings: "),
        ("similar.embedding", "vgg", "similar.embedding should be 'auto', 'inception_v3', 'pooled' or 'pixels'"),
        ("similar.cells", [["plain", "adam", "all"]], "similar.cells: unknown 'adam'; editors: gd, rmsprop"),
        ("trainings.editable.editor", "adagrad", "trainings.editable: unknown editor 'adagrad'; available: "),
        ("trainings.more", {"recipe": "distilled", **PLAN}, "trainings.more.teacher is missing"),
        ("trainings.more", {**TAUGHT, "teacher": "nobody"}, "trainings.more: cannot be made of 'nobody'; there are p"),
        ("trainings.more", {**TAUGHT, "teacher": "more"}, "trainings.more: cannot be made of 'more'; there are plain"),
        ("trainings.more", {**TAUGHT, "optimizer": "lbfgs"}, "trainings.more.optimizer should be 'adam' or 'sgd'"),
        (
            "trainings.more",
            {**TAUGHT, "architecture": "resnet18_extra", "options": {"depth": 3}},
            "trainings.more.architecture: architecture 'resnet18_extra' has no option 'depth'; it has: ",
        ),
    ],
)
def test_so_is_what_is_wrong_about_mistakes_and_trainings_for_edits(tmp_path, where, value, needed):
    assert needed in complaint(tmp_path, where, value, FINETUNE)


def test_several_mistakes_are_counted(tmp_path):
    with pytest.raises(InputError, match=r"\(and 2 more\)$"):
        load(tmp_path, PARAMS | {"threads": 0, "processes": 0, "seed": "x"})


def test_a_broken_benchmark_does_not_matter_until_it_is_asked_for(tmp_path):
    loaded = load(tmp_path, digits=DIGITS, broken=DIGITS | {"trainings": {}}, _part={"note": "Others build on it."})
    assert loaded.benchmark("digits").note == DIGITS["note"]
    for name, sentence in (
        ("broken", "broken.yaml: trainings: "),
        ("mnist", "benchmark: unknown 'mnist'; .*describes: broken, digits$"),
        ("_part", "benchmark: unknown '_part'"),
        ("../configs/digits", "benchmark: unknown '../configs/digits'"),
    ):
        with pytest.raises(InputError, match=sentence):
            loaded.benchmark(name)


def test_names_that_are_asked_for_later_are_checked_too(tmp_path):
    block = load(tmp_path).benchmark("digits")
    with pytest.raises(InputError, match="training: unknown 'none'; there are: plain"):
        block.training("none")
    with pytest.raises(InputError, match="editor: unknown 'adam'; there are: gd, rmsprop"):
        block.editor("adam")


def test_the_editor_that_a_training_prepares_for_edits_what_it_prepares(tmp_path):
    trainings = FINETUNE["trainings"] | {
        "cnp": {"recipe": "cnp", "architecture": "cnp_resnet18", "c_edit": 1.0, "c_loc": 1.0, **TABLE_3_TRAINING},
        "dknn": {"recipe": "dknn", "network": "plain", "k": 3},
    }
    editors = {
        "rmsprop": {"layers": {"plain": ["all"]}},
        "again": {"method": "rmsprop"},
        "condition_vector": {},
        "flip_labels": {"layers": {"dknn": []}},
    }
    added = {"trainings": trainings, "editors": editors, "analysis": {}, "sequences": None, "similar": None}
    loaded = load(tmp_path, digits=FINETUNE | added)
    cells = cells_of_run(loaded, "digits", None)
    found = {name: [(one.training, one.layers) for one in of_editor] for name, of_editor in cells.items()}
    assert found == {
        "rmsprop": [("plain", "all"), ("editable", "chain3")],
        "condition_vector": [("cnp", "condition")],
    }


def test_a_training_needs_the_model_whose_mistakes_it_learns_from(tmp_path):
    alone = {name: value for name, value in EDITABLE.items() if name != "start"}
    trainings = FINETUNE["trainings"] | {"editable": alone | {"targets": "mistakes"}}
    block = load(tmp_path, digits=FINETUNE | {"trainings": trainings}).benchmark("digits")
    assert block.training("editable").made_of == ()
    assert block.sources_of("editable") == ("plain",)


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "cuda:", "cpu0", "", "cuda:-1"])
def test_an_unknown_device_is_refused_with_those_there_are(device):
    with pytest.raises(InputError, match="params.yaml: device must be auto, cpu, cuda or cuda:<number>"):
        params.device_of(device, "params.yaml: device")


def test_a_gpu_is_taken_where_there_is_one_and_refused_where_there_is_none(tmp_path):
    wanted = "cuda" if torch.cuda.is_available() else "cpu"
    assert load(tmp_path, PARAMS | {"device": "auto"}).torch_device().type == wanted
    assert params.device_of("cpu", "device").type == "cpu"
    with pytest.raises(InputError, match="no such GPU; use cpu"):
        params.device_of("cuda:99", "device")


def test_a_part_without_a_name_is_refused_at_its_place(tmp_path):
    with pytest.raises(InputError, match=r"digits.yaml: editors.gd.layers.: String should match"):
        load(tmp_path, digits=changed(DIGITS, "editors.gd.layers", {"": []}))


VALUES = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=8),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=8), inner, max_size=3),
)
PLACES = [(PARAMS, key) for key in PARAMS]
PLACES += [(DIGITS, key) for key in (*DIGITS, "data.dataset", "data.options", "model.options", "trainings.plain.lr")]
PLACES += [(DIGITS, key) for key in ("editors.gd.layers", "editors.gd.trials", "tuning.edits", "evaluation.shard")]


@given(place=some.sampled_from(PLACES), value=VALUES)
def test_whatever_stands_in_a_parameter_is_taken_or_refused_in_a_line(tmp_path_factory, place, value):
    of, where = place
    chosen = (
        {"changed_params": changed(PARAMS, where, value)} if of is PARAMS else {"digits": changed(of, where, value)}
    )
    try:
        said = load(tmp_path_factory.mktemp("any"), **chosen)
    except InputError as error:
        said = str(error)
    assert isinstance(said, Settings) or (said and "\n" not in said and "Traceback" not in said)
