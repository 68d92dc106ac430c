"""The earlier name of :mod:`benchmarks.data.image_files`, by which scripts of others import it."""

from benchmarks.data.image_files import read_image, write

__all__ = ["read_image", "write"]
