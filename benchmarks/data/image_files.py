"""Image files: those of a folder, one read as pixels, a split written as files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from benchmarks.data.dataset import Split
from benchmarks.errors import InputError
from benchmarks.files import new_folder

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
_FORMATS = ("BMP", "JPEG", "PNG", "WEBP")  # the only decoders that a file can reach


def in_folder(folder: Path) -> list[Path]:
    """The image files of a folder in the order of their names, hidden ones left out."""
    return sorted(
        file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    )


def class_folders(folder: Path) -> dict[str, list[Path]]:
    """The image files of each folder in ``folder``, by its name, both in the order of their names.

    :raises InputError: for a folder without images.
    """
    listing = {
        inner.name: in_folder(inner)
        for inner in sorted(folder.iterdir())
        if inner.is_dir() and not inner.name.startswith(".")
    }
    for name, files in listing.items():
        if not files:
            raise InputError(f"{folder / name} holds no images; read are files that end in {', '.join(SUFFIXES)}")
    return listing


def read_image(file: Path, mode: str = "RGB") -> Image.Image:
    """An image as a viewer shows it, converted to a mode of Pillow's: RGB, or L for grey levels.

    It is turned as its EXIF flag says, grey levels of 16 bits are scaled to 8, what is transparent shows white, indices
    become the colours of their palette, CMYK becomes RGB without a colour profile, and of several frames the first one
    counts.

    :raises InputError: naming the file, if it is no readable image.
    """
    try:
        with Image.open(file, formats=_FORMATS) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):
                image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return image.convert(mode)
    except Exception as error:  # decoders raise whatever they stumble over in a damaged file
        raise InputError(f"{file} is not a readable image: {error}") from error


def write(images: Split, classes: Sequence[str], folder: Path) -> None:
    """Write every image as ``<folder>/<class>/<position in the split>.png``; the pixels stay as they are.

    :raises InputError: for images that have neither one nor three channels, and if ``folder`` exists, which may hold
        other images.
    """
    channels = images.images.shape[1]
    if channels not in (1, 3):
        raise InputError(f"images with {channels} channels cannot be written as files: only 1 or 3")
    if folder.exists():
        raise InputError(f"{folder} exists: images are written to a new folder only")
    digits = len(str(len(images) - 1))
    with new_folder(folder) as partial:
        for number, (image, label) in enumerate(zip(images.images, images.labels.tolist(), strict=True)):
            pixels = image[0] if channels == 1 else image.permute(1, 2, 0)
            path = partial / classes[label] / f"{number:0{digits}d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.contiguous().numpy()).save(path)
