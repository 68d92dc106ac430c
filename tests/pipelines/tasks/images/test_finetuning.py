"""Trainings that start from a trained network: distillation, an extra layer, a teacher for Editable Training."""

import json
import shutil

import pandas as pd
import pytest
import torch
from PIL import Image

import benchmarks.torchvision_cpu  # noqa: F401  must come before torchvision
from baselines.model_files import load_model
from benchmarks.data import dataset
from benchmarks.models import torchvision_networks
from benchmarks.seeds import generator
from tests.pipelines.conftest import DIGITS, Project, write_project

EXTRA = {"architecture": "resnet18_extra", "options": {"extra_width": 32}, "start": "plain"}
SGD = {"optimizer": "sgd", "lr": 1e-9, "lr_new": 1e-2, "epochs": 2, "batch_size": 256, "schedule": "constant"}
EDITS = {"editor": "rmsprop", "layers": "extra", "c_edit": 0.1, "c_loc": 0.1, "clip_norm": 10.0}
TRAININGS = {
    "editable": {"recipe": "editable", "teacher": "plain", **EXTRA, "start": "extended", **EDITS, **SGD},
    "distilled": {"recipe": "distilled", "teacher": "plain", **EXTRA, **SGD},
    "extended": {"recipe": "extended", **EXTRA},
    **DIGITS["trainings"],
}


@pytest.fixture(scope="module")
def project(trained_once, tmp_path_factory) -> Project:
    """A plain model, the same with an extra layer, one distilled from it and one prepared for edits by a teacher."""
    made = trained_once.copy(tmp_path_factory.mktemp("finetuning") / "project")
    made.change(trainings=TRAININGS)
    made.succeed("train", "digits")
    return made


def test_an_extended_model_answers_as_the_one_it_extends(project):
    data = dataset.load(project.folder / "data/digits")
    plain, extended = (load_model(project.folder / "models/digits" / name) for name in ("plain", "extended"))
    with torch.no_grad():
        assert torch.equal(*(model(data.inputs(data.test.images)) for model, _ in (plain, extended)))
    assert extended[1].architecture == "resnet18_extra"
    assert extended[1].tuning_error == plain[1].tuning_error
    assert extended[0].extra.expand.weight.std() > 0


def test_only_new_parameters_learn_at_their_own_rate(project):
    before, after = project.weights("plain"), project.weights("distilled")
    assert set(after) - set(before) == {
        f"extra.{part}.{kind}" for part in ("expand", "reduce") for kind in ("weight", "bias")
    }
    assert after["extra.reduce.weight"].abs().max() > 1e-4
    for name in before:
        if "running" not in name and "num_batches" not in name:
            assert (after[name] - before[name]).abs().max() < 1e-6, name


def test_distillation_learns_answers_and_not_labels(project):
    history = pd.read_csv(project.folder / "results/digits/models/distilled/history.csv")
    data = dataset.load(project.folder / "data/digits")
    with torch.no_grad():
        logits = load_model(project.folder / "models/digits/plain")[0](data.inputs(data.train.images))
    labels = torch.nn.functional.cross_entropy(logits, data.train.labels)
    assert history["train_loss"].min() > 0
    assert history["train_loss"].max() < 0.5 * float(labels)  # the student starts as the teacher, in training mode


def test_a_taught_editable_model_goes_on_from_one_model_and_learns_from_another(project, tmp_path):
    again = project.copy(tmp_path / "again")
    assert again.succeed("train", "digits").output.count("unchanged") == 4
    editor = json.loads((project.folder / "results/digits/models/editable/editor.json").read_text())
    assert (editor["editor"], editor["layers"]) == ("rmsprop", "extra")
    shutil.rmtree(again.folder / "models/digits/extended")
    assert again.succeed("train", "digits", "editable").output.count("train digits extended") == 1
    again.change(trainings__plain__epochs=1)
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
    digits = DIGITS | {
        "data": {"dataset": "image_folder", "options": {"folder": str(folder), "tuning_size": 4}},
        "model": {"architecture": "torchvision", "options": {"network": "resnet18"}},
        "trainings": {
            "plain": {"recipe": "pretrained", "weights": str(tmp_path / "published.pth")},
            "distilled": {"recipe": "distilled", "teacher": "plain", **EXTRA, **SGD, "architecture": None},
        },
    }
    made = Project(write_project(tmp_path, digits=digits), stage_server)
    made.succeed("prepare", "digits")
    made.succeed("train", "digits")
    data = dataset.load(tmp_path / "data/digits")
    inputs = data.inputs(data.test.images)
    with torch.no_grad():
        expected, found = (net(inputs) for net in (network.eval(), load_model(tmp_path / "models/digits/plain")[0]))
    assert torch.equal(found, expected)
    learned = made.weights("distilled")
    assert learned["extra.expand.weight"].shape == (32, 512)
    assert torch.allclose(learned["chain3.0.conv1.weight"], network.layer3[0].conv1.weight, atol=1e-6)


def test_published_weights_of_another_kind_of_network_are_refused(trained):
    trained.change(trainings__published={"recipe": "pretrained"})
    ended = trained.run("train", "digits", "published")
    assert ended.code == 2
    assert ended.errors == "error: digits published is for the architecture torchvision, not resnet18\n"
