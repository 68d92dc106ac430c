"""The report on a patch: Markdown for people, JSON for programs, and a sheet of the control images that flipped."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.data.image_files import read_image
from benchmarks.files import write_atomically
from benchmarks.metrics import Estimate
from pipelines.patching.side_effects import Flip, SideEffects
from pipelines.reporting.figures.saving import save
from pipelines.reporting.figures.style import editor_title, new_figure, styled

SHOWN = 24
"""Most flips on the sheet and in the Markdown; the JSON file has all."""
_COLUMNS = 6
_CAPTION_SIZE = 8


@dataclass(frozen=True)
class EditedImage:
    """An edited image, with class names: what the model answered and what it answers now."""

    image: str
    before: str
    now: str


@dataclass(frozen=True)
class PatchReport:
    """What a patch is and what it does.

    :ivar out: the patched model.
    :ivar seconds: wall time of finding the edit, learning rates that failed included.
    :ivar changed: numbers of parameters by name of the changed tensor, of ``parameters`` in all.
    :ivar patch_bytes: of the changed tensors.
    :ivar original, patched: fingerprints of the weights.
    """

    model: str
    out: str
    editor: str
    layers: str
    hyperparameters: Mapping[str, float]
    views: int
    edited: tuple[EditedImage, ...]
    steps: int
    seconds: float
    changed: Mapping[str, int]
    parameters: int
    patch_bytes: int
    original: str
    patched: str
    effects: SideEffects


def write(report: PatchReport, stem: Path, mode: str) -> str:
    """Write ``<stem>.md``, ``<stem>.json`` and, if something flipped, ``<stem>.flips.png``; returns the Markdown.

    :param mode: Pillow's, of the images on the sheet.
    """
    sheet = stem.with_name(f"{stem.name}.flips.png")
    sheet.unlink(missing_ok=True)
    if report.effects.flips:
        save(_sheet(report.effects.flips[:SHOWN], mode), stem.with_name(f"{stem.name}.flips"), kinds=("png",))
    text = "\n".join(_lines(report, sheet.name, f"{stem}.patch.safetensors")) + "\n"
    write_atomically(stem.with_name(f"{stem.name}.md"), text)
    content = json.dumps({"succeeded": True, **asdict(report)}, indent=2, default=str)
    write_atomically(stem.with_name(f"{stem.name}.json"), content + "\n")
    return text


def _lines(report: PatchReport, sheet: str, patch: str) -> Iterator[str]:
    effects = report.effects
    yield f"# Patch of {report.model}\n"
    images, steps = _plural(len(report.edited), "image"), _plural(report.steps, "step")
    yield f"{images} corrected in {steps}, {report.seconds:.1f} s.\n"
    yield "| image | answer before | answer now |\n| --- | --- | --- |"
    for one in report.edited:
        yield f"| {_cell(one.image)} | {_cell(one.before)} | {_cell(one.now)} |"
    values = ", ".join(f"{name} {value:g}" for name, value in report.hyperparameters.items())
    changed = sum(report.changed.values())
    share = 100 * changed / report.parameters
    views = f", also for {_plural(report.views, 'augmented copy', 'augmented copies')}" if report.views else ""
    yield f"\n- **How**: {editor_title(report.editor)} on {report.layers} ({values}){views}."
    yield (
        f"- **Size**: {_bytes(report.patch_bytes)}, {_plural(len(report.changed), 'tensor')} with {changed:,} of "
        f"{report.parameters:,} parameters ({share:.1f} %)."
    )
    yield f"- **Flips**: {len(effects.flips)} of {effects.images} control images, {_percent(effects.flip_rate)}."
    if effects.drawdown is None:
        yield "- **Signed drawdown**: unknown, because the control images do not lie in class folders."
    else:
        errors = f"error {effects.error_before.value:.2f} % before, {effects.error_after.value:.2f} % after"
        yield f"- **Signed drawdown**: {_interval(effects.drawdown, 'points', '+.2f')}; {errors}."
    yield "\nIntervals are of 95 %, over other control images like these. The edited images are not among them.\n"
    yield from _flips(effects, sheet)
    yield f"Weights {report.original[:12]} became {report.patched[:12]}. To go back:\n"
    yield f"    python -m pipelines.patch remove {patch} --model {report.out} --out ORIGINAL"


def _flips(effects: SideEffects, sheet: str) -> Iterator[str]:
    if not effects.flips:
        return
    yield "## Control images with another answer\n"
    yield f"![Control images with the answer before and after]({sheet})\n"
    yield "| image | class | before | after |\n| --- | --- | --- | --- |"
    for flip in effects.flips[:SHOWN]:
        yield f"| {_cell(str(flip.file))} | {_cell(flip.label or '–')} | {_cell(flip.before)} | {_cell(flip.after)} |"
    hidden = len(effects.flips) - SHOWN
    yield f"\n… and {hidden} more, in the JSON file.\n" if hidden > 0 else ""


@styled
def _sheet(flips: tuple[Flip, ...], mode: str) -> Figure:
    rows = math.ceil(len(flips) / _COLUMNS)
    figure = new_figure(width=1.4 * _COLUMNS, height=1.75 * rows)
    places = figure.subplots(rows, _COLUMNS, squeeze=False).flat
    for axes in places:
        axes.set_axis_off()
    for axes, flip in zip(figure.axes, flips, strict=False):
        image = read_image(flip.file, mode)
        image.thumbnail((160, 160))
        axes.imshow(np.asarray(image), cmap="gray" if mode == "L" else None, vmin=0, vmax=255)
        axes.set_title(f"{flip.before[:16]}\n→ {flip.after[:16]}", fontsize=_CAPTION_SIZE, fontweight="normal")
    return figure


def _percent(estimate: Estimate) -> str:
    return _interval(estimate, "%", ".2f")


def _interval(estimate: Estimate, unit: str, form: str) -> str:
    return f"{estimate.value:{form}} [{estimate.low:{form}}, {estimate.high:{form}}] {unit}"


def _plural(count: int, noun: str, many: str | None = None) -> str:
    return f"{count} {noun if count == 1 else many or noun + 's'}"


def _bytes(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
