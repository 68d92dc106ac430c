from pathlib import Path

import pytest
import torch

from benchmarks.errors import InputError
from benchmarks.patching import checkpoint_files, patches


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "model.pth"
    torch.save({"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4).half(), "c": torch.zeros(2)}, path)
    return path


def patch_of(path: Path, **values: torch.Tensor) -> patches.Patch:
    return patches.make(path, values)


def test_a_patch_holds_only_what_changes_rounded_as_in_the_model(checkpoint):
    wanted = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.full((4,), 1.2345), "c": torch.tensor([0.0, 5.0])}
    patch = patch_of(checkpoint, **wanted)
    assert set(patch.before) == set(patch.after) == {"b", "c"}
    assert torch.equal(patch.after["b"], torch.full((4,), 1.2345, dtype=torch.float16))
    assert patch.size == 4 * 2 + 2 * 4


def test_a_saved_patch_is_applied_and_removed_bit_by_bit(checkpoint, tmp_path):
    original = checkpoint.read_bytes()
    files = [tmp_path / name for name in ("one.safetensors", "two.safetensors")]
    for file in files:
        patches.save(patch_of(checkpoint, c=torch.tensor([1.0, 2.0]), b=torch.zeros(4)), file)
    assert files[0].read_bytes() == files[1].read_bytes()
    patch = patches.load(files[0])
    patches.apply(patch, checkpoint, checkpoint)
    assert checkpoint_files.fingerprint(checkpoint_files.read(checkpoint)) == patch.patched
    assert checkpoint_files.read(checkpoint)["c"].tolist() == [1.0, 2.0]
    assert patches.remove(patch, checkpoint, checkpoint)
    assert checkpoint.read_bytes() == original


def test_weights_come_back_though_the_file_of_an_earlier_torch_does_not(checkpoint):
    weights = checkpoint_files.read(checkpoint)
    torch.save(weights, checkpoint, _use_new_zipfile_serialization=False)
    patch = patch_of(checkpoint, c=torch.tensor([1.0, 2.0]))
    patches.apply(patch, checkpoint, checkpoint)
    assert not patches.remove(patch, checkpoint, checkpoint)
    assert checkpoint_files.fingerprint(checkpoint_files.read(checkpoint)) == checkpoint_files.fingerprint(weights)


def test_a_patch_of_weights_that_two_layers_share_is_saved_and_applied(tmp_path):
    path, shared = tmp_path / "model.pth", torch.zeros(3)
    torch.save({"embedding": shared, "head": shared}, path)
    patches.save(patch_of(path, embedding=torch.ones(3), head=torch.ones(3)), tmp_path / "one.safetensors")
    patches.apply(patches.load(tmp_path / "one.safetensors"), path, path)
    found = checkpoint_files.read(path)
    assert torch.equal(found["head"], torch.ones(3))
    assert found["head"].data_ptr() == found["embedding"].data_ptr()


def test_patches_on_top_of_each_other_come_off_in_reverse_order(checkpoint):
    original = checkpoint.read_bytes()
    first = patch_of(checkpoint, c=torch.tensor([1.0, 2.0]))
    patches.apply(first, checkpoint, checkpoint)
    second = patch_of(checkpoint, c=torch.tensor([1.0, 3.0]), b=torch.zeros(4))
    patches.apply(second, checkpoint, checkpoint)
    with pytest.raises(InputError, match="is not the model that this patch fits"):
        patches.remove(first, checkpoint, checkpoint)
    patches.remove(second, checkpoint, checkpoint)
    patches.remove(first, checkpoint, checkpoint)
    assert checkpoint.read_bytes() == original


def test_patches_refuse_models_that_they_do_not_fit(checkpoint, tmp_path):
    patch = patch_of(checkpoint, c=torch.tensor([1.0, 2.0]))
    out = tmp_path / "out.pth"
    with pytest.raises(InputError, match="the patch is not in place"):
        patches.remove(patch, checkpoint, out)
    patches.apply(patch, checkpoint, out)
    with pytest.raises(InputError, match="the patch is in place already"):
        patches.apply(patch, out, tmp_path / "twice.pth")
    torch.save({"a": torch.zeros(2, 3), "b": torch.ones(4).half(), "c": torch.zeros(2)}, checkpoint)
    with pytest.raises(InputError, match="is not the model that this patch fits"):
        patches.apply(patch, checkpoint, tmp_path / "other.pth")
    assert not (tmp_path / "twice.pth").exists()
    assert not (tmp_path / "other.pth").exists()


def test_what_is_no_patch_is_refused(checkpoint, tmp_path):
    with pytest.raises(InputError, match="is missing: it should be a patch"):
        patches.load(tmp_path / "none.safetensors")
    with pytest.raises(InputError, match="is not a patch"):
        patches.load(checkpoint)
