import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.datasets import image_folder, make
from benchmarks.datasets.image_folder import read_tree
from benchmarks.errors import InputError

CLASSES = ("cat", "dog", "owl")


def pixels(part: str, name: str, number: int, size: tuple[int, int] = (6, 5)) -> np.ndarray:
    """An RGB image `(H, W, 3)` of its own for every place in the tree; `size` is `(W, H)`."""
    draw = np.random.default_rng([*part.encode(), *name.encode(), number])
    return draw.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for part, count in (("train", 6), ("test", 2)):
        for name in CLASSES:
            folder = tmp_path / "tree" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(pixels(part, name, number)).save(folder / f"{number}.png")
    return tmp_path / "tree"


def test_every_image_is_read_with_the_label_of_its_folder(tree):
    read = read_tree(tree)
    assert read.classes == CLASSES
    assert read.suffixes == ("png",)
    for part, split, count in (("train", read.train, 6), ("test", read.test, 2)):
        assert split.labels.tolist() == [label for label in range(3) for _ in range(count)]
        for index, label in enumerate(split.labels):
            expected = pixels(part, CLASSES[label], index % count).transpose(2, 0, 1)
            assert np.array_equal(split.images[index], expected)


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".bmp", ".webp", ".Png"])
def test_every_format_is_read(tree, suffix):
    plain = np.full((5, 6, 3), (200, 100, 50), dtype=np.uint8)
    Image.fromarray(plain).save(tree / "test" / "owl" / f"9{suffix}")
    read = read_tree(tree)
    assert np.abs(read.test.images[-1].numpy().transpose(1, 2, 0).astype(int) - plain).max() <= 4
    assert suffix.lower()[1:] in read.suffixes


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_other_colour_modes_become_rgb(tree, mode):
    suffix = "jpg" if mode == "CMYK" else "png"
    image = Image.fromarray(np.full((5, 6, 3), 255, dtype=np.uint8)).convert(mode)
    image.save(tree / "test" / "owl" / f"9.{suffix}")
    white = read_tree(tree).test.images[-1]
    assert white.shape == (3, 5, 6)
    assert int(white.min()) >= 250


def test_hidden_and_other_files_are_passed_over(tree):
    (tree / "train" / ".cache").mkdir()
    (tree / "train" / "notes.txt").write_text("notes")
    (tree / "train" / "cat" / "boxes.txt").write_text("0 0 1 1")
    (tree / "train" / "cat" / "._0.png").write_bytes(b"\0")
    assert len(read_tree(tree).train) == 18


def test_image_size_resizes_every_image_to_a_square(tree):
    Image.fromarray(np.full((20, 40, 3), 77, dtype=np.uint8)).save(tree / "test" / "owl" / "9.png")
    read = read_tree(tree, image_size=4)
    assert read.train.images.shape == (18, 3, 4, 4)
    assert (read.test.images[-1] == 77).all()


def test_images_of_different_sizes_are_refused_naming_the_first_odd_one(tree):
    for name in ("dog/3.png", "owl/1.png"):
        Image.fromarray(pixels("odd", name, 0, size=(7, 5))).save(tree / "train" / name)
    with pytest.raises(InputError, match=r"dog/3\.png is 7x5 pixels and .*cat/0\.png is 6x5: .*image_size"):
        read_tree(tree)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp"])
