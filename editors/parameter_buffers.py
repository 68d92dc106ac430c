"""Buffers for the parameters of several edits: changed in place, in pieces that stay in a core's cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from editors.compiling import bare, compiled
from editors.devices import sent
from editors.errors import EditError
from editors.pytree import mapped

_TILE = 2**17  # numbers that an update looks at together: what it computes from them stays in a core's cache
_NARROWEST = 2**8  # of them from one edit: shorter runs of memory are slow to go through
_SMALL = 2**12  # parameters with fewer numbers share a vector: it costs as much to call an operation as to do it


class Layout:
    """The layout of edited parameters as vectors: large ones have one each, small ones share one.

    :param together: whether all share one, ``(P,)``, in the model's order.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], together: bool) -> None:
        self.parameters = parameters
        alone = [] if together else [name for name, value in parameters.items() if value.numel() >= _SMALL]
        shared = [name for name in parameters if name not in alone]
        self._groups = [*([shared] if shared else []), *([name] for name in alone)]

    def start(self) -> list[Tensor]:
        """The unedited parameters, vector by vector; those of one dtype that holds all, as a whole vector would be.

        That is float32 at least: rules count in it what half precision would round away, such as Adam's 1 − β₂.
        """
        dtype = _common([torch.float32, *(value.dtype for value in self.parameters.values())])
        vectors = []
        for group in self._groups:
            parts = [self.parameters[name].reshape(-1).to(dtype) for name in group]
            vectors.append(parts[0] if len(parts) == 1 else torch.cat(parts))
        return vectors

    def named(self, vectors: Sequence[Tensor]) -> dict[str, Tensor]:
        """The parameters by name, in the model's order, from vectors like those of :meth:`start`."""
        found = {}
        for group, vector in zip(self._groups, vectors, strict=True):
            parts = [vector]
            if len(group) > 1:
                parts = vector.split([self.parameters[name].numel() for name in group])
            for name, part in zip(group, parts, strict=True):
                value = self.parameters[name]
                found[name] = part.view_as(value).to(value.dtype)
        return {name: found[name] for name in self.parameters}


@dataclass
class _Tile:
    columns: slice
    state: Any


@dataclass
class _Block:
    """A vector of the layout for every edit: row ``n`` of ``values (A, n)`` is the n-th edit that goes on."""

    values: Tensor
    tiles: list[_Tile]


class Rows:
    """The edited parameters of ``count`` edits, a row each, all of which begin with the unedited ones.

    :param rule: has ``init`` and ``update``, see :class:`editors.descent.DescentEditor`.
    :param whole: whether the rule must see all parameters of an edit at once.
    :param fused: whether the rule is compiled to one pass over memory, which then needs no pieces.
    """

    def __init__(self, layout: Layout, count: int, rule: Any, whole: bool, fused: bool = False) -> None:
        self._layout, self._rule = layout, rule
        self._whole = whole or fused
        self._advance = _fused(rule) if fused else partial(advance, rule)
        self._count, self._alone = count, count == 1
        self._on_gpu = next(iter(layout.parameters.values())).device.type == "cuda"
        with torch.no_grad():
            self._blocks = [self._block(vector.detach()) for vector in layout.start()]

    def leaves(self) -> list[Tensor]:
        """The parameters as they are now, to be differentiated by: ``(A, n)`` each, or ``(n,)`` for a single edit."""
        values = [block.values[0] if self._alone else block.values for block in self._blocks]
        return [value.detach().requires_grad_() for value in values]

    def result(self, place: int) -> dict[str, Tensor]:
        """The parameters of one edit, which the rows do not share any more."""
        rows = [block.values[place] for block in self._blocks]
        return self._layout.named(rows if self._alone else [row.clone() for row in rows])

    def keep(self, places: Sequence[int]) -> list[int]:
        """Go on with the rows at ``places`` only; returns them in their new order, which is ``index (A,)`` as well."""
        order = list(range(len(places)))
        leaving = set(order).difference(places)
        for hole, place in zip(sorted(leaving), (place for place in places if place >= len(order)), strict=True):
            order[hole] = place
        self.index = sent(torch.tensor(order), self._blocks[0].values.device)
        for block in self._blocks:
            block.values = self._moved(block.values, order)
            for tile in block.tiles:
                tile.state = mapped(partial(self._kept, order), tile.state)
        self._count = len(order)
        return order

    def step(self, gradients: Sequence[Tensor], losses: Tensor, order: Sequence[int] | None, objective: Any) -> None:
        """Update all rows.

        :param gradients: by :meth:`leaves` as they were before :meth:`keep`, which returned ``order``; None if it was
            not called. ``losses (A,)`` are those of the rows that are still there.
        """
        for block, gradient in zip(self._blocks, gradients, strict=True):
            rows = gradient.reshape(-1, block.values.shape[1])
            if order is not None:
                rows = self._moved(rows.contiguous(), order)
            for tile in block.tiles:
                ours, current = rows[:, tile.columns], block.values[:, tile.columns]
                followed = ours if objective is None else objective(ours, current)
                tile.state = self._advance(current, followed, ours, losses, tile.state)

    def _kept(self, order: Sequence[int], state: Tensor) -> Tensor:
        # What a rule returns is ours to change.
        if state.dim() == 0 or len(state) != self._count:
            raise EditError(
                f"the state of {type(self._rule).__name__} must have a row for each of {self._count} edits, "
                f"not the shape {tuple(state.shape)}"
            )
        return self._moved(state.contiguous(), order)

    def _moved(self, rows: Tensor, order: Sequence[int]) -> Tensor:
        """The rows ``order``: of a GPU anew, in one launch; on a CPU in place, where most are already."""
        if self._on_gpu:
            return rows.index_select(0, self.index)
        for hole, place in enumerate(order):
            if hole != place:
                rows[hole].copy_(rows[place])
        return rows[: len(order)]

    def _block(self, original: Tensor) -> _Block:
        # A GPU has no such cache, and every piece would be a launch of its own.
        in_pieces = not (self._whole or self._on_gpu)
        width = max(_TILE // self._count, _NARROWEST) if in_pieces else len(original)
        tiles = []
        for begin in range(0, len(original), width):
            columns = slice(begin, begin + width)
            # The rule is shown the unedited parameters, never ours: it may keep them.
            tiles.append(_Tile(columns, self._rule.init(original[columns].expand(self._count, -1))))
        return _Block(original.expand(self._count, -1).clone(memory_format=torch.contiguous_format), tiles)


def advance(rule: Any, current: Tensor, followed: Tensor, gradients: Tensor, losses: Tensor, state: Any) -> Any:
    """Change ``current (A, n)`` as ``rule`` says, in place, and return the next state.

    :param followed: gradients ``(A, n)`` that the rule follows; ``gradients`` are those of ``l_e``, ``losses (A,)``.
    """
    updates, state = rule.update(followed, state)
    current += rule.rescaled(updates, gradients, losses, current)
    return state


def _fused(rule: Any) -> Any:
    """:func:`advance` as one pass over memory, instead of one for each operation."""
    run = compiled(advance, rule, dynamic=True)

    def step(current: Tensor, *others: Any) -> Any:
        assert current.is_contiguous()  # or a copy would be changed
        return run(*mapped(bare, (current, *others)))

    return step


def _common(dtypes: Sequence[torch.dtype]) -> torch.dtype:
    found = dtypes[0]
    for dtype in dtypes[1:]:
        found = torch.promote_types(found, dtype)
    return found
