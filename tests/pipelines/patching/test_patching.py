"""Patching one's own model: what it writes, what it says, and how it is undone."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

import benchmarks.torchvision_cpu  # noqa: F401  must come before torchvision
from baselines.model_files import load_model
from benchmarks import metrics
from benchmarks.data import dataset
from benchmarks.models import torchvision_networks
from benchmarks.patching import checkpoint_files
from benchmarks.patching.side_effects import Flip, SideEffects
from benchmarks.seeds import generator
from pipelines.reporting.patches import EditedImage, PatchReport, write
from tests.pipelines.patching.conftest import (
    CLASSES,
    RESNET18,
    a_mistake,
    answer_of,
    answers,
    other_class,
    refused,
    succeed,
)


def test_a_patched_digits_model_gives_the_wanted_answer_and_the_report_counts_right(digits: Path, run) -> None:
    number, image, label = a_mistake()
    arguments = ("--model", "models/digits/plain", "--input", image, "--label", label, "--layers", "chain4")
    ended = succeed(run(*arguments, "--control", "control", "--out", "patched/plain"))
    labels = dataset.load("data/digits").test.labels
    before, after = answers("models/digits/plain"), answers("patched/plain")
    assert after[number] == label != before[number]
    others = torch.arange(len(labels)) != number
    report = json.loads(Path("patched/plain.json").read_text())
    effects = report["effects"]
    assert effects["images"] == int(others.sum())
    flipped = {f"control/{labels[place]}/{place:02d}.png" for place in ((before != after) & others).nonzero()[:, 0]}
    assert {flip["file"] for flip in effects["flips"]} == flipped
    errors = [100 * float((some != labels)[others].double().mean()) for some in (before, after)]
    found = effects["known"]["errors"]
    assert [found[name]["value"] for name in ("before", "after")] == pytest.approx(errors)
    drawdown = found["drawdown"]
    assert drawdown["value"] == pytest.approx(errors[1] - errors[0])
    assert drawdown["low"] < drawdown["value"] < drawdown["high"]
    changed = report["changed"]
    old, new = (load_model(folder)[0].state_dict() for folder in ("models/digits/plain", "patched/plain"))
    assert set(changed) == {name for name in old if not torch.equal(old[name], new[name])}
    assert all(name.startswith("chain4.") for name in changed)
    assert report["patch_bytes"] == 4 * sum(changed.values())
    assert Path("patched/plain.md").read_text() in ended.output + "\n"
    assert f"| {image} | {label} | {int(before[number])} | {label} |" in ended.output


def test_covariance_knows_training_images_and_views_follow_the_correction(digits: Path, run) -> None:
    _, image, label = a_mistake()
    arguments = ("--model", "models/digits/plain", "--input", image, "--label", label, "--layers", "chain4")
    arguments = (*arguments, "--editor", "covariance", "--control", "control", "--training", "control")
    for views, out in ((0, "alone"), (16, "views")):
        ended = succeed(run(*arguments, "--views", views, "--out", f"{out}/plain"))
        assert ("also for 16 augmented copies" in ended.output) == bool(views)
    data, number = dataset.load("data/digits"), int(Path(image).stem)
    copies = data.test.images[number].expand(200, -1, -1, -1)
    inputs = data.inputs(data.augmentation.apply(copies, generator("other views")))
    with torch.no_grad():
        right = [
            int((load_model(f"{out}/plain")[0](inputs).argmax(dim=1) == label).sum()) for out in ("alone", "views")
        ]
    assert right[1] > max(right[0], 150)


def test_flips_are_shown_on_a_sheet_and_notes_below_the_numbers(pictures: Path) -> None:
    flips = tuple(Flip(Path(f"images/{number}.png"), None, "cat", "dog") for number in (1, 2))
    effects = SideEffects(images=5, flips=flips, flip_rate=metrics.share(2, 5), known=None)
    names = ("model.pth", "new.pth", "new.patch.safetensors", "rmsprop", "layer3")
    edited = (EditedImage("images/0.png", "cow", "fish", "cow", True),)
    numbers = {"steps": 3, "seconds": 0.5, "changed": {"a": 10}, "parameters": 40, "patch_bytes": 2048}
    hashes = {"original": "0", "patched": "1"}
    told = {"effects": effects, "notes": ("A guess.",)}
    report = PatchReport(*names, [{"lr": 1e-3}], 0, False, edited, **numbers, **hashes, **told)
    text = write(report, Path("new"), "RGB")
    assert "](new.flips.png)" in text
    assert "| images/2.png | – | cat | dog |" in text
    assert "Flips**: 2 of 5 control images, 40.00 [11.76, 76.93] %" in text  # Wilson's, by hand
    assert "2.0 KiB, 1 tensor with 10 of 40 parameters (25.0 %)" in text
    assert "- **Note**: A guess." in text
    assert "patch remove new.patch.safetensors --model new.pth" in text
    pixels = np.asarray(Image.open("new.flips.png").convert("RGB")).reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 1000  # coloured noise, which a sheet without the images does not have
    still = replace(effects, flips=(), flip_rate=metrics.share(0, 5))
    assert "Flips**: 0 of 5" in write(replace(report, effects=still), Path("still"), "RGB")
    assert not Path("still.flips.png").exists()


def test_a_torchvision_checkpoint_stays_one_and_the_patch_goes_off_without_a_trace(pictures: Path, run) -> None:
    image, original = "images/2.png", Path("model.pth").read_bytes()
    label = other_class(image)
    arguments = (*RESNET18, "--input", image, "--label", label, "--control", "images", "--out", "new.pth")
    ended = succeed(run(*arguments))
    assert "**Errors**: unknown" in ended.output
    assert "of 5 control images" in ended.output  # the edited one is left out
    assert CLASSES[answer_of("new.pth", image)] == label
    new, old = checkpoint_files.read("new.pth"), checkpoint_files.read("model.pth")
    assert {name.split(".")[0] for name in old if not torch.equal(old[name], new[name])} == {"layer3"}
    assert Path("model.pth").read_bytes() == original
    succeed(run("apply", "new.patch.safetensors", "--model", "model.pth", "--out", "again.pth"))
    assert Path("again.pth").read_bytes() == Path("new.pth").read_bytes() != original
    ended = succeed(run("remove", "new.patch.safetensors", "--model", "again.pth", "--out", "model.pth"))
    assert "model.pth is the original already" in ended.output
    ended = succeed(run("remove", "new.patch.safetensors", "--model", "new.pth", "--out", "new.pth"))
    assert "the same file as before" in ended.output
    assert Path("new.pth").read_bytes() == original
    refused(run("apply", "new.patch.safetensors", "--model", "new.pth", "--out", "new.pth"), "the original stays")


def test_a_new_patch_replaces_the_report_of_the_last_one(pictures: Path, run) -> None:
    arguments = (*RESNET18, "--input", "images/0.png", "--control", "images", "--out", "new.pth")
    labels = [name for name in CLASSES if name != CLASSES[answer_of("model.pth", "images/0.png")]]
    for label in labels[:2]:
        Path("new.flips.png").write_bytes(b"an older sheet")
        if label == labels[0]:
            refused(run(*arguments, "--label", label), "new.flips.png is there already, and not of an earlier patch")
            Path("new.flips.png").unlink()
        succeed(run(*arguments, "--label", label))
        assert CLASSES[answer_of("new.pth", "images/0.png")] == label
        assert f"| {label} |" in Path("new.md").read_text()
    sheet = Path("new.flips.png")
    assert not sheet.exists() or sheet.read_bytes() != b"an older sheet"


def test_a_patch_of_a_models_folder_is_applied_and_removed(digits: Path, run) -> None:
    _, image, label = a_mistake()
    arguments = ("--model", "models/digits/plain", "--input", image, "--label", label, "--layers", "chain4")
    succeed(run(*arguments, "--control", "control", "--out", "patched"))
    shutil.copytree("patched", "models/mine/patched")
    Path("data/aaa").mkdir()
    Path("data/aaa/dataset.json").write_text("broken")
    elsewhere = ("--model", "models/mine/patched", "--input", image, "--label", (label + 1) % 10, "--layers", "chain4")
    succeed(run(*elsewhere, "--control", "control", "--out", "elsewhere"))
    second = ("--model", "patched", "--input", image, "--label", (label + 1) % 10, "--layers", "chain4")
    succeed(run(*second, "--control", "control", "--out", "twice"))  # its data are found though it lies elsewhere
    succeed(run("apply", "patched.patch.safetensors", "--model", "models/digits/plain", "--out", "again"))
    assert answers("again").tolist() == answers("patched").tolist()
    succeed(run("remove", "patched.patch.safetensors", "--model", "again", "--out", "back"))
    for file in Path("back").iterdir():
        assert file.read_bytes() == (Path("models/digits/plain") / file.name).read_bytes()
    refused(run("remove", "patched.patch.safetensors", "--model", "back", "--out", "x"), "the patch is not in place")


def test_a_densenet_as_it_was_published_is_patched_and_restored(pictures: Path, run) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision_networks.make_whole("densenet121", classes=4)
    dotted = re.compile(r"(denselayer\d+\.(?:norm|conv))([12])")
    old = {
        dotted.sub(r"\1.\2", name): value
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    torch.save(old, "old.pth", _use_new_zipfile_serialization=False)
    transform = torchvision_networks.published("densenet121").transforms(crop_size=32, resize_size=32)
    image = transform(Image.open("images/0.png"))[None]

    def answer(path: str) -> int:
        torchvision_networks.load_weights(network.eval(), Path(path))
        with torch.no_grad():
            return int(network(image).argmax())

    wanted = (answer("old.pth") + 1) % 4
    arguments = ("--model", "old.pth", "--architecture", "densenet121", "--size", 32, "--control", "images")
    succeed(run(*arguments, "--input", "images/0.png", "--label", wanted, "--out", "new.pth"))
    changed = json.loads(Path("new.json").read_text())["changed"]
    assert "features.denseblock3.denselayer1.norm.1.weight" in changed
    assert all(name.startswith("features.denseblock3.") for name in changed)
    assert answer("new.pth") == wanted
    ended = succeed(run("remove", "new.patch.safetensors", "--model", "new.pth", "--out", "back.pth"))
    assert "the same weights in a file that this version of torch wrote as before" in ended.output
    back, before = checkpoint_files.read("back.pth"), checkpoint_files.read("old.pth")
    assert list(back) == list(before) == list(old)
    assert checkpoint_files.fingerprint(back) == checkpoint_files.fingerprint(before)


def test_names_with_a_wrappers_prefix_are_kept(pictures: Path, run) -> None:
    state = {f"module._orig_mod.{name}": value for name, value in checkpoint_files.read("model.pth").items()}
    torch.save({"model_state_dict": state | {"loss.weight": torch.ones(4)}, "epoch": 3}, "wrapped.pth")
    arguments = (*RESNET18[2:], "--input", "images/0.png", "--label", other_class("images/0.png"))
    succeed(run("--model", "wrapped.pth", *arguments, "--control", "images", "--out", "new.pth"))
    new = torch.load("new.pth", weights_only=True)
    assert new["epoch"] == 3
    assert list(new["model_state_dict"]) == [*state, "loss.weight"]
    assert all(
        name.startswith("module._orig_mod.layer3.") for name in json.loads(Path("new.json").read_text())["changed"]
    )
    succeed(run("remove", "new.patch.safetensors", "--model", "new.pth", "--out", "back.pth"))
    assert Path("back.pth").read_bytes() == Path("wrapped.pth").read_bytes()


FAST = ("googlenet", "mnasnet0_5", "regnet_y_400mf", "shufflenet_v2_x0_5", "squeezenet1_1")
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in torchvision_networks.names() if name not in FAST]


@pytest.mark.parametrize("name", [*FAST, *SLOW])
def test_any_classifier_of_torchvisions_is_patched_and_restored(name: str, pictures: Path, run) -> None:
    two_headed = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.get_model(name, weights=None, num_classes=3, **two_headed)
        for value in list(network.parameters())[-2:]:
            torch.nn.init.normal_(value, std=0.1)  # some begin with zeros, with which all classes are alike
    torch.save(network.state_dict(), "model.pth")
    del network  # some have 600 million parameters
    size = 224 if name.startswith(("vit", "maxvit")) else 96
    arguments = ("--model", "model.pth", "--architecture", name, "--size", size, "--input", "images/0.png")
    arguments = (*arguments, "--control", "images", "--out", "new.pth")
    ended = run(*arguments, "--label", 0)
    if "gives the wanted answers already" in ended.errors:
        ended = run(*arguments, "--label", 1)
    succeed(ended)
    assert ("transform_input" in ended.output) == bool(two_headed)
    succeed(run("remove", "new.patch.safetensors", "--model", "new.pth", "--out", "back.pth"))
    assert Path("back.pth").read_bytes() == Path("model.pth").read_bytes()
    for path in (*Path().glob("*.pth"), Path("new.patch.safetensors")):
        path.unlink()  # 76 GB, if all networks' files stayed until the last test


def test_the_order_of_numbered_folders_is_said_unless_it_is_given(pictures: Path, run) -> None:
    torch.manual_seed(0)
    torch.save(torchvision_networks.make_whole("resnet18", classes=12).state_dict(), "model.pth")
    for number in range(12):
        Path(f"control/{number}").mkdir(parents=True)
        Path(f"control/{number}/0.png").write_bytes(Path("images/1.png").read_bytes())
    arguments = ("--model", "model.pth", "--architecture", "resnet18", "--size", 32, "--control", "control")
    arguments = (*arguments, "--input", "images/0.png", "--label", "7", "--out", "new.pth")
    said = succeed(run(*arguments)).output
    assert "taken for the numbers of outputs: 0, 1, 2, 3, …" in said
    assert "(0, 1, 10, 11, …), --classes must list them in that order" in said
    Path("classes.txt").write_text("\n".join(sorted(map(str, range(12)))))
    assert "Note" not in succeed(run(*arguments, "--classes", "classes.txt")).output


def test_of_a_checkpoint_in_double_precision_only_what_was_edited_changes(pictures: Path, run) -> None:
    """Elsewhere too, the network that was edited has no room for all bits of the file."""
    state = checkpoint_files.read("model.pth")
    exact = {
        name: value.double() * (1 + 2**-40) if value.is_floating_point() else value for name, value in state.items()
    }
    torch.save(exact, "model.pth")
    arguments = ("--input", "images/1.png", "--label", other_class("images/1.png"), "--control", "images")
    succeed(run(*RESNET18, *arguments, "--layers", "layer3", "--out", "new.pth"))
    after = checkpoint_files.read("new.pth")
    assert {name.split(".")[0] for name, value in exact.items() if not value.equal(after[name])} == {"layer3"}


def test_a_patch_that_mlflow_does_not_take_is_written_and_that_is_said(pictures: Path, run, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    arguments = ("--input", "images/1.png", "--label", other_class("images/1.png"), "--control", "images")
    ended = run(*RESNET18, *arguments, "--out", "new.pth", "--register", "cats")
    assert ended.code == 1
    assert "error: the patch is written, but not registered: MLflow at http://127.0.0.1:9 " in ended.errors
    assert Path("new.pth").exists()


def test_the_picture_of_an_earlier_patch_is_no_control_image(pictures: Path, run) -> None:
    arguments = ("--input", "images/1.png", "--label", other_class("images/1.png"), "--control", "images")
    said = []
    for out in ("first.pth", "second.pth"):
        succeed(run(*RESNET18, *arguments, "--out", out))
        said.append(json.loads(Path(out).with_suffix(".json").read_text())["effects"])
        shutil.copy("images/0.png", "images/first.flips.png")
    assert said[0] == said[1]


def test_half_precision_is_judged_as_it_is_stored(pictures: Path, run) -> None:
    state = checkpoint_files.read("model.pth")
    half = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    torch.save({"state_dict": half}, "model.pth")
    label = other_class("images/1.png")
    arguments = ("--input", "images/1.png", "--label", label, "--control", "images", "--out", "new.pth")
    succeed(run(*RESNET18, *arguments))
    assert checkpoint_files.read("new.pth")["layer3.0.conv1.weight"].dtype == torch.float16
    assert CLASSES[answer_of("new.pth", "images/1.png")] == label
    arguments = ("--input", "images/0.png", "--label", other_class("images/0.png"), "--control", "images")
    largest = torch.finfo(torch.float16).max
    overflow = (*arguments, "--out", "other.pth", "--editor", "gd", "--set", f"lr={100 * largest}", "--layers", "fc")
    refused(run(*RESNET18, *overflow), "(its numbers would not be finite as the file stores them)")
    assert not list(pictures.glob("other*"))


def test_the_default_learning_rate_is_the_smallest_that_succeeds_and_given_it_makes_the_same_bytes(
    pictures: Path, run
) -> None:
    arguments = ("--input", "images/0.png", "--label", other_class("images/0.png"), "--control", "images")
    succeed(run(*RESNET18, *arguments, "--out", "new.pth"))
    rate = json.loads(Path("new.json").read_text())["hyperparameters"][0]["lr"]
    succeed(run(*RESNET18, *arguments, "--out", "same.pth", "--set", f"lr={rate}"))
    for suffix in ("pth", "patch.safetensors", "flips.png"):
        if Path(f"new.{suffix}").exists() or suffix != "flips.png":
            assert Path(f"same.{suffix}").read_bytes() == Path(f"new.{suffix}").read_bytes()
    lower = run(*RESNET18, *arguments, "--out", "lower.pth", "--set", f"lr={rate / 10**0.5:.2g}")
    assert rate == 1e-5 or lower.code == 2


ODD = "<img src=x onerror=alert(1)>|[a](http://b) $x^ `c` \x1b[31m\u202e犬"


def test_names_of_anybodys_are_shown_as_they_are_and_do_nothing(pictures, run):
    label = CLASSES.index(other_class("images/0.png"))
    Path("classes.txt").write_text("\n".join(ODD if at == label else name for at, name in enumerate(CLASSES)))
    odd = os.fsdecode(b"images/\xff\xfe<b>.png")
    shutil.copy("images/0.png", odd)
    shutil.copy("images/1.png", "images/new\nline|.png")
    said = succeed(run(*RESNET18, "--input", odd, "--label", label, "--control", "images", "--out", "new.pth")).output
    page = Path("new.md").read_text(encoding="utf-8")
    assert page.strip() == said.strip()
    assert "<" not in page.replace("<br>", "")
    assert r"\|\[a\](http" in page or r"\|[a\](http" in page
    assert not {"\x1b", "\u202e", "\udcff"} & set(page)
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in rows[:3]}) == 1
    assert json.loads(Path("new.json").read_text())["edited"][0]["now"] == ODD.replace("\x1b", "\x1b")


def test_a_sheet_that_cannot_be_drawn_costs_no_report(pictures, run, monkeypatch):
    def failing(*_):
        raise RuntimeError("no\nfonts")

    monkeypatch.setattr("pipelines.reporting.patches._sheet", failing)
    arguments = ("--input", "images/0.png", "--label", other_class("images/0.png"), "--control", "images")
    ended = succeed(run(*RESNET18, *arguments, "--out", "new.pth"))
    assert json.loads(Path("new.json").read_text())["effects"]["flips"]
    assert "the sheet of flips is left out: no fonts" in ended.errors
    assert "flips.png" not in Path("new.md").read_text()
    assert not Path("new.flips.png").exists()
