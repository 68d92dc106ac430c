"""A translator split into what an edit leaves alone, encoder and lower decoder layers, and the decoder's top."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.translation.model import Translator
from editors.base import Layers
from editors.selection import select_parameters

Inputs = tuple[Tensor, ...]
"""The prefix's outputs, which are the suffix's inputs."""


def plain_attention() -> AbstractContextManager[None]:
    """A context in which attention is made of plain operations.

    The fused ones can neither be vectorised over edits nor differentiated twice.
    """
    return sdpa_kernel(SDPBackend.MATH)


def attention_of_training(device: torch.device) -> AbstractContextManager[None]:
    """A context in which gradients through attention are the same each time: those of a GPU's fused kernels are not."""
    return plain_attention() if device.type == "cuda" else nullcontext()


def split(model: Translator, layers: Layers) -> tuple[nn.Module, nn.Module]:
    """Split ``model`` into a prefix and a suffix, ``suffix(*prefix(source, previous)) = model(source, previous)``.

    All of ``layers`` are in the suffix, and as few decoder layers besides as possible. Both share the model's own
    modules, and the suffix keeps their names, so an edit of the suffix is an edit of the model. Where an edit may
    change the encoder or an embedding, all is suffix.

    The prefix takes as many sources ``(R, S)`` as there are runs of B / R rows in ``previous (B, T)``: one for all
    rows, one for each, or one for every run of them.

    :raises editors.EditError: for unknown layers.
    """
    edited = {id(parameter) for parameter in select_parameters(model, layers).values()}
    for depth in reversed(range(len(model.decoder.layers))):
        prefix = _Prefix(model, depth)
        if not any(id(parameter) in edited for parameter in prefix.parameters()):
            return prefix, _Top(model, depth)
    return _AsItIs(), model


class _AsItIs(nn.Module):
    """A prefix that computes nothing."""

    def forward(self, source: Tensor, previous: Tensor) -> Inputs:
        return _for_each_row(source, 0, len(previous)), previous


class _Prefix(nn.Module):
    """Encoder, embedding and the decoder's first ``depth`` layers."""

    def __init__(self, model: Translator, depth: int) -> None:
        super().__init__()
        self.encoder = model.encoder
        self.decoder = _lower_layers(model.decoder, depth)
        self._pad = model.pad

    def forward(self, source: Tensor, previous: Tensor) -> Inputs:
        """Features ``(B, T, C)``, encoder outputs ``(B, S, C)``, what is padding among sources and translations."""
        encoded = self.encoder(source, source.ne(self._pad).sum(dim=1))
        memory = _for_each_row(encoded["encoder_out"][0], 1, len(previous))
        source_padding = _for_each_row(encoded["encoder_padding_mask"][0], 0, len(previous))
        rows = {"encoder_out": [memory], "encoder_padding_mask": [source_padding]}
        features, _ = self.decoder.extract_features(previous, encoder_out=rows)
        return features, memory.transpose(0, 1), source_padding, previous.eq(self._pad)


class _Top(nn.Module):
    """The decoder from layer ``depth`` on, under the names that its modules have in the model."""

    def __init__(self, model: Translator, depth: int) -> None:
        super().__init__()
        self.decoder = nn.Module()
        layers = model.decoder.layers
        self.decoder.layers = nn.ModuleDict({str(place): layers[place] for place in range(depth, len(layers))})
        self.decoder.output_projection = model.decoder.output_projection
        if model.decoder.layer_norm is not None:
            self.decoder.layer_norm = model.decoder.layer_norm

    def forward(self, features: Tensor, memory: Tensor, source_padding: Tensor, padding: Tensor) -> Tensor:
        x, memory = features.transpose(0, 1), memory.transpose(0, 1)
        length = len(x)
        future = torch.full((length, length), -torch.inf, dtype=x.dtype, device=x.device).triu(1)
        for layer in self.decoder.layers.values():
            x, *_ = layer(x, memory, source_padding, self_attn_mask=future, self_attn_padding_mask=padding)
        if hasattr(self.decoder, "layer_norm"):
            x = self.decoder.layer_norm(x)
        return self.decoder.output_projection(x.transpose(0, 1))


def _for_each_row(values: Tensor, dim: int, count: int) -> Tensor:
    """Each of the values along ``dim`` as often as it takes to make ``count``; those of a single one share memory."""
    if count % values.shape[dim]:
        raise ValueError(f"{count} rows are not a multiple of {values.shape[dim]} sources")
    sizes = [-1] * (values.dim() + 1)
    sizes[dim + 1] = count // values.shape[dim]
    return values.unsqueeze(dim + 1).expand(sizes).flatten(dim, dim + 1)


def _lower_layers(decoder: nn.Module, depth: int) -> nn.Module:
    """A decoder that shares the modules of ``decoder`` and ends before layer ``depth``."""
    lower = copy.copy(decoder)
    lower._modules = {name: part for name, part in decoder._modules.items() if name != "output_projection"}
    lower.layers = decoder.layers[:depth]
    lower.num_layers = depth
    lower.layer_norm = None
    return lower
