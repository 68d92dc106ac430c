"""Splits written as image files."""

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
def test_files_lie_in_a_folder_per_class_and_hold_the_same_pixels(channels, mode, tmp_path):
    split = Split(images(11, channels), torch.arange(11) % 2)
    image_files.write(split, ("cat", "dog"), tmp_path / "new" / "images")
    found = image_files.class_folders(tmp_path / "new" / "images")
    assert [file.name for file in found["dog"]] == ["01.png", "03.png", "05.png", "07.png", "09.png"]
    for file in [*found["cat"], *found["dog"]]:
        with Image.open(file) as opened:
            assert opened.mode == mode
            pixels = torch.from_numpy(np.array(opened)).reshape(5, 4, channels).permute(2, 0, 1)
        assert torch.equal(pixels, split.images[int(file.stem)])


def test_nothing_is_mixed_with_other_images_or_left_half_written(tmp_path, monkeypatch):
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


def test_a_photograph_is_read_as_its_exif_flag_turns_it(tmp_path):
    upright = Image.fromarray(np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3) * 50, np.ones((8, 8), np.uint8)))
    tags = Image.Exif()
    tags[0x0112] = 6  # turn by 90 degrees clockwise to show
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "phone.jpg", exif=tags, quality=100)
    found = image_files.read_image(tmp_path / "phone.jpg", "L")
    assert np.abs(np.asarray(found, dtype=int) - np.asarray(upright, dtype=int)).max() <= 2


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_sixteen_bits_are_scaled_to_eight(tmp_path, mode):
    levels = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    found = np.asarray(image_files.read_image(tmp_path / "deep.png", mode)).reshape(16, 16, -1)
    assert (found == np.arange(256).reshape(16, 16, 1)).all()


@pytest.mark.parametrize("kind", ["RGBA", "P", "LA"])
def test_what_is_transparent_shows_white_whatever_colour_it_hides(tmp_path, kind):
    pixels = np.full((4, 4, 4), (10, 10, 10, 0), np.uint8)
    pixels[1:3, 1:3] = (200, 200, 200, 255)
    image = Image.fromarray(pixels, "RGBA")
    (image.quantize(2) if kind == "P" else image.convert(kind)).save(tmp_path / "shape.png")
    found = np.asarray(image_files.read_image(tmp_path / "shape.png"))
    assert (found[0] == 255).all()
    assert np.abs(found[1, 1].astype(int) - 200).max() <= 1
