"""How fast the suite is on this machine: every costly loop against the naive way, written to results/speed/."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import textwrap
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from benchmarks.errors import InputError
from benchmarks.files import write_atomically
from benchmarks.metrics import Estimate
from editors.compiling import CompilationError
from pipelines.jobs.parallel_map import compute_reproducibly
from pipelines.reporting.figures.style import HEIGHT, WIDTH, new_figure, save, styled
from pipelines.store.layout import write_json
from pipelines.store.provenance import git_commit, machine, slug
from pipelines.timing import Comparison, Conditions, Counts, Growth, Record, from_json, to_json
from pipelines.timing.loops import loops

RESULTS = Path("results/speed")
_Kind = TypeVar("_Kind", bound=Record)
_COLOURS = {"ours": "#0072B2", "naive": "#D55E00"}


def measure(patterns: list[str], asked: Conditions, folder: Path = RESULTS) -> None:
    """Measure the loops that match one of ``patterns`` and write the page after each; other loops stay as they were.

    :raises InputError: if no loop matches, or the file of an earlier run cannot be read.
    """
    chosen = [name for name in loops() if any(fnmatchcase(name, pattern) for pattern in patterns)]
    if not chosen:
        raise InputError(f"no loop is called {', '.join(patterns)}; there are {', '.join(loops())}")
    name, commit = machine(asked.device), git_commit()
    path = folder / f"{slug(name)}.json"
    kept = _read(path)
    for number, loop in enumerate(chosen, start=1):
        began = time.monotonic()
        try:
            record = loops()[loop](asked)
        except CompilationError as problem:
            kept.pop(loop, None)
            said = f"{loop} left out: {problem}"
        else:
            kept[loop] = {"commit": commit, "torch": torch.__version__, "turns": asked.turns, **to_json(record)}
            said = line(record)
        kept = {known: kept[known] for known in loops() if known in kept}
        write_json(path, {"machine": name, "loops": kept})
        _write_page(path, name, kept)
        print(f"speed {number}/{len(chosen)} {said} ({time.monotonic() - began:.0f} s)", flush=True)
    print(f"speed: {path.with_suffix('.md')}")


def _write_page(path: Path, name: str, kept: dict[str, Any]) -> None:
    records = [from_json(values) for values in kept.values()]
    made = sorted({f"commit `{one['commit'][:12]}`, torch {one['torch']}" for one in kept.values()})
    figure = growth_figure(records)
    if figure is not None:
        save(figure, path.with_name(f"{path.stem}-growth"))
    turns = min((one["turns"] for one in kept.values()), default=0)
    write_atomically(path.with_suffix(".md"), markdown(name, records, made, turns, path.stem))


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        loops = json.loads(path.read_text())["loops"]
        for values in loops.values():
            from_json(values)
        return loops
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not what an earlier run wrote ({error!r}): remove it") from error


def line(record: Record) -> str:
    """What a record says, in one line for the terminal."""
    match record:
        case Comparison():
            more = "" if record.naive_ratio is None else f" plain steps (naive: {_interval(record.naive_ratio)})"
            return f"{record.goal.title}: {_interval(record.ratio)}{more}, {_verdict(record)}"
        case Counts():
            return _counts(record)
        case Growth():
            return f"{record.title}: cost ∝ {record.quantity}^{record.exponents['ours']:.2f}"


def markdown(machine: str, records: Sequence[Record], made: Sequence[str], turns: int, stem: str) -> str:
    """The page; ``stem`` begins the figure's file name, ``made`` says with which code, ``turns`` how often at least."""
    clock = "Wall time until the GPU has finished" if "NVIDIA" in machine else "Process CPU time of one thread"
    comparisons = _all(records, Comparison)
    training = [one for one in comparisons if one.naive_ratio]
    grown = _all(records, Growth)
    parts = [
        f"# Speed on {machine}",
        f"{clock}; ours and the naive way ([baselines/naive.py](../../baselines/naive.py)) take turns in one run. "
        f"Seconds are medians of {turns} turns or more with [quartiles], ratios are of medians with [95 % intervals] "
        "(bootstrap over turns). Images are random, networks are ResNet-18s for 32x32 images with random weights, and "
        "learning rates are such that an edit takes about three steps: times do not depend on what a network has "
        "learnt. Floor and stretch are what we ask of ourselves. The arithmetic limit is the time that ours would take "
        "if it did nothing but its convolutions and matrix products, at the pace of one large float32 matrix product "
        "or convolution, whichever is faster, in the same rounds. In rows that say compiled, steps of edits are "
        "compiled (`compile: true` in params.yaml), before the clock starts. `make speed` measures again.",
        f"Made with {'; '.join(made)}.",
        _comparisons("Against the naive way", [one for one in comparisons if not one.naive_ratio], "naive", "×"),
        _comparisons("A training step, in steps of plain training", training, "plain", ""),
        *[f"{_counts(record)}." for record in _all(records, Counts)],
        _growth(grown, stem) if grown else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


@styled
def growth_figure(records: Sequence[Record]) -> Figure | None:
    """A panel for each :class:`Growth`, both axes logarithmic, with the fitted exponents; None if there is none."""
    grown = _all(records, Growth)
    if not grown:
        return None
    figure = new_figure(WIDTH * 1.25, HEIGHT * 0.85)
    for axes, record in zip(np.atleast_1d(figure.subplots(1, len(grown))), grown, strict=True):
        for way, seconds in record.seconds.items():
            sizes, power = np.array(record.sizes[: len(seconds)]), record.exponents[way]
            axes.plot(sizes, seconds, "o", color=_COLOURS[way], label=f"{way}: ∝ {record.quantity}$^{{{power:.2f}}}$")
            fitted = np.exp(np.log(seconds).mean() + power * (np.log(sizes) - np.log(sizes).mean()))
            axes.plot(sizes, fitted, color=_COLOURS[way], linewidth=1.2)
        axes.set(xscale="log", yscale="log", xlabel=record.quantity.capitalize())
        axes.set_title(textwrap.fill(record.title, 26))
        axes.set_xticks(record.sizes, [f"{size:,}" for size in record.sizes])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.title.set_fontsize(9)
        axes.legend(loc="upper left")
        axes.margins(y=0.25)
        if record is grown[0]:
            axes.set_ylabel("Seconds")
    return figure


def _all(records: Sequence[Record], kind: type[_Kind]) -> list[_Kind]:
    return [record for record in records if isinstance(record, kind)]


def _comparisons(title: str, records: Sequence[Comparison], other: str, unit: str) -> str:
    training = other == "plain"
    ratios = "ours / plain | naive / plain" if training else "faster by"
    head = (
        f"| what | {other} (s) | ours (s) | {ratios} | floor / stretch | reached | ours / limit | largest difference |"
    )
    rule = f"| --- | ---: | ---: | ---: |{' ---: |' * training} ---: | --- | ---: | --- |"
    rows = [
        f"| {one.goal.title} | {_seconds(one.seconds[other])} | {_seconds(one.seconds['ours'])} "
        f"| **{one.ratio.value:.2f}{unit}** [{one.ratio.low:.2f}, {one.ratio.high:.2f}] "
        + (f"| {_interval(one.naive_ratio)} " if one.naive_ratio else "")
        + f"| {one.goal.floor:g}{unit} / {one.goal.stretch:g}{unit} | {_verdict(one)} | {_interval(one.over_limit)} "
        f"| {', '.join(f'{name} {value:.2g}' for name, value in one.differences.items())} |"
        for one in records
    ]
    return "\n".join([f"## {title}\n", head, rule, *rows]) if records else ""


def _growth(records: Sequence[Growth], stem: str) -> str:
    rows = [
        f"| {record.title} | {record.quantity} | {way} | {power:.2f} "
        f"| {', '.join(f'{record.sizes[n]:,}: {spent:.3g}' for n, spent in enumerate(record.seconds[way]))} |"
        for record in records
        for way, power in record.exponents.items()
    ]
    head = "| what | grows with | way | exponent | seconds |"
    picture = f"![Seconds against the number of edits, of control images, and against the width]({stem}-growth.png)"
    return "\n".join(["## How cost grows\n", picture, "", head, "| --- | --- | --- | ---: | --- |", *rows])


def _counts(record: Counts) -> str:
    return f"{record.title}: {', '.join(f'{way} {count:g}' for way, count in record.counts.items())}"


def _verdict(record: Comparison) -> str:
    if record.reaches(record.goal.stretch):
        return "stretch"
    return "floor" if record.reaches(record.goal.floor) else "below"


def _seconds(values: Sequence[float]) -> str:
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{median:.3g} [{low:.3g}, {high:.3g}]"


def _interval(ratio: Estimate | None) -> str:
    return "–" if ratio is None else f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"


def main(arguments: list[str] | None = None) -> None:
    # Not typer, so that this also runs where only torch is installed beside numpy, pandas and matplotlib.
    parser = argparse.ArgumentParser(prog="python -m pipelines.speed", description=__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="where to compute (cpu: one thread)")
    parser.add_argument("--turns", type=int, default=5, help="rounds in which each way is timed (default: 5)")
    parser.add_argument("--only", nargs="+", default=["*"], metavar="LOOP", help=f"names or globs of {list(loops())}")
    said = "measure nothing: print what a benchmark of images should take on an H200, by arithmetic"
    parser.add_argument("--estimate", metavar="BENCHMARK", help=said)
    given = parser.parse_args(arguments)
    if given.turns < 1:
        parser.error(f"--turns must be >= 1, not {given.turns}")
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: this machine has no GPU that torch can use")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    compute_reproducibly()  # as wherever a number is reported
    try:
        if given.estimate:
            from pipelines.tasks import load_settings  # these need the packages of all stages
            from pipelines.timing import estimates

            print(estimates.of_benchmark(load_settings(), given.estimate))
            return
        measure(given.only, Conditions(torch.device(given.device), given.turns))
    except InputError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        print("interrupted; what was measured is written, --only measures the rest", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
