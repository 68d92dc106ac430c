import hashlib
import json
from dataclasses import replace

import pytest
import safetensors.torch
import torch

from benchmarks.data.augmentation import Augmentation
from benchmarks.data.dataset import Dataset, Split, channel_statistics, load, save
from benchmarks.errors import InputError
from benchmarks.seeds import generator


def split(count: int, *axes: str) -> Split:
    images = torch.randint(0, 256, (count, 2, 4, 3), dtype=torch.uint8, generator=generator("images", *axes))
    return Split(images, torch.arange(count) % 3)


@pytest.fixture
def dataset() -> Dataset:
    train = split(12, "train")
    mean, std = channel_statistics(train.images)
    return Dataset(
        name="tiny",
        classes=("cat", "dog", "öl"),
        train=train,
        tuning=split(6, "tuning"),
        test=split(9, "test"),
        mean=mean,
        std=std,
        augmentation=Augmentation(crop_padding=1, flip=True),
        source="Made by a test.",
    )


def test_channel_statistics_equal_those_of_float64():
    images = split(2500, "many").images
    mean, std = channel_statistics(images)
    assert mean == pytest.approx(images.double().mean((0, 2, 3)).tolist(), rel=1e-13)
    assert std == pytest.approx(images.double().std((0, 2, 3), correction=0).tolist(), rel=1e-13)


def test_inputs_of_the_training_split_have_mean_0_and_deviation_1_per_channel(dataset):
    inputs = dataset.inputs(dataset.train.images)
    assert inputs.dtype == torch.float32
    assert inputs.double().mean((0, 2, 3)).tolist() == pytest.approx([0, 0], abs=1e-6)
    assert inputs.double().std((0, 2, 3), correction=0).tolist() == pytest.approx([1, 1], abs=1e-6)


def test_inputs_of_raw_and_of_float_images_are_equal(dataset):
    images = dataset.test.images
    assert torch.equal(dataset.inputs(images), dataset.inputs(images.double()))


def test_select_takes_images_and_labels_in_the_order_wanted():
    everything = split(9, "test")
    chosen = everything.select(torch.tensor([7, 0, 7]))
    assert len(chosen) == 3
    assert chosen.labels.tolist() == [1, 0, 1]
    assert torch.equal(chosen.images[0], everything.images[7])
    assert torch.equal(chosen.images[1], everything.images[0])


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64), "images must be uint8"),
        (torch.zeros(2, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), "images must be uint8"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2), "labels must be int64"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2, 1, dtype=torch.int64), "labels must be int64"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), "found 2 and 3"),
    ],
)
def test_a_split_of_another_form_is_refused(images, labels, message):
    with pytest.raises(InputError, match=message):
        Split(images, labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: {"tuning": d.tuning.select(torch.tensor([], dtype=torch.int64))}, "tuning split: found no images"),
        (lambda d: {"classes": ("cat", "dog")}, "train split: labels must be from 0 to 1, found 2"),
        (lambda d: {"test": Split(d.test.images, d.test.labels - 1)}, "test split: labels must be .*found -1"),
        (lambda d: {"test": Split(d.test.images[:, :, :2], d.test.labels)}, r"test split: .*found \(2, 2, 3\)"),
        (lambda d: {"classes": ("cat", "cat", "dog")}, "distinct"),
        (lambda d: {"mean": (1.0,)}, "need 2 values, found 1 and 2"),
        (lambda d: {"std": (1.0, 0.0)}, "std positive"),
        (lambda d: {"mean": (1.0, float("nan"))}, "mean must be finite"),
    ],
)
def test_a_dataset_that_cannot_be_used_is_refused(dataset, change, message):
    with pytest.raises(InputError, match=message):
        replace(dataset, **change(dataset))


def test_every_part_of_a_dataset_changes_its_fingerprint(dataset):
    other_images = dataset.test.images.clone()
    other_images[-1, -1, -1, -1] ^= 1
    changed = [
        {"name": "other"},
        {"classes": ("cat", "dog", "ol")},
        {"mean": (1.0, 2.0)},
        {"std": (1.0, 2.0)},
        {"augmentation": Augmentation(crop_padding=1, flip=False)},
        {"source": "Made by another test."},
        {"test": Split(other_images, dataset.test.labels)},
        {"train": Split(dataset.train.images, dataset.train.labels.flip(0))},
        {"tuning": dataset.test, "test": dataset.tuning},
    ]
    fingerprints = {replace(dataset, **change).fingerprint() for change in changed}
    assert len(fingerprints | {dataset.fingerprint()}) == len(changed) + 1
    assert replace(dataset).fingerprint() == dataset.fingerprint()


