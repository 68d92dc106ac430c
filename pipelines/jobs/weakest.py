"""The weakest strength at which enough edits succeed, found by edits alone: no control example is looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Fails = Callable[[float, Sequence[int]], Sequence[bool]]
"""``fails(strength, rows)`` makes the edits ``rows`` and says of each whether it failed."""

_STEP = 1 / 32
_TOGETHER = 25


class Weakest:
    """A search along a strength in [0, 1]: from a start outwards in growing steps, then by bisection.

    Only the ``hardest`` of the ``edits`` are made: all others are taken to succeed. An edit that succeeded at some
    strength is taken to succeed at larger ones, and one that failed to fail at smaller ones. What is found rests on
    that; :meth:`learn` corrects it, and where it has to twice, all edits are made from then on.

    :param edits: how many there are, of which at most ``allowed`` may fail; ``hardest`` are numbers of some of them.
    :param resolution: the largest distance between the strength that is found and one that is too weak.
    """

    def __init__(
        self, fails: Fails, edits: int, hardest: Sequence[int], allowed: int, start: float, resolution: float
    ) -> None:
        self._fails, self._edits, self._allowed = fails, edits, allowed
        self._start, self._resolution = start, resolution
        self._corrected = 0
        self._shares: dict[float, float] = {}
        self._enough: float | None = None
        self._forget(hardest)

    @property
    def probes(self) -> int:
        """The strengths that were tried."""
        return len(self._shares)

    @property
    def likeliest(self) -> float:
        """Of the strengths that were tried, the weakest of those with the fewest failures."""
        return min(self._shares, key=lambda strength: (self._shares[strength], strength))

    def find(self) -> float | None:
        """The weakest strength that holds and is not known to be too weak; None if there is none."""
        if self._enough is None:
            self._enough = self._outwards()
        while self._enough is not None and self._enough - max(self._weak, 0.0) > self._resolution:
            middle = (self._enough + max(self._weak, 0.0)) / 2
            if self._holds(middle):
                self._enough = middle
        return self._enough

    def learn(self, failed: Sequence[int]) -> None:
        """At the strength that was found too many edits fail after all, those of ``failed`` among them."""
        strength = self._enough
        if strength is None:
            raise ValueError("nothing was found that could be wrong")
        self._corrected += 1
        if self._corrected > 1:
            self._failed_at = dict.fromkeys(range(self._edits), -np.inf) | self._failed_at
        self._failed_at |= {row: max(strength, self._failed_at.get(row, -np.inf)) for row in failed}
        self._succeeded_at = {row: at for row, at in self._succeeded_at.items() if row not in set(failed)}
        self._start, self._weak, self._enough = strength, strength, None

    def _outwards(self) -> float | None:
        """A strength that holds, the one below it that was tried being too weak or 0."""
        at, step = self._start, _STEP
        if self._holds(at):
            while at > 0 and self._holds(lower := max(0.0, at - step)):
                at, step = lower, 2 * step
            return at
        while at < 1:
            at, step = min(1.0, at + step), 2 * step
            if self._holds(at):
                return at
        # Too strong, perhaps: an edit may overshoot.
        self._forget(list(self._failed_at))
        rungs = np.arange(0, self._start, _STEP).tolist()
        return next((rung for rung in rungs if self._holds(rung)), None)

    def _forget(self, hardest: Sequence[int]) -> None:
        self._failed_at = dict.fromkeys(hardest, -np.inf)
        self._succeeded_at: dict[int, float] = {}
        self._weak = -np.inf

    def _holds(self, strength: float) -> bool:
        failures = sum(at >= strength for at in self._failed_at.values())
        undecided = [
            row
            for row, at in sorted(self._failed_at.items(), key=lambda known: -known[1])
            if at < strength < self._succeeded_at.get(row, np.inf)
        ]
        known = len(self._failed_at) - len(undecided)
        for begin in range(0, len(undecided), _TOGETHER):
            if failures > self._allowed:
                break
            rows = undecided[begin : begin + _TOGETHER]
            failed = self._fails(strength, rows)
            for row, bad in zip(rows, failed, strict=True):
                (self._failed_at if bad else self._succeeded_at)[row] = strength
            failures, known = failures + sum(failed), known + len(rows)
        self._shares[strength] = failures / max(known, 1)
        if failures > self._allowed:
            self._weak = max(self._weak, strength)
        return failures <= self._allowed
