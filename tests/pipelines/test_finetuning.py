"""Trainings that start from a trained network: distillation, an extra layer, a teacher for Editable Training."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

import benchmarks.torchvision_cpu  # noqa: F401  must come before torchvision
from baselines.model_files import load_model
from benchmarks.data import dataset
from benchmarks.models import torchvision_networks
from benchmarks.seeds import generator
from tests.pipelines.conftest import Project, tiny_parameters

EXTRA = {"architecture": "resnet18_extra", "options": {"extra_width": 32}, "start": "plain"}
SGD = {"optimizer": "sgd", "lr": 1e-9, "lr_new": 1e-2, "epochs": 2, "batch_size": 256, "schedule": "constant"}
EDITS = {"editor": "rmsprop", "layers": "extra", "c_edit": 0.1, "c_loc": 0.1, "clip_norm": 10.0}


@pytest.fixture(scope="module")
def project(trained_once, tmp_path_factory) -> Project:
    """A plain model, the same with an extra layer, one distilled from it and one prepared for edits by a teacher."""
    made = trained_once.copy(tmp_path_factory.mktemp("finetuning") / "project")
    content = tiny_parameters() | {"trainings": ["editable", "distilled", "extended", "plain"]}
    trainings = content["benchmarks"]["digits"]["trainings"]
    trainings["extended"] = {"recipe": "extended", **EXTRA}
    trainings["distilled"] = {"recipe": "distilled", "teacher": "plain", **EXTRA, **SGD}
    trainings["editable"] = {"recipe": "editable", "teacher": "plain", **EXTRA, "start": "extended", **EDITS, **SGD}
    (made.folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    made.succeed("train", "digits")
    return made


def weights(project: Project, name: str) -> dict[str, torch.Tensor]:
    return load_file(project.folder / "models/digits" / name / "model.safetensors")


def test_an_extended_model_answers_as_the_one_it_extends(project):
    data = dataset.load(project.folder / "data/digits")
    plain, extended = (load_model(project.folder / "models/digits" / name) for name in ("plain", "extended"))
    with torch.no_grad():
        assert torch.equal(*(model(data.inputs(data.test.images)) for model, _ in (plain, extended)))
    assert extended[1].architecture == "resnet18_extra"
    assert extended[1].tuning_error == plain[1].tuning_error
    assert extended[0].extra.expand.weight.std() > 0


def test_only_new_parameters_learn_at_their_own_rate(project):
    before, after = weights(project, "plain"), weights(project, "distilled")
    assert set(after) - set(before) == {
        f"extra.{part}.{kind}" for part in ("expand", "reduce") for kind in ("weight", "bias")
    }
    assert after["extra.reduce.weight"].abs().max() > 1e-4
    for name in before:
        if "running" not in name and "num_batches" not in name:
            assert (after[name] - before[name]).abs().max() < 1e-6, name


def test_distillation_learns_answers_and_not_labels(project):
    history = pd.read_csv(project.folder / "models/digits/distilled/history.csv")
    data = dataset.load(project.folder / "data/digits")
    with torch.no_grad():
        logits = load_model(project.folder / "models/digits/plain")[0](data.inputs(data.train.images))
    labels = torch.nn.functional.cross_entropy(logits, data.train.labels)
    assert history["train_loss"].min() > 0
    assert history["train_loss"].max() < 0.5 * float(labels)  # the student starts as the teacher, in training mode


def test_a_taught_editable_model_goes_on_from_one_model_and_learns_from_another(project, tmp_path):
    again = project.copy(tmp_path / "again")
    assert again.succeed("train", "digits").output.count("unchanged") == 4
    editor = json.loads((project.folder / "models/digits/editable/editor.json").read_text())
    assert (editor["editor"], editor["layers"]) == ("rmsprop", "extra")
    shutil.rmtree(again.folder / "models/digits/extended")
    again.change(trainings=["editable", "distilled", "extended", "plain"])
    assert again.succeed("train", "digits", "editable").output.count("train digits extended") == 1
    again.change(benchmarks__digits__trainings__plain__epochs=1)
    output = again.succeed("train", "digits", "editable").output
    assert "unchanged" not in output
    assert "distilled" not in output


def test_a_published_network_is_extended_and_distilled(stage_server, tmp_path):
    folder = tmp_path / "images"
    noise = torch.randint(256, (24, 32, 32, 3), generator=generator("images")).to(torch.uint8).numpy()
    for number, image in enumerate(noise):
        path = folder / ("train" if number < 16 else "test") / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    network = torchvision_networks.make_whole("resnet18", classes=2)
    torch.save(network.state_dict(), tmp_path / "published.pth")
    content = tiny_parameters() | {"trainings": ["plain", "distilled"]}
    digits = content["benchmarks"]["digits"]
    digits["data"] = {"dataset": "image_folder", "options": {"folder": str(folder), "tuning_size": 4}}
    digits["model"] = {"architecture": "torchvision", "options": {"network": "resnet18"}}
    digits["trainings"] = {
        "plain": {"recipe": "pretrained", "weights": str(tmp_path / "published.pth")},
        "distilled": {"recipe": "distilled", "teacher": "plain", **EXTRA, **SGD, "architecture": None},
    }
    digits["analysis"]["cells"] = []
    made = Project(tmp_path, stage_server)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    made.succeed("prepare", "digits")
    made.succeed("train", "digits")
    data = dataset.load(tmp_path / "data/digits")
    inputs = data.inputs(data.test.images)
    with torch.no_grad():
        expected, found = (net(inputs) for net in (network.eval(), load_model(tmp_path / "models/digits/plain")[0]))
    assert torch.equal(found, expected)
    learned = weights(made, "distilled")
    assert learned["extra.expand.weight"].shape == (32, 512)
    assert torch.allclose(learned["chain3.0.conv1.weight"], network.layer3[0].conv1.weight, atol=1e-6)


MISTAKES = {
    "published weights of another kind of network": ({"recipe": "pretrained"}, "is for the architecture torchvision"),
    "no teacher": ({"recipe": "distilled", **SGD, "lr_new": None}, "teacher"),
    "unknown teacher": ({"recipe": "distilled", "teacher": "nobody", **SGD, "lr_new": None}, "made of 'nobody'"),
    "itself": ({"recipe": "distilled", "teacher": "distilled", **SGD, "lr_new": None}, "made of 'distilled'"),
    "nothing old": ({"recipe": "plain", **SGD}, "lr_new needs start"),
    "unknown option": (
        {"recipe": "distilled", "teacher": "plain", **EXTRA, **SGD, "options": {"depth": 3}},
        "has no option 'depth'",
    ),
    "unknown optimizer": ({"recipe": "plain", **SGD, "lr_new": None, "optimizer": "lbfgs"}, "optimizer"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_in_a_block_are_one_sentence(case, project, tmp_path):
    block, words = MISTAKES[case]
    again = project.copy(tmp_path / "again")
    again.change(benchmarks__digits__trainings__distilled=block)
    ended = again.run("train", "digits")
    assert ended.code == 2
    assert words in ended.errors.strip().splitlines()[-1]
    assert "Traceback" not in ended.errors
