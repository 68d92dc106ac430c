"""Tiny ImageNet, ImageNet and natural adversarial examples, on small trees of the same layouts."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import benchmarks.torchvision_cpu  # noqa: F401  must come before torchvision
from benchmarks.datasets import has_candidates, make, make_candidates
from benchmarks.errors import InputError

WNIDS = ("n01443537", "n01629819", "n01641577", "n02056570")
TINY = {"tuning_size": 8, "pool_size": 8, "classes": 4}
FULL = {"train_size": 8, "tuning_size": 4, "image_size": 28, "classes": 4, "adversarial_classes": 2}


def write(path: Path, size: tuple[int, int]) -> np.ndarray:
    """An image of its own for every place; returns it as `(H, W, 3)`."""
    draw = np.random.default_rng([*"/".join(path.parts[-4:]).encode()])
    content = draw.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(content).save(path, format="PNG")  # whatever its name says: without loss
    return content


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The extracted archive: `train/<class>/images/*`, `val/images/*` and the validation classes in a file."""
    root = tmp_path / "tiny-imagenet-200"
    lines = []
    for name in WNIDS:
        for number in range(6):
            write(root / "train" / name / "images" / f"{name}_{number}.JPEG", (8, 8))
        (root / "train" / name / f"{name}_boxes.txt").write_text("0 0 8 8\n")
    for number in range(16):
        write(root / "val" / "images" / f"val_{number}.JPEG", (8, 8))
        lines.append(f"val_{number}.JPEG\t{WNIDS[number % 4]}\t0\t0\t8\t8\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    return root


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """torchvision's layout, and ImageNet-A beside it, with images of many sizes."""
    for part, count in (("train", 5), ("val", 2)):
        for place, name in enumerate(WNIDS):
            for number in range(count):
                write(tmp_path / "imagenet" / part / name / f"{number}.JPEG", (40 + 5 * number, 40 + 3 * place))
    for name in (WNIDS[1], WNIDS[3]):
        for number in range(3):
            write(tmp_path / "imagenet-a" / name / f"{number}.jpg", (50, 40))
    (tmp_path / "imagenet-a" / "README.txt").write_text("ImageNet-A\n")
    return tmp_path / "imagenet"


@pytest.mark.parametrize("size", [0, -1, 10**6, 28.0])
def test_a_size_that_no_image_can_have_is_an_error(full, size):
    with pytest.raises(InputError, match=r"image_size must be a whole number from 1 to 4096, not "):
        make("imagenet", folder=str(full), **FULL | {"image_size": size})


def without(path: str) -> Callable:
    return lambda root: shutil.rmtree(root / path) if (root / path).is_dir() else (root / path).unlink()


def renamed(path: str) -> Callable:
    return lambda root: (root / path).rename((root / path).with_name("n9"))


def holding(path: str, content: bytes) -> Callable:
    return lambda root: (root / path).write_bytes(content)


def prepare(name: str, **options) -> None:
    """What the first stage reads of a dataset."""
    make(name, **options)
    make_candidates(name, **options)


def rows(images) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def test_tiny_imagenet_is_read_as_it_is_extracted(tiny):
    data, pool = (
        make("tiny_imagenet", folder=str(tiny), **TINY),
        make_candidates("tiny_imagenet", folder=str(tiny), **TINY),
    )
    assert data.classes == WNIDS
    assert [len(split) for split in (data.train, data.tuning, data.test)] == [16, 8, 8]
    assert len(pool) == 8
    for part, splits in (("train", (data.train, data.tuning)), ("val", (data.test, pool.images))):
        expected = {}
        for file in (tiny / part).rglob("*.JPEG"):
            label = WNIDS.index(file.parts[-3]) if part == "train" else int(file.stem.split("_")[1]) % 4
            expected[np.asarray(Image.open(file)).transpose(2, 0, 1).tobytes()] = label
        found = {
            image.numpy().tobytes(): int(label)
            for split in splits
            for image, label in zip(split.images, split.labels, strict=True)
        }
        assert found == expected
    assert pool.sources.unique().tolist() == pool.sources.tolist()
    assert has_candidates("tiny_imagenet")


def test_class_folders_for_validation_are_read_the_same(tiny):
    before = make("tiny_imagenet", folder=str(tiny), **TINY)
    for number in range(16):
        target = tiny / "val" / WNIDS[number % 4]
        target.mkdir(exist_ok=True)
        shutil.move(tiny / "val" / "images" / f"val_{number}.JPEG", target / f"val_{number}.JPEG")
    (tiny / "val" / "val_annotations.txt").unlink()
    (tiny / "val" / "images").rmdir()
    assert make("tiny_imagenet", folder=str(tiny), **TINY).fingerprint() == before.fingerprint()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (without(""), r"train is missing: extract tiny-imagenet-200\.zip"),
        (without("val"), r"val is missing: images are read from"),
        (without(f"train/{WNIDS[2]}"), r"train holds 3 class folders, Tiny ImageNet has 4"),
        (without(f"train/{WNIDS[2]}/images"), r"images holds no images: extract"),
        (without(f"train/{WNIDS[3]}/images/{WNIDS[3]}_2.JPEG"), rf"class {WNIDS[3]} has 5 images and {WNIDS[0]} has 6"),
        (without("val/images/val_5.JPEG"), r"val_5\.JPEG is missing, which val_annotations"),
        (holding("val/val_annotations.txt", b"val_0.JPEG\tn99\t0\n"), r"txt, line 1: 'n99' is none of the classes"),
        (holding("val/images/val_5.JPEG", b"\xff\xd8 no image"), r"val_5\.JPEG is not a readable image"),
    ],
)
def test_a_tiny_imagenet_that_is_not_whole_is_one_sentence(tiny, damage, sentence):
    damage(tiny)
    with pytest.raises(InputError, match=sentence) as raised:
        prepare("tiny_imagenet", folder=str(tiny), **TINY)
    assert "\n" not in str(raised.value)


