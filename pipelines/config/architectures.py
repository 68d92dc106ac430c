"""Whether params.yaml names an architecture that there is, with options that it takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from benchmarks import models

_FILLS = (Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_)


def check(name: str, options: Mapping[str, Any]) -> None:
    """Build the network to see whether it can be built, without memory, numbers or random draws.

    :raises InputError: as :func:`benchmarks.models.make` does.
    """
    _check(name, json.dumps(options, sort_keys=True, default=str))


@cache  # a parameter file names the same few networks in dozens of places
def _check(name: str, options: str) -> None:
    with torch.device("meta"), _NoInitialisation():
        models.make(name, channels=3, classes=2, **json.loads(options))


class _NoInitialisation(TorchFunctionMode):
    """Leaves the values of new parameters alone: drawing them on the meta device takes seconds in large networks."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        fills = getattr(func, "__module__", None) == "torch.nn.init" or func in _FILLS
        return (args[0] if args else kwargs["tensor"]) if fills else func(*args, **kwargs)
