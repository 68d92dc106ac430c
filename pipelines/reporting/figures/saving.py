"""Writing a figure as PNG and SVG: the same data gives the same bytes, and never half a file."""

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.files import write_atomically
from pipelines.reporting.figures.style import DPI, settle, styled

# Whatever says when, or by which version, would change the bytes of an unchanged figure.
_METADATA = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}


@styled
def save(figure: Figure, path_without_suffix: Path | str, kinds: Sequence[str] = ("png", "svg")) -> tuple[Path, ...]:
    """Write ``<path>.png`` (150 dpi) and ``<path>.svg`` and return their paths; missing folders are made.

    The suffix is appended, so names with dots such as ``editable-0.01-gd`` stay whole. A file that holds these bytes
    already is left alone.
    """
    # Automatic layout moves things a little further each time it runs; one run must do for both files.
    settle(figure)
    stem = Path(path_without_suffix)
    written = []
    for kind in kinds:
        content, target = io.BytesIO(), stem.with_name(f"{stem.name}.{kind}")
        figure.savefig(content, format=kind, dpi=DPI, metadata=_METADATA[kind])
        if not target.exists() or target.read_bytes() != content.getvalue():
            write_atomically(target, content.getvalue())
        written.append(target)
    return tuple(written)
