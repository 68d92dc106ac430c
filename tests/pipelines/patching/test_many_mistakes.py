"""Patches for several mistakes: together or one after the other, all of them corrected or not; and whom they hurt."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from baselines.model_files import load_model
from benchmarks.data import dataset
from benchmarks.scoring.side_effects import CORRUPTION, on_control
from benchmarks.seeds import generator
from tests.pipelines.patching.conftest import (
    CLASSES,
    RESNET18,
    a_mistake,
    answer_of,
    answers,
    files_below,
    other_class,
    refused,
    succeed,
)

ALL = ("--control", "images", "--layers", "all", "--set", "lr=1e-3", "--out", "new.pth")

NOTHING = ("--control", "images", "--set", "lr=1e-9", "--out", "new.pth")


def ask(**labels: str) -> tuple[str, str]:
    """The option for these images of the folder, by name without ending."""
    rows = "".join(f"{name.removeprefix('_')}.png,{label}\n" for name, label in labels.items())
    Path("images/list.csv").write_text(f"image,label\n{rows}")
    return ("--mistakes", "images/list.csv")


def report() -> dict:
    return json.loads(Path("new.json").read_text())


def third_class(image: str) -> str:
    return next(name for name in CLASSES if name not in (other_class(image), CLASSES[answer_of("model.pth", image)]))


def test_several_mistakes_are_corrected_in_one_edit(pictures: Path, run) -> None:
    labels = {name: other_class(f"images/{name}.png") for name in ("0", "3")}
    ended = succeed(run(*RESNET18, *ask(**{f"_{name}": label for name, label in labels.items()}), *ALL))
    assert [CLASSES[answer_of("new.pth", f"images/{name}.png")] for name in labels] == list(labels.values())
    assert "2 mistakes corrected in" in ended.output
    assert "all images together" in ended.output
    assert ended.errors.count("error") == 0
    assert len(report()["hyperparameters"]) == 1


@pytest.mark.parametrize("order", [(), ("--one-by-one",)])
def test_what_cannot_be_corrected_is_named_and_the_others_are(order: tuple[str, ...], pictures: Path, run) -> None:
    shutil.copy("images/0.png", "images/same.png")
    wanted = {"0": other_class("images/0.png"), "same": third_class("images/0.png"), "3": other_class("images/3.png")}
    ended = run(*RESNET18, *ask(**{f"_{name}": label for name, label in wanted.items()}), *ALL, *order)
    found = {name: CLASSES[answer_of("new.pth", f"images/{name}.png")] for name in wanted}
    (missed,) = (name for name in wanted if found[name] != wanted[name])  # one picture cannot have two classes
    assert missed != "3"
    assert ended.code == 1
    assert "1 of 3 images do not get the class that they should; new.pth is written" in ended.errors
    assert "2 of 3 mistakes corrected in" in ended.output
    assert f"**Not corrected:** images/{missed}.png." in ended.output
    said = report()
    assert said["succeeded"] is False
    assert {Path(one["image"]).stem: (one["now"], one["corrected"]) for one in said["edited"]} == {
        name: (found[name], name != missed) for name in wanted
    }
    assert ("one image after the other" in ended.output) == bool(order)
    succeed(run("remove", "new.patch.safetensors", "--model", "new.pth", "--out", "back.pth"))
    assert Path("back.pth").read_bytes() == Path("model.pth").read_bytes()


def test_edits_one_after_the_other_start_where_the_last_one_left_the_model(pictures: Path, run) -> None:
    options = (*RESNET18[2:], "--control", "images", "--editor", "gd", "--set", "lr=0.03")
    first = other_class("images/0.png")
    one = ("--input", "images/0.png", "--label", first, "--out", "first.pth")
    succeed(run("--model", "model.pth", *options, *one))
    second = CLASSES[(answer_of("first.pth", "images/3.png") + 1) % 4]
    one = ("--input", "images/3.png", "--label", second, "--out", "second.pth")
    succeed(run("--model", "first.pth", *options, *one))
    assert run("--model", "model.pth", *options, *ask(_0=first, _3=second), "--one-by-one", "--out", "new.pth").code < 2
    assert Path("second.pth").read_bytes() == Path("new.pth").read_bytes()
    assert report()["steps"] == sum(
        json.loads(Path(f"{name}.json").read_text())["steps"] for name in ("first", "second")
    )


def test_nothing_is_written_if_none_of_several_can_be_corrected(pictures: Path, run) -> None:
    asked = ask(_0=other_class("images/0.png"), _3=other_class("images/3.png"))
    before = files_below(pictures)
    for order in ((), ("--one-by-one",)):
        ended = run(*RESNET18, *asked, *NOTHING, *order)
        refused(ended, "none of 2 images could be given the class that it should get", "nothing was written")
        assert files_below(pictures) == before


def test_side_effects_are_those_that_benchmarks_measure(digits: Path, run) -> None:
    number, image, label = a_mistake()
    arguments = ("--model", "models/digits/plain", "--input", image, "--label", label, "--layers", "chain4")
    ended = succeed(run(*arguments, "--control", "control", "--out", "patched/plain"))
    known = json.loads(Path("patched/plain.json").read_text())["effects"]["known"]

    data = dataset.load("data/digits")
    models = [load_model(folder)[0] for folder in ("models/digits/plain", "patched/plain")]
    order = [place for digit in range(10) for place in (data.test.labels == digit).nonzero()[:, 0].tolist()]
    others = [place for place in order if place != number]
    images, labels = data.test.images[others], data.test.labels[others]
    with torch.no_grad():
        said = [model(data.inputs(images)).log_softmax(dim=1) for model in models]
    broken, near, near_before, near_after, worst, _, calibrated, calibrated_after = on_control(*said, labels).tolist()
    assert known["errors"]["broken"] == broken
    sensitive = known["sensitive"]
    assert (sensitive["images"] if sensitive else 0) == near
    if sensitive:
        assert sensitive["before"]["value"] == pytest.approx(100 * near_before / near)
        assert sensitive["after"]["value"] == pytest.approx(100 * near_after / near)
    assert known["worst"]["drawdown"]["value"] == pytest.approx(worst)
    assert known["worst"]["images"] == int((labels == int(known["worst_class"])).sum())
    assert (known["calibration_before"], known["calibration_after"]) == pytest.approx((calibrated, calibrated_after))

    source = generator("patch", "corrupted copies")
    copies = torch.cat([CORRUPTION.apply(one[None], source) for one in images])
    with torch.no_grad():
        wrong = [model(data.inputs(copies)).argmax(dim=1) != labels for model in models]
    found = known["corrupted"]
    assert found["images"] == len(others)
    assert [found[when]["value"] for when in ("before", "after")] == pytest.approx(
        [100 * float(one.double().mean()) for one in wrong]
    )
    assert found["before"]["value"] > known["errors"]["before"]["value"]  # they are harder
    assert answers("patched/plain")[number] == label
    assert f"| all | {len(others)} |" in ended.output
