"""Patching one's own model: what it writes, what it says, how it is undone, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import benchmarks.torchvision_cpu  # noqa: F401
from baselines.checkpoints import load_model
from benchmarks import checkpoint_files, dataset, metrics
from benchmarks.models import torchvision_networks
from benchmarks.seeds import generator
from pipelines import command
from pipelines.patch import apply, patch, remove
from pipelines.presentation.patch_report import EditedImage, PatchReport, write
from pipelines.side_effects import Flip, SideEffects


@dataclass(frozen=True)
class Ended:
    code: int
    output: str
    errors: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """The command with arguments, in this process."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["pipelines.patch", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            command.run(patch, apply, remove)
        said = capsys.readouterr()
        return Ended(int(end.value.code or 0), said.out, said.err)

    return run


def succeed(ended: Ended) -> Ended:
    assert ended.code == 0, ended.errors
    return ended


def refused(ended: Ended, *words: str) -> None:
    assert ended.code == 2, ended
    assert ended.errors.startswith("error: ")
    assert ended.errors.count("\n") == 1, ended.errors
    for word in words:
        assert word in ended.errors


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# A model of the suite, and torchvision's ResNet-18 with random weights


@pytest.fixture
def digits(trained_once, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a trained model, its data, and its test images as files in class folders."""
    for name in ("models", "data"):
        shutil.copytree(trained_once.folder / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    data = dataset.load("data/digits")
    for number, (image, label) in enumerate(zip(data.test.images, data.test.labels.tolist(), strict=True)):
        path = tmp_path / "control" / str(label) / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(path)
    return tmp_path


def answers(model: str) -> torch.Tensor:
    data = dataset.load("data/digits")
    with torch.no_grad():
        return load_model(model)[0](data.inputs(data.test.images)).argmax(dim=1)


def a_mistake() -> tuple[int, str, int]:
    """Number, file and true class of a test image that the trained model gets wrong."""
    data = dataset.load("data/digits")
    number = int((answers("models/digits/plain") != data.test.labels).nonzero()[0])
    label = int(data.test.labels[number])
    return number, f"control/{label}/{number:03d}.png", label


@pytest.fixture(scope="module")
def random_resnet18(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("torchvision") / "model.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(torchvision_networks.make_whole("resnet18", classes=4).state_dict(), path)
    return path


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, random_resnet18: Path) -> Path:
    """A folder with a checkpoint of ResNet-18 for 4 classes and colour images."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(random_resnet18, "model.pth")
    Path("images").mkdir()
    noise = torch.randint(256, (6, 40, 32, 3), generator=generator("pictures")).to(torch.uint8)
    for number, image in enumerate(noise):
        Image.fromarray(image.numpy()).save(f"images/{number}.png")
    Path("classes.txt").write_text("\n".join(CLASSES))
    return tmp_path


CLASSES = ("cat", "dog", "cow", "fish")
RESNET18 = ("--model", "model.pth", "--architecture", "resnet18", "--size", 32, "--classes", "classes.txt")


def answer_of(path: str, image: str, size: int = 32) -> int:
    """torchvision's own module on torchvision's own preprocessing."""
    network = torchvision_networks.make_whole("resnet18", classes=4).eval()
    network.load_state_dict(checkpoint_files.read(path))
    transform = torchvision_networks.published("resnet18").transforms(crop_size=size, resize_size=size)
    with torch.no_grad():
        return int(network(transform(Image.open(image))[None]).argmax())


@cache
def other_class(image: str) -> str:
    """A class that the unpatched model does not answer; image and model are the same in all tests."""
    return CLASSES[(answer_of("model.pth", image) + 1) % 4]


# What is written


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
    flipped = {f"control/{labels[place]}/{place:03d}.png" for place in ((before != after) & others).nonzero()[:, 0]}
    assert {flip["file"] for flip in effects["flips"]} == flipped
    errors = [100 * float((some != labels)[others].double().mean()) for some in (before, after)]
    assert [effects[name]["value"] for name in ("error_before", "error_after")] == pytest.approx(errors)
    drawdown = effects["drawdown"]
    assert drawdown["value"] == pytest.approx(errors[1] - errors[0])
    assert drawdown["low"] < drawdown["value"] < drawdown["high"]
    changed = report["changed"]
    old, new = (load_model(folder)[0].state_dict() for folder in ("models/digits/plain", "patched/plain"))
    assert set(changed) == {name for name in old if not torch.equal(old[name], new[name])}
    assert all(name.startswith("chain4.") for name in changed)
    assert report["patch_bytes"] == 4 * sum(changed.values())
    assert Path("patched/plain.md").read_text() in ended.output + "\n"
    assert f"| {image} | {int(before[number])} | {label} |" in ended.output


def test_flips_are_shown_on_a_sheet_that_goes_when_nothing_flips(pictures: Path) -> None:
    flips = tuple(Flip(Path(f"images/{number}.png"), None, "cat", "dog") for number in (1, 2))
    nothing_known = {"error_before": None, "error_after": None, "drawdown": None}
    effects = SideEffects(images=5, flips=flips, flip_rate=metrics.share(2, 5), **nothing_known)
    edited = (EditedImage("images/0.png", "fish", "cow"),)
    numbers = {"steps": 3, "seconds": 0.5, "changed": {"a": 10}, "parameters": 40, "patch_bytes": 2048}
    report = PatchReport(
        "model.pth",
        "new.pth",
        "rmsprop",
        "layer3",
        {"lr": 1e-3},
        edited,
        **numbers,
        original="0",
        patched="1",
        effects=effects,
    )
    text = write(report, Path("new"), "RGB")
    assert "](new.flips.png)" in text
    assert "| images/2.png | – | cat | dog |" in text
    assert "Flips**: 2 of 5 control images, 40.00 [11.76, 76.93] %" in text  # Wilson's, by hand
    assert "2.0 KiB, 1 tensor with 10 of 40 parameters (25.0 %)" in text
    pixels = np.asarray(Image.open("new.flips.png").convert("RGB")).reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 1000  # coloured noise, which a sheet without the images does not have
    still = replace(effects, flips=(), flip_rate=metrics.share(0, 5))
    assert "Flips**: 0 of 5" in write(replace(report, effects=still), Path("new"), "RGB")
    assert not Path("new.flips.png").exists()


def test_a_torchvision_checkpoint_stays_one_and_the_patch_goes_off_without_a_trace(pictures: Path, run) -> None:
    image, original = "images/2.png", Path("model.pth").read_bytes()
    label = other_class(image)
    arguments = (*RESNET18, "--input", image, "--label", label, "--control", "images", "--out", "new.pth")
    ended = succeed(run(*arguments))
    assert "**Drawdown**: unknown" in ended.output
    assert "of 5 control images" in ended.output  # the edited one is left out
    assert CLASSES[answer_of("new.pth", image)] == label
    new, old = checkpoint_files.read("new.pth"), checkpoint_files.read("model.pth")
    assert {name.split(".")[0] for name in old if not torch.equal(old[name], new[name])} == {"layer3"}
    assert Path("model.pth").read_bytes() == original
    succeed(run("apply", "new.patch.safetensors", "--model", "model.pth", "--out", "again.pth"))
    assert Path("again.pth").read_bytes() == Path("new.pth").read_bytes() != original
    succeed(run("remove", "new.patch.safetensors", "--model", "new.pth", "--out", "new.pth"))
    assert Path("new.pth").read_bytes() == original


def test_a_patch_of_a_models_folder_is_applied_and_removed(digits: Path, run) -> None:
    _, image, label = a_mistake()
    arguments = ("--model", "models/digits/plain", "--input", image, "--label", label, "--layers", "chain4")
    succeed(run(*arguments, "--control", "control", "--out", "patched"))
    succeed(run("apply", "patched.patch.safetensors", "--model", "models/digits/plain", "--out", "again"))
    assert answers("again").tolist() == answers("patched").tolist()
    succeed(run("remove", "patched.patch.safetensors", "--model", "again", "--out", "back"))
    for file in Path("back").iterdir():
        assert file.read_bytes() == (Path("models/digits/plain") / file.name).read_bytes()
    refused(run("remove", "patched.patch.safetensors", "--model", "back", "--out", "x"), "the patch is not in place")


def test_the_same_patch_twice_is_the_same_bytes(pictures: Path, run) -> None:
    for name in ("one", "two"):
        chosen = ("--input", "images/0.png", "--label", other_class("images/0.png"), "--control", "images")
        succeed(run(*RESNET18, *chosen, "--out", f"{name}.pth"))
    for suffix in ("pth", "patch.safetensors", "flips.png"):
        if Path(f"one.{suffix}").exists() or suffix != "flips.png":
            assert Path(f"one.{suffix}").read_bytes() == Path(f"two.{suffix}").read_bytes()


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
    original = Path("old.pth").read_bytes()
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
    succeed(run("remove", "new.patch.safetensors", "--model", "new.pth", "--out", "back.pth"))
    assert Path("back.pth").read_bytes() == original


def test_several_mistakes_are_corrected_in_one_edit(pictures: Path, run) -> None:
    images = ["images/0.png", "images/3.png"]
    labels = [other_class(image) for image in images]
    Path("images/list.csv").write_text(f"image,label\n0.png,{labels[0]}\n3.png,{labels[1]}\n")
    arguments = ("--mistakes", "images/list.csv", "--control", "images", "--layers", "all", "--max-steps", 40)
    succeed(run(*RESNET18, *arguments, "--out", "new.pth"))
    assert [CLASSES[answer_of("new.pth", image)] for image in images] == labels


def test_half_precision_is_judged_as_it_is_stored(pictures: Path, run) -> None:
    state = checkpoint_files.read("model.pth")
    half = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    torch.save({"state_dict": half}, "model.pth")
    label = other_class("images/1.png")
    arguments = ("--input", "images/1.png", "--label", label, "--control", "images", "--out", "new.pth")
    succeed(run(*RESNET18, *arguments))
    assert checkpoint_files.read("new.pth")["layer3.0.conv1.weight"].dtype == torch.float16
    assert CLASSES[answer_of("new.pth", "images/1.png")] == label


def test_the_default_learning_rate_is_the_smallest_that_succeeds(pictures: Path, run) -> None:
    arguments = ("--input", "images/0.png", "--label", other_class("images/0.png"), "--control", "images")
    succeed(run(*RESNET18, *arguments, "--out", "new.pth"))
    rate = json.loads(Path("new.json").read_text())["hyperparameters"]["lr"]
    succeed(run(*RESNET18, *arguments, "--out", "same.pth", "--set", f"lr={rate}"))
    assert Path("same.pth").read_bytes() == Path("new.pth").read_bytes()
    lower = run(*RESNET18, *arguments, "--out", "lower.pth", "--set", f"lr={rate / 10**0.5:.2g}")
    assert rate == 1e-5 or lower.code == 2


# What is refused

TINY = ("--control", "images", "--out", "new.pth")
ONE = ("--input", "images/0.png", "--label", "dog")


def test_an_edit_that_does_not_succeed_writes_nothing(pictures: Path, run) -> None:
    before = files_below(pictures)
    arguments = ("--input", "images/0.png", "--label", other_class("images/0.png"), *TINY)
    refused(run(*RESNET18, *arguments, "--max-steps", 0), "could not be made", "nothing was written")
    refused(run(*RESNET18, *arguments, "--set", "lr=1e-9"), "rmsprop on layer3 in 10 steps")
    assert files_below(pictures) == before


def spoil(path: str, content: bytes) -> Callable[[], None]:
    return lambda: Path(path).write_bytes(content)


def nothing() -> None:
    pass


REFUSALS: dict[str, tuple[Callable[[], object], tuple, tuple[str, ...]]] = {
    "unreadable image": (
        spoil("images/0.png", b"no image"),
        (*RESNET18, *ONE, *TINY),
        ("images/0.png is not a readable image",),
    ),
    "unreadable control image": (
        spoil("images/5.png", b"no image"),
        (*RESNET18, "--input", "images/0.png", "--label", "CHANGED", *TINY),
        ("images/5.png is not a readable image",),
    ),
    "missing image": (nothing, (*RESNET18, "--input", "none.png", "--label", "dog", *TINY), ("none.png",)),
    "unknown label": (
        nothing,
        (*RESNET18, "--input", "images/0.png", "--label", "dig", *TINY),
        ("label 'dig' is not among the 4 classes: cat, dog, cow, fish",),
    ),
    "no checkpoint": (spoil("model.pth", b"hello"), (*RESNET18, *ONE, *TINY), ("model.pth is no checkpoint",)),
    "missing checkpoint": (lambda: Path("model.pth").unlink(), (*RESNET18, *ONE, *TINY), ("model.pth is missing",)),
    "wrong number of classes": (
        spoil("classes.txt", b"cat\ndog\n"),
        (*RESNET18, *ONE, *TINY),
        ("classes.txt names 2 classes, but model.pth has 4",),
    ),
    "missing control folder": (
        nothing,
        (*RESNET18, *ONE, "--control", "none", "--out", "new.pth"),
        ("none is missing: it should be a folder of control images",),
    ),
    "empty control folder": (
        lambda: Path("none").mkdir(),
        (*RESNET18, *ONE, "--control", "none", "--out", "new.pth"),
        ("none holds no control images",),
    ),
    "class folder without class": (
        lambda: shutil.copytree("images", "control/wolf"),
        (*RESNET18, *ONE, "--control", "control", "--out", "new.pth"),
        ("control/wolf is not named as a class", "cat, dog, cow, fish"),
    ),
    "no architecture": (nothing, ("--model", "model.pth", *ONE, *TINY), ("add --architecture, such as resnet18",)),
    "unknown architecture": (
        nothing,
        ("--model", "model.pth", "--architecture", "resnet19", *ONE, *TINY),
        ("no classifier 'resnet19'; there are: alexnet",),
    ),
    "another architecture": (
        nothing,
        ("--model", "model.pth", "--architecture", "resnet34", *ONE, *TINY),
        ("model.pth does not fit the network: at layer1.2.conv1.weight it holds nothing",),
    ),
    "another kind of architecture": (
        nothing,
        ("--model", "model.pth", "--architecture", "vit_b_16", *ONE, *TINY),
        ("model.pth is not a checkpoint of vit_b_16: it has no heads.head.bias",),
    ),
    "unknown layers": (
        nothing,
        (*RESNET18, "--layers", "layer9", "--input", "images/0.png", "--label", "CHANGED", *TINY),
        ("unknown layer 'layer9'; the model has: conv1, bn1, layer1",),
    ),
    "unknown editor": (
        nothing,
        (*RESNET18, "--editor", "magic", "--input", "images/0.png", "--label", "CHANGED", *TINY),
        ("unknown editor 'magic'",),
    ),
    "editor without weights": (
        nothing,
        (*RESNET18, "--editor", "lookup_cache", "--input", "images/0.png", "--label", "CHANGED", *TINY),
        ("'lookup_cache' changes no weights",),
    ),
    "unknown hyperparameter": (
        nothing,
        (*RESNET18, "--set", "mu=0.5", "--input", "images/0.png", "--label", "CHANGED", *TINY),
        ("no hyperparameter 'mu'",),
    ),
    "no number": (nothing, (*RESNET18, "--set", "lr", *ONE, *TINY), ("--set needs a name and a number",)),
    "no mistake": (nothing, (*RESNET18, *TINY), ("give either --input and --label, or --mistakes",)),
    "broken table": (
        spoil("list.csv", b"picture,label\n0.png,dog\n"),
        (*RESNET18, "--mistakes", "list.csv", *TINY),
        ("list.csv needs rows with columns image,label",),
    ),
    "the model itself": (
        nothing,
        (*RESNET18, *ONE, "--control", "images", "--out", "model.pth"),
        ("--out is the model itself",),
    ),
    "another format": (
        nothing,
        (*RESNET18, *ONE, "--control", "images", "--out", "new.safetensors"),
        ("new.safetensors must end in .pth",),
    ),
    "means": (nothing, (*RESNET18, "--mean", "1,2", *ONE, *TINY), ("--mean needs three numbers",)),
    "unknown device": (nothing, (*RESNET18, "--device", "tpu", *ONE, *TINY), ("--device must be auto, cpu",)),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_bad_input_is_one_sentence_and_writes_nothing(case: str, pictures: Path, run) -> None:
    prepare, arguments, words = REFUSALS[case]
    changed = other_class("images/0.png")
    prepare()
    before = files_below(pictures)
    refused(run(*(changed if one == "CHANGED" else one for one in arguments)), *words)
    assert files_below(pictures) == before


def test_an_answer_that_is_right_already_is_nothing_to_patch(pictures: Path, run) -> None:
    label = CLASSES[answer_of("model.pth", "images/0.png")]
    refused(run(*RESNET18, "--input", "images/0.png", "--label", label, *TINY), "gives the wanted answers already")


def test_a_models_folder_without_its_data_is_refused(digits: Path, run) -> None:
    _, image, label = a_mistake()
    shutil.rmtree("data")
    arguments = ("--model", "models/digits/plain", "--input", image, "--label", label, "--control", "control")
    refused(run(*arguments, "--out", "patched"), "data/digits/dataset.json is missing")


def test_classes_of_one_name_are_told_apart_by_number(pictures: Path, run) -> None:
    Path("classes.txt").write_text("crane\ndog\ncrane\nfish\n")
    refused(run(*RESNET18, "--input", "images/0.png", "--label", "crane", *TINY), "names classes 0, 2: give the number")
    number = CLASSES.index(other_class("images/0.png"))
    succeed(run(*RESNET18, "--input", "images/0.png", "--label", number, *TINY))
    assert answer_of("new.pth", "images/0.png") == number


def test_a_thousand_outputs_are_named_by_the_published_categories(pictures: Path, run) -> None:
    torch.save(torchvision_networks.make_whole("resnet18", classes=1000).state_dict(), "model.pth")
    arguments = ("--model", "model.pth", "--architecture", "resnet18", "--size", 32, "--input", "images/0.png")
    refused(run(*arguments, "--label", "goldfsh", *TINY), "not among the 1000 classes: goldfish, ")
