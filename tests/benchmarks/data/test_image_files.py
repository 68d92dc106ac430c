"""Splits written as image files, and image files read as a viewer shows them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
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


TURNED = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: np.rot90(stored),
}
"""What the orientations of the EXIF standard (2.32, 4.6.4) make of stored rows and columns."""
BITS = some.binary(min_size=4 * 3 * 5, max_size=4 * 3 * 5)


def stored(kind, pixels, palette):
    """An image to save, options of saving, and the colours ``(H, W, 4)`` with opacity that it stands for."""
    opaque = np.full_like(pixels[..., :1], 255)
    grey = np.repeat(pixels[..., :1], 3, axis=2)
    if kind == "RGBA":
        return Image.fromarray(pixels), {}, pixels
    if kind == "RGB":
        return Image.fromarray(pixels[..., :3].copy()), {}, np.dstack([pixels[..., :3], opaque])
    if kind == "L":
        return Image.fromarray(pixels[..., 0].copy()), {}, np.dstack([grey, opaque])
    if kind == "LA":
        return Image.fromarray(pixels[..., [0, 3]].copy(), "LA"), {}, np.dstack([grey, pixels[..., 3:]])
    if kind == "1":
        return Image.fromarray(pixels[..., 0] > 99), {}, np.dstack([np.where(grey > 99, 255, 0), opaque])
    if kind == "16 bits":
        levels = pixels[..., 0].astype(np.uint16) * 256 + pixels[..., 1]
        eight = np.round(levels / 257)
        return Image.fromarray(levels), {}, np.dstack([eight, eight, eight, opaque])
    image = Image.fromarray(pixels[..., 0] % len(palette), "P")
    image.putpalette(palette[:, :3].tobytes())
    options = {"transparency": palette[:, 3].tobytes()} if kind == "P, transparent" else {}
    colours = palette[pixels[..., 0] % len(palette)].copy()
    colours[..., 3] = colours[..., 3] if options else 255
    return image, options, colours


@given(
    kind=some.sampled_from(["RGBA", "RGB", "L", "LA", "1", "16 bits", "P", "P, transparent"]),
    orientation=some.sampled_from(sorted(TURNED)),
    bits=BITS,
    colours=some.binary(min_size=4 * 7, max_size=4 * 7),
    mode=some.sampled_from(["RGB", "L"]),
)
def test_a_picture_is_what_a_viewer_shows(tmp_path, kind, orientation, bits, colours, mode):
    pixels = np.frombuffer(bits, np.uint8).reshape(3, 5, 4).copy()
    image, options, meant = stored(kind, pixels, np.frombuffer(colours, np.uint8).reshape(7, 4))
    tags = Image.Exif()
    tags[0x0112] = orientation
    image.save(tmp_path / "picture.png", exif=tags, **options)
    found = np.asarray(image_files.read_image(tmp_path / "picture.png", mode), dtype=float)
    opacity = meant[..., 3:] / 255
    shown = meant[..., :3] * opacity + 255 * (1 - opacity)
    if mode == "L":
        shown = shown @ [0.299, 0.587, 0.114]  # ITU-R BT.601
    assert found.shape == TURNED[orientation](shown).shape
    assert np.abs(found - TURNED[orientation](shown)).max() <= 1.5


@pytest.mark.parametrize(("ink", "colour"), [((0, 0, 0, 0), (255, 255, 255)), ((255, 0, 0, 0), (0, 255, 255))])
def test_inks_become_colours(tmp_path, ink, colour):
    Image.new("CMYK", (8, 8), ink).save(tmp_path / "print.jpg", quality=100)
    found = np.asarray(image_files.read_image(tmp_path / "print.jpg"), dtype=int)
    assert np.abs(found - colour).max() <= 3


@given(cut=some.integers(0, 300), byte=some.integers(0, 255), at=some.integers(0, 300))
def test_a_damaged_file_is_read_or_refused_by_name(tmp_path, cut, byte, at):
    path = tmp_path / "damaged.png"
    Image.fromarray(images(1, 3)[0].permute(1, 2, 0).contiguous().numpy()).save(path)
    whole = bytearray(path.read_bytes())
    whole[at % len(whole)] = byte
    path.write_bytes(whole[: len(whole) - cut if cut < len(whole) else 0])
    try:
        found = image_files.read_image(path).mode
    except InputError as error:
        found = str(error)
    assert found == "RGB" or found.startswith(f"{path} is not a readable image")
