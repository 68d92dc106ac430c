"""Splits written as image files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from benchmarks.data import image_files
from benchmarks.data.dataset import Split
from benchmarks.errors import InputError
from benchmarks.seeds import generator


def images(count: int, channels: int) -> Tensor:
    return torch.randint(256, (count, channels, 5, 4), generator=generator("images", channels)).to(torch.uint8)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_files_lie_in_a_folder_per_class_and_hold_the_same_pixels(channels: int, mode: str, tmp_path: Path) -> None:
    split = Split(images(11, channels), torch.arange(11) % 2)
    image_files.write(split, ("cat", "dog"), tmp_path / "new" / "images")
    found = image_files.class_folders(tmp_path / "new" / "images")
    assert [file.name for file in found["dog"]] == ["01.png", "03.png", "05.png", "07.png", "09.png"]
    for file in [*found["cat"], *found["dog"]]:
        with Image.open(file) as opened:
            assert opened.mode == mode
            pixels = torch.from_numpy(np.array(opened)).reshape(5, 4, channels).permute(2, 0, 1)
        assert torch.equal(pixels, split.images[int(file.stem)])


def test_nothing_is_mixed_with_other_images_or_left_half_written(tmp_path: Path, monkeypatch) -> None:
    split = Split(images(3, 1), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(InputError, match="exists: images are written to a new folder only"):
        image_files.write(split, ("cat",), tmp_path)
    with pytest.raises(InputError, match="2 channels"):
        image_files.write(Split(images(3, 2), split.labels), ("cat",), tmp_path / "two")

    def full(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="disk full"):
        image_files.write(split, ("cat",), tmp_path / "half")
    assert list(tmp_path.iterdir()) == []
