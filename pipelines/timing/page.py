"""The page of the report on speed: what was measured as tables, how cost grows as a figure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from benchmarks.metrics import Estimate
from pipelines.reporting.figures.style import HEIGHT, WIDTH, new_figure, styled
from pipelines.timing.rounds import Comparison, Growth, Operations, Peak, Record

_Kind = TypeVar("_Kind", bound=Record)
_COLOURS = {"ours": "#0072B2", "naive": "#D55E00"}


def line(record: Record) -> str:
    """What a record says, in one line for the terminal."""
    match record:
        case Comparison():
            more = "" if record.naive_ratio is None else f" plain steps (naive: {_interval(record.naive_ratio)})"
            return f"{record.goal.title}: {_interval(record.ratio)}{more}, {_verdict(record)}"
        case Peak():
            return f"{record.title}: {record.peak / 1e9:.2f} GB"
        case Operations():
            return f"{record.title}: {', '.join(f'{way} {count:.0f}' for way, count in record.counts.items())}"
        case Growth():
            return f"{record.title}: cost ∝ {record.quantity}^{record.exponents['ours']:.2f}"


def markdown(machine: str, records: Sequence[Record], made: Sequence[str], turns: int, stem: str) -> str:
    """The page; ``stem`` begins the figure's file name, ``made`` says with which code, ``turns`` how often at least."""
    clock = "Wall time until the GPU has finished" if "NVIDIA" in machine else "Process CPU time of one thread"
    comparisons = [record for record in records if isinstance(record, Comparison)]
    faster = [record for record in comparisons if record.naive_ratio is None]
    training = [record for record in comparisons if record.naive_ratio is not None]
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
        _faster(faster) if faster else "",
        _training(training) if training else "",
        *[f"Tensor operations in {record.title}: {_counts(record)}." for record in _all(records, Operations)],
        *[_peak(record) for record in _all(records, Peak)],
        _growth(_all(records, Growth), stem) if _all(records, Growth) else "",
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


def _faster(records: Sequence[Comparison]) -> str:
    head = "| what | naive (s) | ours (s) | faster by | floor / stretch | reached | ours / limit | largest difference |"
    rule = "| --- | ---: | ---: | ---: | ---: | --- | ---: | --- |"
    return _table("## Against the naive way\n", head, rule, records, "naive", "×")


def _training(records: Sequence[Comparison]) -> str:
    head = (
        "| what | plain (s) | ours (s) | ours / plain | naive / plain "
        "| floor / stretch | reached | ours / limit | difference |"
    )
    rule = "| --- | ---: | ---: | ---: | ---: | ---: | --- | ---: | --- |"
    return _table("## A training step, in steps of plain training\n", head, rule, records, "plain", "")


def _table(title: str, head: str, rule: str, records: Sequence[Comparison], other: str, unit: str) -> str:
    rows = [
        f"| {one.goal.title} | {_seconds(one.seconds[other])} | {_seconds(one.seconds['ours'])} "
        f"| **{one.ratio.value:.2f}{unit}** [{one.ratio.low:.2f}, {one.ratio.high:.2f}] "
        + (f"| {_interval(one.naive_ratio)} " if one.naive_ratio else "")
        + f"| {one.goal.floor:g}{unit} / {one.goal.stretch:g}{unit} | {_verdict(one)} | {_interval(one.over_limit)} "
        f"| {', '.join(f'{name} {value:.2g}' for name, value in one.differences.items())} |"
        for one in records
    ]
    return "\n".join([title, head, rule, *rows])


def _growth(records: Sequence[Growth], stem: str) -> str:
    rows = [
        f"| {record.title} | {record.quantity} | {way} | {power:.2f} "
        f"| {', '.join(f'{size:,}: {spent:.3g}' for size, spent in _points(record, way))} |"
        for record in records
        for way, power in record.exponents.items()
    ]
    head = "| what | grows with | way | exponent | seconds |"
    picture = f"![Seconds against the number of edits, of control images, and against the width]({stem}-growth.png)"
    return "\n".join(["## How cost grows\n", picture, "", head, "| --- | --- | --- | ---: | --- |", *rows])


def _points(record: Growth, way: str) -> list[tuple[int, float]]:
    return list(zip(record.sizes, record.seconds[way], strict=False))  # the naive way may stop earlier


def _peak(record: Peak) -> str:
    kept = "within" if record.peak <= record.limit else "above"
    return (
        f"Peak memory of {record.title}: {record.peak / 1e9:.2f} GB, {kept} the {record.limit / 1e9:.1f} GB asked for."
    )


def _counts(record: Operations) -> str:
    return ", ".join(f"{way} {count:.0f}" for way, count in record.counts.items())


def _verdict(record: Comparison) -> str:
    if record.reaches(record.goal.stretch):
        return "stretch"
    return "floor" if record.reaches(record.goal.floor) else "below"


def _seconds(values: Sequence[float]) -> str:
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{median:.3g} [{low:.3g}, {high:.3g}]"


def _interval(ratio: Estimate | None) -> str:
    return "–" if ratio is None else f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"