def test_a_saved_dataset_is_loaded_as_it_was(dataset, tmp_path):
    save(dataset, tmp_path / "tiny")
    loaded = load(tmp_path / "tiny")
    assert loaded.fingerprint() == dataset.fingerprint()
    assert (loaded.name, loaded.classes, loaded.source) == (dataset.name, dataset.classes, dataset.source)
    assert (loaded.mean, loaded.std, loaded.augmentation) == (dataset.mean, dataset.std, dataset.augmentation)
    for name in ("train", "tuning", "test"):
        assert torch.equal(getattr(loaded, name).images, getattr(dataset, name).images)
        assert torch.equal(getattr(loaded, name).labels, getattr(dataset, name).labels)


def test_saving_twice_gives_the_same_bytes(dataset, tmp_path):
    for folder in ("first", "second"):
        save(dataset, tmp_path / folder)
    files = {
        folder: {file.name: file.read_bytes() for file in (tmp_path / folder).iterdir()}
        for folder in ("first", "second")
    }
    assert files["first"] == files["second"]
    assert set(files["first"]) == {"train.safetensors", "tuning.safetensors", "test.safetensors", "dataset.json"}


def test_the_files_can_be_read_without_this_project(dataset, tmp_path):
    save(dataset, tmp_path)
    tensors = safetensors.torch.load_file(tmp_path / "test.safetensors")
    assert torch.equal(tensors["images"], dataset.test.images)
    assert torch.equal(tensors["labels"], dataset.test.labels)
    assert json.loads((tmp_path / "dataset.json").read_text())["classes"] == ["cat", "dog", "öl"]


@pytest.mark.parametrize("name", ["train.safetensors", "tuning.safetensors", "test.safetensors", "dataset.json"])
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "corrupt"])
def test_a_missing_or_damaged_file_is_named_in_one_sentence(dataset, tmp_path, name, damage):
    save(dataset, tmp_path)
    file, content = tmp_path / name, (tmp_path / name).read_bytes()
    file.unlink()
    if damage != "missing":
        middle = len(content) // 2
        corrupt = content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]
        file.write_bytes({"empty": b"", "truncated": content[:middle], "corrupt": corrupt}[damage])
    with pytest.raises(InputError) as raised:
        load(tmp_path)
    assert str(file) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "make the dataset" in str(raised.value)


def test_a_file_that_is_no_safetensors_is_named_even_when_its_hash_fits(dataset, tmp_path):
    save(dataset, tmp_path)
    description = json.loads((tmp_path / "dataset.json").read_text())
    (tmp_path / "test.safetensors").write_bytes(b"nonsense" * 10)
    description["files"]["test"]["sha256"] = hashlib.sha256(b"nonsense" * 10).hexdigest()
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(InputError, match=r"test\.safetensors cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "renamed"),
        ("classes", ["dog", "cat", "öl"]),
        ("classes", 3),
        ("classes", [["cat"], "dog", "öl"]),
        ("mean", [0.0, 0.0]),
        ("mean", ["0", "0"]),
        ("augmentation", {"crop_padding": 2, "flip": True}),
        ("augmentation", {"crop": 2}),
        ("files", {}),
        ("files", []),
        ("fingerprint", "0"),
    ],
)
def test_a_changed_description_is_refused(dataset, tmp_path, key, value):
    save(dataset, tmp_path)
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(InputError, match=r"dataset\.json"):
        load(tmp_path)


def test_a_folder_overwritten_half_way_is_refused(dataset, tmp_path, monkeypatch):
    save(dataset, tmp_path)
    write, written = safetensors.torch.save_file, []

    def write_once(tensors, path) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(path)
        write(tensors, path)

    monkeypatch.setattr(safetensors.torch, "save_file", write_once)
    with pytest.raises(KeyboardInterrupt):
        save(replace(dataset, train=dataset.test), tmp_path)
    with pytest.raises(InputError, match=r"train\.safetensors"):
        load(tmp_path)
    assert not list(tmp_path.glob(".partial*"))
