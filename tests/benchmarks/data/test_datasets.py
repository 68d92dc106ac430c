import hashlib
import importlib
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import datasets
from benchmarks.datasets import available, make, options, register
from benchmarks.errors import InputError


def test_every_file_of_the_folder_is_a_dataset():
    files = [file.stem for file in Path(datasets.__file__).parent.glob("[!_]*.py")]
    assert {"cifar10", "digits", "image_folder"} <= set(files)
    assert available() == sorted(files)


def test_a_file_added_to_the_folder_is_a_dataset(tmp_path, monkeypatch):
    (tmp_path / "added.py").write_text(
        "from benchmarks.datasets import make, register\n"
        "@register('added')\n"
        "def added(test_size: int = 400):\n"
        "    return make('digits', test_size=test_size)\n"
    )
    monkeypatch.setattr(datasets, "__path__", [*datasets.__path__, str(tmp_path)])
    monkeypatch.setattr(datasets, "_loaders", dict(datasets._loaders))
    importlib.invalidate_caches()
    assert "added" in available()
    assert len(make("added").test) == 400


def test_options_tell_their_defaults():
    assert {name: option.default for name, option in options("digits").items()} == {
        "tuning_size": 300,
        "test_size": 500,
    }
    assert options("image_folder")["folder"].default is inspect.Parameter.empty


def test_two_files_cannot_take_one_name(monkeypatch):
    available()
    monkeypatch.setattr(datasets, "_loaders", dict(datasets._loaders))
    with pytest.raises(ValueError, match=r"'digits' is defined in both benchmarks\.datasets\.digits and"):
        register("digits")(lambda: None)


def test_digits_are_those_of_scikit_learn_each_once():
    from sklearn.datasets import load_digits

    raw, digits = load_digits(), make("digits")
    parts = (digits.train, digits.tuning, digits.test)
    assert [len(part) for part in parts] == [997, 300, 500]
    found = sorted(
        (image.tobytes(), int(label))
        for part in parts
        for image, label in zip(part.images.numpy(), part.labels, strict=True)
    )
    expected = (raw.images * 15).astype(np.uint8)
    assert found == sorted((image.tobytes(), int(label)) for image, label in zip(expected, raw.target, strict=True))
    assert digits.train.images.shape[1:] == (1, 8, 8)
    assert int(digits.train.images.max()) == 240


def test_digits_are_split_the_same_way_on_every_machine_and_day():
    digits = make("digits")
    content = hashlib.sha256(digits.tuning.images.numpy().tobytes() + digits.test.images.numpy().tobytes())
    assert content.hexdigest() == "42e9ed8e0f14896d529bf2957cedc438001e8bfb00114c483b3b72ddc4a2f3e2"


def test_the_test_images_of_digits_do_not_depend_on_the_tuning_size():
    assert torch.equal(make("digits", tuning_size=100).test.images, make("digits").test.images)


@pytest.mark.parametrize(("option", "size"), [("tuning_size", 0), ("test_size", 1797), ("tuning_size", 1297)])
def test_a_size_that_empties_a_split_of_digits_is_named(option, size):
    with pytest.raises(InputError, match=f"{option} must be an integer from 10 to .*found {size}"):
        make("digits", **{option: size})
