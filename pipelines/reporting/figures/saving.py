"""Writing a figure as PNG and SVG: the same data gives the same bytes, and never half a file."""

import os
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from pipelines.reporting.figures.style import DPI, styled

# Whatever says when, or by which version, would change the bytes of an unchanged figure.
_METADATA = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}


@styled
def save(figure: Figure, path_without_suffix: Path | str, kinds: Sequence[str] = ("png", "svg")) -> tuple[Path, ...]:
    """Write ``<path>.png`` (150 dpi) and ``<path>.svg`` and return their paths; missing folders are made.

    The suffix is appended, so names with dots such as ``editable-0.01-gd`` stay whole.
    """
    # Automatic layout moves things a little further each time it runs; one run must do for both files.
    if len(kinds) > 1:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    stem = Path(path_without_suffix)
    stem.parent.mkdir(parents=True, exist_ok=True)
    written = []
    for kind in kinds:
        target = stem.with_name(f"{stem.name}.{kind}")
        temporary = stem.with_name(f".{stem.name}.{os.getpid()}.{kind}")
        try:
            figure.savefig(temporary, format=kind, dpi=DPI, metadata=_METADATA[kind])
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        written.append(target)
    return tuple(written)
