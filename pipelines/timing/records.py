"""What the report on speed writes down: one record per loop, kept as JSON, from which its page is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.metrics import Estimate


@dataclass(frozen=True)
class Goal:
    """What a ratio is about, and what it should reach at least (``floor``) and at best (``stretch``)."""

    title: str
    floor: float
    stretch: float


@dataclass(frozen=True)
class Comparison:
    """Several ways to do the same thing, timed in turns.

    :ivar seconds: of each round, by way: ``ours``, ``naive`` and, for training steps, ``plain``.
    :ivar ratio: naive / ours, the more the better; for training steps ours / plain, the less the better.
    :ivar differences: what ours and the naive way found differently, by what is compared.
    :ivar over_limit: ours / the arithmetic limit, see :mod:`pipelines.timing.roofline`; ``seconds`` are also of its
        references.
    :ivar naive_ratio: for training steps, naive / plain.
    """

    goal: Goal
    seconds: Mapping[str, Sequence[float]]
    ratio: Estimate
    differences: Mapping[str, float]
    over_limit: Estimate | None = None
    naive_ratio: Estimate | None = None

    def reaches(self, target: float) -> bool:
        """Whether the ratio is as good as ``target``."""
        return self.ratio.value >= target if self.naive_ratio is None else self.ratio.value <= target


@dataclass(frozen=True)
class Peak:
    """The most memory that a process held, in bytes, and how much it should be at most."""

    title: str
    peak: int
    limit: int


@dataclass(frozen=True)
class Operations:
    """Tensor operations that torch dispatches for one inner step of Editable Training, by way."""

    title: str
    counts: Mapping[str, float]


@dataclass(frozen=True)
class Growth:
    """Seconds against a size: ``seconds[way][n]`` belongs to ``sizes[n]``; the naive way may stop earlier."""

    title: str
    quantity: str
    sizes: Sequence[int]
    seconds: Mapping[str, Sequence[float]]
    exponents: Mapping[str, float]


Record = Comparison | Peak | Operations | Growth
_KINDS = {kind.__name__: kind for kind in (Comparison, Peak, Operations, Growth)}


def to_json(record: Record) -> dict[str, Any]:
    return {"kind": type(record).__name__, **asdict(record)}


def from_json(values: Mapping[str, Any]) -> Record:
    given = dict(values)
    kind = _KINDS[given.pop("kind")]
    for name, type_ in (("goal", Goal), ("ratio", Estimate), ("over_limit", Estimate), ("naive_ratio", Estimate)):
        if given.get(name) is not None:
            given[name] = type_(**given[name])
    return kind(**given)
