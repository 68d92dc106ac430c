"""Image files: which files of a folder are images, and how one is opened."""

from pathlib import Path

from PIL import Image

from benchmarks.errors import InputError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
_FORMATS = ("BMP", "JPEG", "PNG", "WEBP")  # the only decoders that a file can reach


def in_folder(folder: Path) -> list[Path]:
    """The image files of a folder in the order of their names, hidden ones left out."""
    return sorted(
        file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    )


def class_folders(folder: Path) -> dict[str, list[Path]]:
    """The image files of each folder in ``folder``, by its name, both in the order of their names.

    Raises InputError for a folder without images.
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
    """A decoded image, converted to a mode of Pillow's: RGB, or L for grey levels.

    Raises InputError, naming the file, if it is no readable image.
    """
    try:
        with Image.open(file, formats=_FORMATS) as opened:
            return opened.convert(mode)
    except Exception as error:  # decoders raise whatever they stumble over in a damaged file
        raise InputError(f"{file} is not a readable image: {error}") from error