@pytest.mark.parametrize("damage", ["truncated", "header", "empty", "text"])
def test_an_image_that_cannot_be_decoded_is_named(tree, suffix, damage):
    file = tree / "train" / "dog" / f"9.{suffix}"
    Image.fromarray(pixels("train", "dog", 9)).save(file)
    content = file.read_bytes()
    half = content[: len(content) * 2 // 3]
    file.write_bytes({"truncated": half, "header": content[:20], "empty": b"", "text": b"not an image"}[damage])
    with pytest.raises(InputError) as raised:
        read_tree(tree)
    assert f"dog/9.{suffix} is not a readable image" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_only_the_allowed_decoders_are_reached(tree):
    Image.fromarray(pixels("train", "dog", 9)).save(tree / "train" / "dog" / "9.png", format="TIFF")
    with pytest.raises(InputError, match=r"dog/9\.png is not a readable image"):
        read_tree(tree)


def test_a_class_missing_from_the_test_images_is_named(tree):
    shutil.rmtree(tree / "test" / "dog")
    with pytest.raises(InputError, match=r"train has 3 class folders and test has 2, .* of them: dog"):
        read_tree(tree)


def test_a_class_of_another_name_is_named(tree):
    (tree / "test" / "dog").rename(tree / "test" / "fox")
    with pytest.raises(InputError, match="only one of them: dog, fox"):
        read_tree(tree)


def test_a_class_without_images_is_named(tree):
    for file in (tree / "test" / "owl").iterdir():
        file.rename(file.with_suffix(".txt"))
    with pytest.raises(InputError, match=r"test/owl holds no images; read are .*\.jpeg, \.jpg, \.png"):
        read_tree(tree)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_missing_part_is_named(tree, part):
    shutil.rmtree(tree / part)
    with pytest.raises(InputError, match=f"{part} is missing"):
        read_tree(tree)
    (tree / part).mkdir()
    with pytest.raises(InputError, match=f"{part} holds no class folders"):
        read_tree(tree)


def test_a_tree_of_one_class_is_refused(tree):
    for part in ("train", "test"):
        for other in [folder for folder in (tree / part).iterdir() if folder.name != "cat"]:
            shutil.rmtree(other)
    with pytest.raises(InputError, match=r"train holds images of cat only: give two classes"):
        read_tree(tree)


def _own_memory() -> int:
    """Bytes that are in no file, so that the system cannot take them back."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_memory_does_not_grow_with_the_number_of_images(tree):
    big = tree / "big.png"
    Image.fromarray(np.tile(np.uint8([[[10], [20]]]), (400, 200, 3))).save(big)
    for file in tree.glob("*/*/*.png"):
        shutil.copy(big, file)
    make("image_folder", folder=str(tree), tuning_size=6)  # imports, and what decoding takes for itself
    before = _own_memory()
    for number in range(500):
        shutil.copy(big, tree / "train" / "cat" / f"more{number}.png")
    dataset = make("image_folder", folder=str(tree), tuning_size=50)
    sizes = {len(split): split.images.nbytes for split in (dataset.train, dataset.tuning, dataset.test)}
    assert sum(sizes) == 524
    assert sum(sizes.values()) > 100e6
    assert _own_memory() - before < sum(sizes.values()) / 2  # what was allocated meanwhile and is kept for later
    assert all(bool((split.images[..., ::2] == 10).all()) for split in (dataset.train, dataset.tuning, dataset.test))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is full")
def test_a_full_disk_is_said_and_kills_nobody(tree, monkeypatch):
    monkeypatch.setattr(image_folder, "_temporary_file", partial(open, "/dev/full", "r+b", buffering=0))
    with pytest.raises(OSError, match="No space left on device"):
        read_tree(tree)


@pytest.mark.parametrize("size", [0, -4, 4.0, "4", True, 10**9])
def test_an_image_size_that_is_no_size_is_refused(tree, size):
    with pytest.raises(InputError, match="image_size must be a whole number from 1 to 4096, not"):
        read_tree(tree, image_size=size)  # type: ignore[arg-type]


def test_the_dataset_takes_its_tuning_images_from_the_training_images(tree):
    dataset = make("image_folder", folder=str(tree), tuning_size=6, crop_padding=1, flip=False)
    read = read_tree(tree)
    together = [*dataset.train.images.numpy(), *dataset.tuning.images.numpy()]
    assert sorted(image.tobytes() for image in together) == sorted(
        image.tobytes() for image in read.train.images.numpy()
    )
    assert dataset.tuning.labels.bincount().tolist() == [2, 2, 2]
    assert np.array_equal(dataset.test.images, read.test.images)
    assert (dataset.augmentation.crop_padding, dataset.augmentation.flip) == (1, False)
    assert dataset.mean == pytest.approx(dataset.train.images.double().mean((0, 2, 3)).tolist())


def test_the_dataset_does_not_depend_on_where_the_folder_is(tree):
    first = make("image_folder", folder=str(tree), tuning_size=6).fingerprint()
    moved = tree.rename(tree.with_name("moved"))
    assert make("image_folder", folder=str(moved), tuning_size=6).fingerprint() == first
    Image.fromarray(pixels("other", "cat", 0)).save(moved / "train" / "cat" / "0.png")
    assert make("image_folder", folder=str(moved), tuning_size=6).fingerprint() != first
