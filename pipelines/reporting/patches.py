"""The report on a patch, as Markdown, as JSON, and as a sheet of the control images that flipped."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from matplotlib.figure import Figure

from benchmarks.data.image_files import read_image
from benchmarks.files import write_atomically
from benchmarks.metrics import Estimate
from benchmarks.patching.own_models import FLIPS
from benchmarks.patching.side_effects import Flip, Known, SideEffects
from benchmarks.scoring.side_effects import NEAR
from pipelines.jobs.progress import one_line
from pipelines.reporting.figures.style import editor_look, new_figure, save, shown, styled
from pipelines.reporting.tables.sheet import escape, markdown_table
from pipelines.store.layout import read_json, write_json

SHOWN = 24
"""Most flips on the sheet and in the Markdown, and most images of each kind; the JSON file has all."""
_COLUMNS = 6
_CAPTION_SIZE = 8
_TITLE = "# Patch of "


@dataclass(frozen=True)
class EditedImage:
    """An image that should get the class ``wanted``, with the answers before and now, all by name.

    :ivar corrected: it gets that class now, and so do all of its views.
    """

    image: str
    wanted: str
    before: str
    now: str
    corrected: bool


@dataclass(frozen=True)
class PatchReport:
    """Everything that is said about a patch.

    :ivar model: the file or folder that was patched into ``out``; ``patch`` is the file that holds the change alone.
    :ivar hyperparameters: of the edits, the same ones once.
    :ivar one_by_one: several images were edited one after the other.
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
    hyperparameters: Sequence[Mapping[str, float]]
    views: int
    one_by_one: bool
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

    @property
    def missed(self) -> tuple[EditedImage, ...]:
        """The images that could not be corrected."""
        return tuple(one for one in self.edited if not one.corrected)


def write(report: PatchReport, stem: Path, mode: str) -> str:
    """Write ``<stem>.md``, ``<stem>.json`` and, if something flipped, ``<stem>.flips.png``, and return the Markdown.

    A sheet that cannot be drawn is left out, which a line on stderr says.

    :param mode: Pillow's, of the images on the sheet.
    """
    sheet = ""
    if report.effects.flips:
        try:
            save(_sheet(report.effects.flips[:SHOWN], mode), stem.with_name(f"{stem.name}.flips"), kinds=("png",))
            sheet = f"{stem.name}{FLIPS}"
        except Exception as error:  # a picture is never worth a report
            print(f"the sheet of flips is left out: {one_line(str(error))}", file=sys.stderr, flush=True)
    text = "\n".join(_lines(report, sheet)) + "\n"
    write_atomically(stem.with_name(f"{stem.name}.md"), text)
    write_json(stem.with_name(f"{stem.name}.json"), {"succeeded": not report.missed, **asdict(report)}, default=str)
    return text


def is_report(path: Path) -> bool:
    """Whether a file is part of an earlier report, ``<stem>.md``, ``.json`` or ``.flips.png``, and not a user's own."""
    if path.suffix == ".md":
        return path.is_file() and path.read_bytes().startswith(_TITLE.encode())
    return "succeeded" in read_json(path.with_name(path.name.removesuffix(FLIPS).removesuffix(".json") + ".json"))


def _lines(report: PatchReport, sheet: str) -> Iterator[str]:
    effects, several = report.effects, len(report.edited) > 1
    yield f"{_TITLE}{escape(report.model)}\n"
    wrong = [one for one in report.edited if one.before != one.wanted]
    mended, right = sum(one.corrected for one in wrong), len(report.edited) - len(wrong)
    mistakes = _plural(mended, "mistake") if mended == len(wrong) else f"{mended} of {len(wrong)} mistakes"
    others = f" {_plural(right, 'other image')} had the right answer already." if right else ""
    yield f"{mistakes} corrected in {_plural(report.steps, 'step')}, {report.seconds:.1f} s.{others}\n"
    yield from _edited(report)
    values = ", ".join(f"{name} {_range(name, report.hyperparameters)}" for name in report.hyperparameters[0])
    how = f"{editor_look(report.editor).title} on {escape(report.layers)}{f' ({values})' if values else ''}"
    changed = sum(report.changed.values())
    share, kib = 100 * changed / report.parameters, report.patch_bytes / 2**10
    size = f"{kib / 2**10:.1f} MiB" if kib >= 2**10 else f"{kib:.1f} KiB"
    views = f", also for {_plural(report.views, 'augmented copy', 'augmented copies')}" if report.views else ""
    order = ", one image after the other" if report.one_by_one else ", all images together" if several else ""
    yield f"\n- **How**: {how}{views}{order}."
    yield (
        f"- **Size**: {size}, {_plural(len(report.changed), 'tensor')} with {changed:,} of "
        f"{report.parameters:,} parameters ({share:.1f} %)."
    )
    flips = f"{len(effects.flips)} of {effects.images} control images"
    yield f"- **Flips**: {flips}, {_interval(effects.flip_rate, '%', '.2f')}."
    if effects.known is None:
        yield "- **Errors**: unknown, because the control images do not lie in class folders."
    for note in report.notes:
        yield f"- **Note**: {escape(note)}"
    yield "\nIntervals are of 95 %, over other control images like these. The edited images are not among them.\n"
    yield from _errors(effects.known) if effects.known else ()
    yield from _flips(effects, sheet)
    yield f"Weights {report.original[:12]} became {report.patched[:12]}. To go back:\n"
    patch, model = (shlex.quote(one_line(path)) for path in (report.patch, report.out))
    yield f"    python -m pipelines.patch remove {patch} --model {model} --out ORIGINAL"


