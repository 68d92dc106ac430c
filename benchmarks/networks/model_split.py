"""A network split into its frozen front and the part that an edit may change."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from editors.base import Layers
from editors.forward import evaluation_mode
from editors.selection import select_parameters

WHOLE_MODEL = "all"
"""The name of ``layers=None`` in tables and configuration."""


def layers_of(name: str) -> Layers:
    """The ``layers`` that an editor takes, for a name in tables and configuration."""
    return None if name == WHOLE_MODEL else name


def split(model: nn.Module, layers: Layers) -> tuple[nn.Module, nn.Module]:
    """``(prefix, suffix)`` with ``suffix(prefix(x)) = model(x)``, all of ``layers`` in the suffix.

    Both share the model's own modules, and the suffix keeps their names, so an edit of the suffix is an edit
    of the model. What the prefix computes never changes: it is worth computing once. A model that is not
    plainly a sequence of parts (a subclass may compute something else) is all suffix.

    :raises editors.EditError: for unknown layers.
    """
    edited = {id(parameter) for parameter in select_parameters(model, layers).values()}
    if type(model) is not nn.Sequential:
        return nn.Identity(), model
    # By identity, not by name: a part that occurs twice must be edited wherever it is used.
    first = next(place for place, part in enumerate(model) if any(id(value) in edited for value in part.parameters()))
    return model[:first], model[first:]


def activations(model: nn.Module, inputs: Tensor, chunk: int = 500) -> Tensor:
    """The outputs of ``model`` for ``inputs (N, ...)``, in evaluation mode and without a graph.

    Each chunk is written to where it stays, so that beside the outputs only one chunk is in memory.

    :param chunk: how many inputs go through the model at a time.
    """
    if isinstance(model, nn.Identity) or (isinstance(model, nn.Sequential) and len(model) == 0):
        return inputs
    with torch.no_grad(), evaluation_mode(model):
        outputs = model(inputs[:chunk])
        if len(inputs) <= chunk:
            return outputs
        whole = outputs.new_empty((len(inputs), *outputs.shape[1:]))
        whole[:chunk] = outputs
        del outputs
        for begin in range(chunk, len(inputs), chunk):
            whole[begin : begin + chunk] = model(inputs[begin : begin + chunk])
        return whole
