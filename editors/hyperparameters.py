"""Hyperparameters: their defaults, the values they may take and the ranges over which they are tuned."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from editors.errors import EditError

FINGERPRINTED = False  # decides no number


@dataclass(frozen=True)
class Domain:
    """The values a hyperparameter may take, with the words that an error message uses for them."""

    description: str
    contains: Callable[[float], bool] = dataclasses.field(repr=False)


POSITIVE = Domain("a number > 0", lambda value: 0 < value < math.inf)
NON_NEGATIVE = Domain("a number >= 0", lambda value: 0 <= value < math.inf)
FRACTION = Domain("a number >= 0 and < 1", lambda value: 0 <= value < 1)


@dataclass(frozen=True)
class Hyperparameter:
    """One tunable value of an editor: its default, its domain and its search range ``[low, high]``.

    :ivar stronger: the values, ``larger`` or ``smaller`` ones, with which more edits succeed and more is broken; None
        if that is not what it decides.
    """

    name: str
    default: float
    low: float
    high: float
    log: bool
    domain: Domain
    stronger: Literal["larger", "smaller"] | None = None

    def check(self, value: float | torch.Tensor, where: str) -> None:
        """Raise :class:`EditError` unless ``value`` (a number or a tensor of one element) lies in the domain."""
        if isinstance(value, bool) or not isinstance(value, int | float | torch.Tensor):
            raise EditError(f"{where}.{self.name} must be {self.domain.description}, not {value!r}")
        if isinstance(value, torch.Tensor) and (value.numel() != 1 or value.dim() > 1):
            raise EditError(f"{where}.{self.name} must hold one number, not a tensor of shape {tuple(value.shape)}")
        number = value.detach().item() if isinstance(value, torch.Tensor) else value
        if not self.domain.contains(number):
            raise EditError(f"{where}.{self.name} must be {self.domain.description}, not {number:g}")


def hyperparameter(
    default: float,
    *,
    low: float,
    high: float,
    log: bool = False,
    domain: Domain = POSITIVE,
    stronger: Literal["larger", "smaller"] | None = None,
) -> Any:
    """Declare a dataclass field as a tunable hyperparameter.

    :param default: the value used when none is given.
    :param low, high: the range that tuning searches, both ends included.
    :param log: whether tuning samples the logarithm.
    :param domain: the values that are valid at all, tuned or not.
    :param stronger: the values, ``larger`` or ``smaller`` ones, with which more edits succeed and more is broken:
        tuning looks for the weakest that will do. One hyperparameter of an editor may have this.
    :raises EditError: for a range that is none.
    """
    if not (low < high < math.inf and (low > 0 or (not log and low > -math.inf))):
        raise EditError(
            f"a hyperparameter's range must be low < high, and low > 0 with log=True, not {low:g} to {high:g}"
        )
    declared = {"default": default, "low": low, "high": high, "log": log, "domain": domain, "stronger": stronger}
    return dataclasses.field(default=default, metadata={"hyperparameter": declared})


def check_steps(max_steps: Any) -> None:
    """Raise :class:`EditError` unless ``max_steps`` is a whole number >= 0."""
    check_whole("max_steps", max_steps, 0)


def check_whole(name: str, value: Any, least: int) -> None:
    """Raise :class:`EditError` unless ``value`` is a whole number >= ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise EditError(f"{name} must be a whole number >= {least}, not {value!r}")


def declared(editor_class: type) -> tuple[Hyperparameter, ...]:
    """The hyperparameters of an editor class, in the order in which its file declares them."""
    return tuple(
        Hyperparameter(name=field.name, **field.metadata["hyperparameter"])
        for field in dataclasses.fields(editor_class)
        if "hyperparameter" in field.metadata
    )
