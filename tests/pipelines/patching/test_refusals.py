"""What the patch command refuses: in one sentence, and without writing anything."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks.errors import InputError
from benchmarks.models import torchvision_networks
from benchmarks.patching.correction import Mistake, read_mistakes
from tests.pipelines.patching.conftest import (
    CLASSES,
    RESNET18,
    a_mistake,
    answer_of,
    files_below,
    other_class,
    refused,
    succeed,
)

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
    "names of classes that were not given": (
        lambda: shutil.copytree("images", "control/n01440764"),
        (*RESNET18[:-2], "--input", "images/0.png", "--label", "1", "--control", "control", "--out", "new.pth"),
        ("control/n01440764 is not named as a class", "--classes gives them other names"),
    ),
    "class folder without class": (
        lambda: shutil.copytree("images", "control/wolf"),
        (*RESNET18, *ONE, "--control", "control", "--out", "new.pth"),
        ("control/wolf is not named as a class", "cat, dog, cow, fish"),
    ),
    "no architecture": (nothing, ("--model", "model.pth", *ONE, *TINY), ("add --architecture, such as resnet18",)),
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
    "editor without what it must know": (
        nothing,
        (*RESNET18, "--editor", "covariance", "--input", "images/0.png", "--label", "CHANGED", *TINY),
        ("covariance must know images like those of training", "--training"),
    ),
    "missing training folder": (
        nothing,
        (*RESNET18, "--editor", "covariance", "--training", "none", *ONE, *TINY),
        ("none is missing",),
    ),
    "unknown hyperparameter": (
        nothing,
        (*RESNET18, "--set", "mu=0.5", "--input", "images/0.png", "--label", "CHANGED", *TINY),
        ("no hyperparameter 'mu'",),
    ),
    "an option that is no hyperparameter": (
        nothing,
        (*RESNET18, "--set", "max_steps=5", "--input", "images/0.png", "--label", "CHANGED", *TINY),
        ("no hyperparameter 'max_steps'; it has: lr, beta, eps",),
    ),
    "no number": (nothing, (*RESNET18, "--set", "lr", *ONE, *TINY), ("--set needs a name and a number",)),
    "no mistake": (nothing, (*RESNET18, *TINY), ("give either --input and --label, or --mistakes",)),
    "broken table": (
        spoil("list.csv", b"picture,label\n0.png,dog\n"),
        (*RESNET18, "--mistakes", "list.csv", *TINY),
        ("list.csv needs rows with columns image,label",),
    ),
    "notes of the user": (
        spoil("new.md", b"# My notes\n"),
        (*RESNET18, *ONE, *TINY),
        ("new.md is there already, and not of an earlier patch",),
    ),
    "data of the user": (
        spoil("new.json", b"[1, 2]"),
        (*RESNET18, *ONE, *TINY),
        ("new.json is there already, and not of an earlier patch",),
    ),
    "tensors of the user": (
        spoil("new.patch.safetensors", b"nonsense"),
        (*RESNET18, *ONE, *TINY),
        ("new.patch.safetensors is there already, and not of an earlier patch",),
    ),
    "another model in the way": (
        spoil("new.pth", b"a model that took days"),
        (*RESNET18, *ONE, *TINY),
        ("new.pth is there already, and not of an earlier patch",),
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
    "a mean that is none": (nothing, (*RESNET18, "--mean", "nan,0,0", *ONE, *TINY), ("from -1000 to 1000",)),
    "a deviation that is 0 in float32": (nothing, (*RESNET18, "--std", "1e-300,1,1", *ONE, *TINY), ("from 1e-06 to",)),
    "a value given twice": (
        nothing,
        (*RESNET18, "--set", "lr=1e-3", "--set", "lr=2", *ONE, *TINY),
        ("--set names lr twice, with 0.001 and 2",),
    ),
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


def test_a_report_that_cannot_be_written_leaves_nothing(pictures: Path, run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> str:
        raise OSError(28, "No space left on device", "new.md")

    before = sorted(pictures.rglob("*"))
    monkeypatch.setattr("pipelines.patch.write", full)
    arguments = (*RESNET18, "--input", "images/0.png", "--label", other_class("images/0.png"), "--control", "images")
    for out in ("new.pth", "made/for/it/new.pth"):
        refused(run(*arguments, "--out", out), "No space left")
        assert sorted(pictures.rglob("*")) == before


def test_another_model_than_the_patched_one_is_not_overwritten(pictures: Path, run) -> None:
    arguments = (*RESNET18, "--input", "images/0.png", "--label", other_class("images/0.png"), *TINY)
    succeed(run(*arguments))
    shutil.copy("model.pth", "new.pth")
    refused(run(*arguments), "new.pth is there already, and not of an earlier patch")
    assert Path("new.pth").read_bytes() == Path("model.pth").read_bytes()


def test_applying_and_removing_write_over_nothing_but_models(pictures: Path, run) -> None:
    succeed(run(*RESNET18, "--input", "images/0.png", "--label", other_class("images/0.png"), *TINY))
    Path("notes.pth").write_text("no weights at all")
    Path("broken.pth").symlink_to("nowhere")
    Path("link.pth").symlink_to("model.pth")
    before, original, new = files_below(pictures), Path("model.pth").read_bytes(), Path("new.pth").read_bytes()
    for command, model in (("apply", "model.pth"), ("remove", "new.pth")):
        for out in ("notes.pth", "broken.pth"):
            refused(run(command, "new.patch.safetensors", "--model", model, "--out", out), f"{out} is there already")
        refused(
            run(command, "new.patch.safetensors", "--model", model, "--out", "classes.txt"), "classes.txt must end in"
        )
    refused(run("apply", "new.patch.safetensors", "--model", "model.pth", "--out", "link.pth"), "is the model itself")
    assert files_below(pictures) == before
    succeed(run("apply", "new.patch.safetensors", "--model", "model.pth", "--out", "new.pth"))
    assert Path("new.pth").read_bytes() == new
    written = {str(pictures / "new.pth"): None}
    assert files_below(pictures) | written == before | written
    torch.save({"w": torch.ones(1)}, "older.pth")
    succeed(run("apply", "new.patch.safetensors", "--model", "model.pth", "--out", "older.pth"))
    assert Path("older.pth").read_bytes() == Path("new.pth").read_bytes()
    Path("new.pth").chmod(0o600)
    succeed(run("remove", "new.patch.safetensors", "--model", "new.pth", "--out", "new.pth"))
    assert Path("new.pth").read_bytes() == original
    assert stat.S_IMODE(Path("new.pth").stat().st_mode) == 0o600


def test_a_models_folder_is_not_written_over_another(digits: Path, run) -> None:
    _, image, label = a_mistake()
    arguments = ("--model", "models/digits/plain", "--input", image, "--label", label, "--layers", "chain4")
    succeed(run(*arguments, "--control", "control", "--out", "patched"))
    Path("mine").mkdir()
    Path("mine/model.json").write_text("{}")
    refused(
        run("apply", "patched.patch.safetensors", "--model", "models/digits/plain", "--out", "mine"),
        "mine is there already",
    )
    assert Path("mine/model.json").read_text() == "{}"
    Path("file").write_text("mine")
    refused(
        run("apply", "patched.patch.safetensors", "--model", "models/digits/plain", "--out", "file"), "file is a file"
    )
    assert Path("file").read_text() == "mine"


@pytest.mark.parametrize("written", ["caf\u00e9", "cafe\u0301"])
def test_an_accent_is_one_character_or_two(written: str, pictures: Path, run) -> None:
    other = CLASSES.index(other_class("images/0.png"))
    Path("classes.txt").write_text("".join(f"{written if at == other else name}\r" for at, name in enumerate(CLASSES)))
    for asked in ("caf\u00e9", "cafe\u0301"):
        succeed(run(*RESNET18, "--input", "images/0.png", "--label", asked, *TINY))
        assert answer_of("new.pth", "images/0.png") == other


SPREADSHEETS = {
    "byte-order mark and carriage returns": "image,label\r\na.png,2\r\n".encode("utf-8-sig"),
    "blanks and capitals": b"Image, Label\na.png , 2\n\n",
    "quotes and more columns": b'"note","image","label"\n"x, y","a.png","2"\n',
}


@pytest.mark.parametrize("kind", SPREADSHEETS)
def test_tables_are_read_as_spreadsheets_write_them(kind: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(SPREADSHEETS[kind])
    found = read_mistakes(SimpleNamespace(label=int), tmp_path / "list.csv")
    assert found == [Mistake(tmp_path / "a.png", 2)]


UNCLEAR = {
    "label with a comma": (
        b"image,label\n0.png,2, small\n",
        "list.csv has more columns than names at 0.png: put a label with a comma in quotes",
    ),
    "two labels of an image": (
        b"image,label\na/0.png,2\na/../a/0.png,1\n",
        r"list.csv names .*a/\.\./a/0.png twice, with two labels",
    ),
    "another encoding": ("image,label\n0.png,2\n".encode("utf-16"), "list.csv is not a readable CSV in UTF-8"),
}


@pytest.mark.parametrize("kind", UNCLEAR)
def test_tables_that_are_unclear_are_refused(kind: str, tmp_path: Path) -> None:
    content, words = UNCLEAR[kind]
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_mistakes(SimpleNamespace(label=int), tmp_path / "list.csv")


def test_an_answer_that_is_right_already_is_nothing_to_patch(pictures: Path, run) -> None:
    label = CLASSES[answer_of("model.pth", "images/0.png")]
    refused(run(*RESNET18, "--input", "images/0.png", "--label", label, *TINY), "gives the wanted answers already")


def test_a_models_folder_without_its_data_is_refused(digits: Path, run) -> None:
    _, image, label = a_mistake()
    shutil.rmtree("data")
    arguments = ("--model", "models/digits/plain", "--input", image, "--label", label, "--control", "control")
    refused(
        run(*arguments, "--out", "patched"), "no folder of data/ holds the data that models/digits/plain was trained on"
    )


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
