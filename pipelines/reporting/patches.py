"""The report on a patch: its side effects on control images, as Markdown, as JSON, and as a sheet of what flipped."""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from matplotlib.figure import Figure
from torch import nn

from benchmarks import metrics
from benchmarks.data.image_files import read_image
from benchmarks.files import write_atomically
from benchmarks.metrics import Estimate
from benchmarks.patching.own_models import ControlImage, OwnModel, answers
from pipelines.jobs.progress import Progress, one_line
from pipelines.reporting.figures.style import editor_look, new_figure, save, shown, styled
from pipelines.reporting.tables.sheet import escape

SHOWN = 24
"""Most flips on the sheet and in the Markdown; the JSON file has all."""
_CHUNK = 64
_COLUMNS = 6
_CAPTION_SIZE = 8
_TITLE, _SHEET = "# Patch of ", ".flips.png"


@dataclass(frozen=True)
class Flip:
    """A control image that the patched model answers in another way, with class names."""

    file: Path
    label: str | None
    before: str
    after: str


@dataclass(frozen=True)
class SideEffects:
    """The answers to control images before and after a patch, compared.

    :ivar images: how many they are.
    :ivar flip_rate: share of them whose answer changed, in percent, with Wilson's interval.
    :ivar error_before, error_after: in percent, and ``drawdown``, their signed difference in percentage points; None
        if the true classes are not known.
    """

    images: int
    flips: tuple[Flip, ...]
    flip_rate: Estimate
    error_before: Estimate | None
    error_after: Estimate | None
    drawdown: Estimate | None


def side_effects(model: OwnModel, patched: nn.Module, images: tuple[ControlImage, ...]) -> SideEffects:
    """Ask ``model`` and its ``patched`` network about every control image."""
    flips: list[Flip] = []
    wrong: list[tuple[bool, bool]] = []
    progress = Progress("patch: control images", len(images), "images")
    for start in range(0, len(images), _CHUNK):
        some = images[start : start + _CHUNK]
        inputs = model.inputs([image.file for image in some])
        before, after = (answers(network, inputs) for network in (model.network, patched))
        for image, old, new in zip(some, before, after, strict=True):
            if old != new:
                true = None if image.label is None else model.classes[image.label]
                flips.append(Flip(image.file, true, model.called(old), model.called(new)))
            if image.label is not None:
                wrong.append((old != image.label, new != image.label))
        progress.advance(len(some))
    count = len(wrong)
    worse, better = wrong.count((False, True)), wrong.count((True, False))
    old_errors = better + wrong.count((True, True))
    return SideEffects(
        images=len(images),
        flips=tuple(flips),
        flip_rate=metrics.share(len(flips), len(images)),
        error_before=metrics.share(old_errors, count) if wrong else None,
        error_after=metrics.share(old_errors + worse - better, count) if wrong else None,
        drawdown=metrics.paired_change(worse, better, count) if wrong else None,
    )


@dataclass(frozen=True)
class EditedImage:
    """An edited image, with class names: what the model answered and what it answers now."""

    image: str
    before: str
    now: str


@dataclass(frozen=True)
class PatchReport:
    """Everything that is said about a patch.

    :ivar model: the file or folder that was patched into ``out``; ``patch`` is the file that holds the change alone.
    :ivar seconds: wall time of finding the edit, learning rates that failed included.
    :ivar changed: numbers of parameters by name of the changed tensor, of ``parameters`` in all.
    :ivar patch_bytes: of the changed tensors.
    :ivar original, patched: fingerprints of the weights.
    """

    model: str
    out: str
    patch: str
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
    notes: tuple[str, ...] = ()


def write(report: PatchReport, stem: Path, mode: str) -> str:
    """Write ``<stem>.md``, ``<stem>.json`` and, if something flipped, ``<stem>.flips.png``, and return the Markdown.

    A sheet that cannot be drawn is left out, which a line on stderr says.

    :param mode: Pillow's, of the images on the sheet.
    """
    sheet = ""
    if report.effects.flips:
        try:
            save(_sheet(report.effects.flips[:SHOWN], mode), stem.with_name(f"{stem.name}.flips"), kinds=("png",))
            sheet = f"{stem.name}{_SHEET}"
        except Exception as error:  # a picture is never worth a report
            print(f"the sheet of flips is left out: {one_line(str(error))}", file=sys.stderr, flush=True)
    text = "\n".join(_lines(report, sheet)) + "\n"
    write_atomically(stem.with_name(f"{stem.name}.md"), text)
    content = json.dumps({"succeeded": True, **asdict(report)}, indent=2, default=str)
    write_atomically(stem.with_name(f"{stem.name}.json"), content + "\n")
    return text


def is_report(path: Path) -> bool:
    """Whether a file is part of an earlier report, ``<stem>.md``, ``.json`` or ``.flips.png``, and not a user's own."""
    try:
        if path.suffix == ".md":
            return path.read_text().startswith(_TITLE)
        data = path.with_name(path.name.removesuffix(_SHEET).removesuffix(".json") + ".json")
        return "succeeded" in json.loads(data.read_text())
    except (OSError, ValueError, TypeError):
        return False


def _lines(report: PatchReport, sheet: str) -> Iterator[str]:
    effects = report.effects
    yield f"{_TITLE}{escape(report.model)}\n"
    images, steps = _plural(len(report.edited), "image"), _plural(report.steps, "step")
    yield f"{images} corrected in {steps}, {report.seconds:.1f} s.\n"
    yield "| image | answer before | answer now |\n| --- | --- | --- |"
    for one in report.edited:
        yield f"| {escape(one.image)} | {escape(one.before)} | {escape(one.now)} |"
    values = ", ".join(f"{name} {value:g}" for name, value in report.hyperparameters.items())
    changed = sum(report.changed.values())
    share = 100 * changed / report.parameters
    views = f", also for {_plural(report.views, 'augmented copy', 'augmented copies')}" if report.views else ""
    yield f"\n- **How**: {editor_look(report.editor).title} on {escape(report.layers)} ({values}){views}."
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
    for note in report.notes:
        yield f"- **Note**: {escape(note)}"
    yield "\nIntervals are of 95 %, over other control images like these. The edited images are not among them.\n"
    yield from _flips(effects, sheet)
    yield f"Weights {report.original[:12]} became {report.patched[:12]}. To go back:\n"
    patch, model = (shlex.quote(one_line(path)) for path in (report.patch, report.out))
    yield f"    python -m pipelines.patch remove {patch} --model {model} --out ORIGINAL"


def _flips(effects: SideEffects, sheet: str) -> Iterator[str]:
    if not effects.flips:
        return
    yield "## Control images with another answer\n"
    if sheet:
        yield f"![Control images with the answer before and after]({quote(sheet)})\n"
    yield "| image | class | before | after |\n| --- | --- | --- | --- |"
    for flip in effects.flips[:SHOWN]:
        yield f"| {' | '.join(map(escape, (str(flip.file), flip.label or '–', flip.before, flip.after)))} |"
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
        axes.set_title(
            f"{shown(flip.before, 16)}\n→ {shown(flip.after, 16)}", fontsize=_CAPTION_SIZE, fontweight="normal"
        )
    return figure


def _percent(estimate: Estimate) -> str:
    return _interval(estimate, "%", ".2f")


def _interval(estimate: Estimate, unit: str, form: str) -> str:
    return f"{estimate.value:{form}} [{estimate.low:{form}}, {estimate.high:{form}}] {unit}"


def _plural(count: int, noun: str, many: str | None = None) -> str:
    return f"{count} {noun if count == 1 else many or noun + 's'}"


def _bytes(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"