def _edited(report: PatchReport) -> Iterator[str]:
    """The images that could not be corrected, and then those that could."""
    missed, done = report.missed, [one for one in report.edited if one.corrected]
    kinds = {"Not corrected": False, "Right before, and wrong now": True}
    for kind, was_right in kinds.items():
        names = [one.image for one in missed if (one.before == one.wanted) is was_right]
        if names:
            yield f"**{kind}:** {', '.join(map(escape, names[:SHOWN]))}{' …' if len(names) > SHOWN else '.'}\n"
    if missed:
        yield "More `--max-steps`, other `--layers`, or `--editor covariance --training FOLDER` may correct more.\n"
    rows = []
    for one in [*missed[:SHOWN], *done[:SHOWN]]:
        now = one.now if one.corrected or one.now != one.wanted else f"{one.now}, not on all copies"
        rows.append([*map(escape, (one.image, one.wanted, one.before, now))])
    yield markdown_table(("image", "should be", "answer before", "answer now"), rows)
    if hidden := max(len(missed) - SHOWN, 0) + max(len(done) - SHOWN, 0):
        yield f"\n… and {hidden} more, in the JSON file."


def _errors(known: Known) -> Iterator[str]:
    """Whom the patch hurts: a line for each group of control images."""
    groups = {
        "all": known.errors,
        f"close calls: the two likeliest classes within {NEAR}": known.sensitive,
        f"class that loses most: {escape(known.worst_class)}": known.worst,
        "copies that are turned, scaled and noisy": known.corrupted,
    }
    yield "## Errors on control images\n"
    columns = ("images", "error before (%)", "after (%)", "change (points)", "right → wrong", "wrong → right")
    rows = []
    for name, found in ((name, found) for name, found in groups.items() if found is not None):
        shares = (f"{found.before.value:.2f}", f"{found.after.value:.2f}")
        change = _interval(found.drawdown, "", "+.2f").strip()
        rows.append([name, str(found.images), *shares, change, str(found.broken), str(found.mended)])
    yield markdown_table(("control images", *columns), rows, right=range(1, 7))
    before, after = known.calibration_before, known.calibration_after
    yield f"\nConfidence is off by {before:.2f} % before and {after:.2f} % after (expected calibration error).\n"


def _flips(effects: SideEffects, sheet: str) -> Iterator[str]:
    if not effects.flips:
        return
    yield "## Control images with another answer\n"
    if sheet:
        yield f"![Control images with the answer before and after]({quote(sheet)})\n"
    rows = [(str(flip.file), flip.label or "–", flip.before, flip.after) for flip in effects.flips[:SHOWN]]
    yield markdown_table(("image", "class", "before", "after"), [[*map(escape, row)] for row in rows])
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


def _range(name: str, hyperparameters: Sequence[Mapping[str, float]]) -> str:
    values = sorted(one[name] for one in hyperparameters)
    return f"{values[0]:g}" if values[0] == values[-1] else f"{values[0]:g} to {values[-1]:g}"


def _interval(estimate: Estimate, unit: str, form: str) -> str:
    return f"{estimate.value:{form}} [{estimate.low:{form}}, {estimate.high:{form}}] {unit}"


def _plural(count: int, noun: str, many: str | None = None) -> str:
    return f"{count} {noun if count == 1 else many or noun + 's'}"