def test_imagenet_is_cut_out_as_torchvision_does_for_evaluation(full):
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    data = make("imagenet", folder=str(full), **FULL)
    assert data.classes == WNIDS
    assert [len(split) for split in (data.train, data.tuning, data.test)] == [8, 4, 8]
    assert not rows(data.train.images) & rows(data.tuning.images)
    assert data.mean == pytest.approx((123.675, 116.28, 103.53))
    as_there = Compose([Resize(32, InterpolationMode.BILINEAR), CenterCrop(28)])
    files = [full / "val" / name / f"{number}.JPEG" for name in WNIDS for number in range(2)]
    for file, image in zip(files, data.test.images, strict=True):
        expected = np.asarray(as_there(Image.open(file).convert("RGB"))).transpose(2, 0, 1)
        assert np.array_equal(image.numpy(), expected), file
    assert data.test.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_adversarial_examples_have_the_labels_of_imagenet(full):
    folder = full.parent / "imagenet-a"
    found = make_candidates("imagenet", folder=str(full), natural_adversarial=str(folder), **FULL)
    assert found.images.labels.tolist() == [1, 1, 1, 3, 3, 3]
    assert found.sources.tolist() == list(range(6))
    assert found.images.images.shape == (6, 3, 28, 28)
    assert make_candidates("imagenet", folder=str(full), **FULL) is None


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (without("imagenet"), r"train is missing: images are read from"),
        (without(f"imagenet/val/{WNIDS[0]}"), r"val holds 3 class folders, ImageNet has 4"),
        (renamed(f"imagenet/val/{WNIDS[0]}"), r"in only one of them: n0144"),
        (without(f"imagenet/val/{WNIDS[2]}/1.JPEG"), rf"{WNIDS[2]} has 1 images and {WNIDS[0]} has 2; ImageNet has as"),
        (holding(f"imagenet/val/{WNIDS[2]}/1.JPEG", b""), r"1\.JPEG is not a readable"),
        (without("imagenet-a"), r"imagenet-a is missing"),
        (without(f"imagenet-a/{WNIDS[1]}"), r"holds 1 class folders, ImageNet-A has 2"),
        (renamed(f"imagenet-a/{WNIDS[1]}"), r"folder 'n9' is none of the 4"),
    ],
)
def test_an_imagenet_that_is_not_whole_is_one_sentence(full, damage, sentence):
    damage(full.parent)
    options = {"folder": str(full), "natural_adversarial": str(full.parent / "imagenet-a"), **FULL}
    with pytest.raises(InputError, match=sentence) as raised:
        prepare("imagenet", **options)
    assert "\n" not in str(raised.value)
