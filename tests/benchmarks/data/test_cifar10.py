import hashlib
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.datasets import cifar10, make
from benchmarks.errors import InputError

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN = [f"data_batch_{number}" for number in range(1, 6)]


def md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes()).hexdigest()


def rows(batch: str) -> np.ndarray:
    """20 images as the published batches hold them: a row has 1,024 red, then green, then blue values."""
    return np.random.default_rng([*batch.encode()]).integers(0, 256, (20, 3072), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tiny batches in the published layout; torchvision is told their MD5: none have the published one."""
    from torchvision.datasets import CIFAR10

    batches = tmp_path / "given" / "cifar-10-batches-py"
    batches.mkdir(parents=True)
    for batch in [*TRAIN, "test_batch"]:
        entry = {"data": rows(batch), "labels": [number % 10 for number in range(20)]}
        (batches / batch).write_bytes(pickle.dumps(entry))
    (batches / "batches.meta").write_bytes(pickle.dumps({"label_names": list(NAMES)}))
    monkeypatch.setattr(CIFAR10, "train_list", [[batch, md5(batches / batch)] for batch in TRAIN])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5(batches / "test_batch")]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5(batches / "batches.meta")})
    return batches.parent


@pytest.fixture
def archive(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same batches as an archive in a folder of its own."""
    path = tmp_path / "packed" / "cifar-10-python.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as packed:
        packed.add(folder / "cifar-10-batches-py", "cifar-10-batches-py")
    monkeypatch.setattr(cifar10, "ARCHIVE_MD5", md5(path))
    return path


def image_tree(folder: Path, names: tuple[str, ...] = NAMES, size: int = 32, suffix: str = "png") -> Path:
    for part, count in (("train", 4), ("test", 1)):
        for name in names:
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                draw = np.random.default_rng([*name.encode(), *part.encode(), number])
                pixels = draw.integers(0, 256, (size, size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{number}.{suffix}")
    return folder


def as_set(*splits) -> list[tuple[bytes, int]]:
    return sorted(
        (image.tobytes(), int(label))
        for split in splits
        for image, label in zip(split.images.numpy(), split.labels, strict=True)
    )


def test_the_batches_are_read_image_by_image(folder):
    dataset = make("cifar10", folder=str(folder), tuning_size=20)
    assert dataset.classes == NAMES
    assert [len(part) for part in (dataset.train, dataset.tuning, dataset.test)] == [80, 20, 20]
    assert dataset.train.images.shape[1:] == (3, 32, 32)
    expected = [(row.tobytes(), number % 10) for batch in TRAIN for number, row in enumerate(rows(batch))]
    assert as_set(dataset.train, dataset.tuning) == sorted(expected)
    assert as_set(dataset.test) == sorted((row.tobytes(), n % 10) for n, row in enumerate(rows("test_batch")))
    assert "MD5 verified" in dataset.source


def test_train_size_keeps_a_part_by_class_and_changes_neither_tuning_nor_test(folder):
    full = make("cifar10", folder=str(folder), tuning_size=20)
    small = make("cifar10", folder=str(folder), tuning_size=20, train_size=40)
    assert small.train.labels.bincount().tolist() == [4] * 10
    assert set(as_set(small.train)) < set(as_set(full.train))
    assert as_set(small.tuning) == as_set(full.tuning)
    assert as_set(small.test) == as_set(full.test)
    assert small.mean == pytest.approx(small.train.images.double().mean((0, 2, 3)).tolist())


@pytest.mark.parametrize("chosen", [{"tuning_size": 95}, {"tuning_size": 20, "train_size": 81}, {"tuning_size": 0}])
def test_a_size_that_the_images_cannot_give_is_named(folder, chosen):
    with pytest.raises(InputError, match=r"(tuning|train)_size must be an integer from 10 to \d+, found"):
        make("cifar10", folder=str(folder), **chosen)


def test_the_archive_in_a_folder_is_read_and_the_folder_left_as_it_was(folder, archive):
    dataset = make("cifar10", folder=str(archive.parent), tuning_size=20)
    assert dataset.fingerprint() == make("cifar10", folder=str(folder), tuning_size=20).fingerprint()
    assert os.listdir(archive.parent) == [archive.name]


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_missing_or_truncated_batch_is_named(folder, name, damage):
    file = folder / "cifar-10-batches-py" / name
    content = file.read_bytes()
    file.unlink()
    if damage == "truncated":
        file.write_bytes(content[:-100])
    with pytest.raises(InputError, match=f"{name} is (missing|damaged)"):
        make("cifar10", folder=str(folder))


class Trap:
    """A pickle that makes a folder when it is opened."""

    def __reduce__(self) -> tuple:
        return os.mkdir, (os.environ["TRAP"],)


@pytest.mark.parametrize("name", ["data_batch_1", "test_batch", "batches.meta"])
def test_a_batch_that_is_not_the_published_one_is_never_opened(folder, tmp_path, monkeypatch, name):
    monkeypatch.setenv("TRAP", str(tmp_path / "sprung"))
    (folder / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InputError, match=f"{name} is damaged or not the published file"):
        make("cifar10", folder=str(folder))
    monkeypatch.undo()  # the MD5s of the published files are in force again
    with pytest.raises(InputError, match="is damaged or not the published file"):
        make("cifar10", folder=str(folder))
    assert not (tmp_path / "sprung").exists()


def test_an_archive_of_another_md5_is_named(tmp_path):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"half an archive")
    with pytest.raises(InputError, match=r"cifar-10-python\.tar\.gz is truncated .*expected c58f30108f718f92721af3b9"):
        make("cifar10", folder=str(tmp_path))


def test_a_tree_of_images_is_read_and_said_to_be_one(tmp_path):
    dataset = make("cifar10", folder=str(image_tree(tmp_path)), tuning_size=10)
    assert dataset.classes == NAMES
    assert [len(part) for part in (dataset.train, dataset.tuning, dataset.test)] == [30, 10, 10]
    assert (dataset.augmentation.crop_padding, dataset.augmentation.flip) == (4, True)
    assert "png" in dataset.source
    assert "loss" not in dataset.source


def test_a_tree_of_jpeg_images_is_said_to_have_lost_something(tmp_path):
    dataset = make("cifar10", folder=str(image_tree(tmp_path, suffix="jpg")), tuning_size=10)
    assert "re-encoded with loss" in dataset.source


@pytest.mark.parametrize(("names", "size"), [(NAMES[:9], 32), (NAMES, 28)])
def test_a_tree_that_is_not_cifar10_is_refused(tmp_path, names, size):
    with pytest.raises(InputError, match=r"CIFAR-10 has 10 classes and images \(3, 32, 32\), found"):
        make("cifar10", folder=str(image_tree(tmp_path, names, size)))


def test_a_folder_with_nothing_of_cifar10_is_refused_naming_what_is_allowed(tmp_path):
    with pytest.raises(
        InputError, match=r"no CIFAR-10: allowed are cifar-10-batches-py/, cifar-10-python\.tar\.gz, or"
    ):
        make("cifar10", folder=str(tmp_path))
    with pytest.raises(InputError, match="nowhere is missing"):
        make("cifar10", folder=str(tmp_path / "nowhere"))


def test_without_a_folder_the_archive_is_downloaded_once(folder, archive, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cifar10, "MIRRORS", ((tmp_path / "no mirror").as_uri(), archive.as_uri()))
    downloaded = make("cifar10", tuning_size=20).fingerprint()
    assert downloaded == make("cifar10", folder=str(folder), tuning_size=20).fingerprint()
    assert sorted(os.listdir("data/downloads")) == ["cifar-10-batches-py", "cifar-10-python.tar.gz"]
    monkeypatch.setattr(cifar10, "MIRRORS", ())
    assert make("cifar10", tuning_size=20).fingerprint() == downloaded


def test_when_nothing_can_be_downloaded_the_option_folder_is_pointed_at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    urls = tuple((tmp_path / name).as_uri() for name in ("one", "two"))
    monkeypatch.setattr(cifar10, "MIRRORS", urls)
    with pytest.raises(InputError) as raised:
        make("cifar10")
    assert all(url in str(raised.value) for url in urls)
    assert "option 'folder'" in str(raised.value)
    assert not list(tmp_path.rglob("*.tar.gz"))
