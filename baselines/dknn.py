"""DkNN: a classifier that answers from its nearest training images, near in what a trained network makes of them."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import models
from benchmarks.errors import InputError
from benchmarks.networks.model_split import activations
from editors.voting import Votes, one_hot

PARTS = ("chain2", "chain3", "chain4")
"""Whose activations make the embedding, by default."""

_SPARE = 16


class Embedding(nn.Module):
    """Images to ``(N, D)``: activations of several parts, each averaged over space, scaled to length 1, side by side.

    So the squared distance of two embeddings is the sum, over parts, of ``2 − 2 · cosine similarity``: no part counts
    more than another, however wide it is.

    :param network: a sequence of named parts; those behind the last of ``parts`` are left out.
    """

    def __init__(self, network: nn.Module, parts: Sequence[str]) -> None:
        super().__init__()
        names = [name for name, _ in network.named_children()]
        unknown = [part for part in parts if part not in names]
        if type(network) is not nn.Sequential or unknown or not parts:
            found = ", ".join(parts) or "none"
            raise InputError(
                f"the parts to compare must be among those of the network, {', '.join(names)}, not {found}"
            )
        last = max(names.index(part) for part in parts)
        self.parts = tuple(parts)
        self.network = network[: last + 1]

    def forward(self, images: Tensor) -> Tensor:
        pooled = {}
        for name, part in self.network.named_children():
            images = part(images)
            if name in self.parts:
                vectors = images.flatten(2).mean(dim=2) if images.dim() > 2 else images
                pooled[name] = F.normalize(vectors, dim=1)
        return torch.cat([pooled[name] for name in self.parts], dim=1)


class NearestNeighbours(nn.Module):
    """Images to their k nearest examples ``(N, 2, k)``, positions and distances as ``Votes`` takes them.

    The search is exact: candidates by one matrix product, then distances computed term by term, so that neither
    rounding nor the size of a batch decides their order; of equal distances the first example is nearer. Beside the
    index it needs ``memory`` bytes at most and a number per example, but room for one image's distances to all
    examples in any case. An index of 50,000 embeddings with 512 dimensions takes 102 MB.

    :ivar index: embeddings of the examples ``(M, D)``, a buffer.
    """

    def __init__(self, embedding: Embedding, k: int, examples: int, dimensions: int, memory: int = 2**28) -> None:
        super().__init__()
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= examples:
            raise InputError(f"k must be a whole number from 1 to {examples}, the number of examples, not {k!r}")
        self.embedding = embedding
        self.k = k
        self.memory = memory
        self.register_buffer("index", torch.zeros(examples, dimensions))

    def forward(self, images: Tensor) -> Tensor:
        return self.search(self.embedding(images))

    def search(self, queries: Tensor) -> Tensor:
        """The neighbours ``(N, 2, k)`` of embeddings ``(N, D)``."""
        examples, dimensions = self.index.shape
        candidates = min(examples, self.k + _SPARE)
        # Per query: its products and their order, then its candidates, the differences and their squares.
        numbers = 3 * max(examples, candidates * dimensions)
        chunk = max(1, self.memory // (numbers * self.index.element_size()))
        # Not index.square(), which is another index; rounding here decides who is a candidate, never the distances.
        half_norms = torch.linalg.vector_norm(self.index, dim=1).square_().div_(2)
        return torch.cat([self._nearest(some, half_norms, candidates) for some in queries.split(chunk)])

    def _nearest(self, queries: Tensor, half_norms: Tensor, candidates: int) -> Tensor:
        positions = (queries @ self.index.T - half_norms).topk(candidates, dim=1).indices.sort(dim=1).values
        distances = (self.index[positions] - queries.unsqueeze(1)).square().sum(dim=2).sqrt()
        distances, order = distances.sort(dim=1, stable=True)
        positions = positions.gather(1, order).to(distances)
        return torch.stack([positions[:, : self.k], distances[:, : self.k]], dim=1)


@models.register("dknn")
def dknn(
    channels: int,
    classes: int,
    architecture: str,
    options: dict[str, Any],
    parts: Sequence[str],
    k: int,
    examples: int,
    dimensions: int,
) -> nn.Sequential:
    """``neighbours`` and ``votes``, one after the other, still without examples; see :func:`from_network`.

    Papernot & McDaniel 2018, without their conformal credibility: the label is the most frequent one among k
    neighbours. They search each layer by itself and pool the neighbours; here one search compares all layers at once,
    so k is the number of votes.

    :raises InputError: for parts that the network does not have, or a ``k`` that is not from 1 to ``examples``.
    """
    network = models.make(architecture, channels=channels, classes=classes, **options)
    return _assemble(Embedding(network, parts), k, examples, dimensions, classes)


def from_network(
    network: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    classes: int,
    k: int,
    parts: Sequence[str] = PARTS,
    chunk: int = 500,
    prepare: Callable[[Tensor], Tensor] = lambda inputs: inputs,
) -> nn.Sequential:
    """A DkNN that compares images by activations of ``network``, which it shares, and votes with these examples.

    :param inputs: training images ``(M, ...)``, on the network's device; ``labels (M,)``.
    :param chunk: how many images go through the network at a time.
    :param prepare: makes of some of the images what the network takes; only those of one chunk are in memory.
    :raises InputError: as :func:`dknn`.
    """
    embedding = Embedding(network, parts)
    chunks = (activations(embedding, prepare(some), chunk) for some in inputs.split(chunk))
    first = next(chunks)
    model = _assemble(embedding, k, len(inputs), first.shape[1], classes).to(first)
    with torch.no_grad():
        for place, some in enumerate(itertools.chain([first], chunks)):
            model.neighbours.index[place * chunk : place * chunk + len(some)] = some
        model.votes.cast.copy_(one_hot(labels.to(first.device), classes))
    return model.eval()


def options_of(model: nn.Sequential, architecture: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options of :func:`dknn` for ``model``, whose network is ``architecture`` with ``options``."""
    search = model.neighbours
    return {
        "architecture": architecture,
        "options": options,
        "parts": list(search.embedding.parts),
        "k": search.k,
        "examples": search.index.shape[0],
        "dimensions": search.index.shape[1],
    }


def _assemble(embedding: Embedding, k: int, examples: int, dimensions: int, classes: int) -> nn.Sequential:
    search = NearestNeighbours(embedding, k, examples, dimensions)
    return nn.Sequential(OrderedDict(neighbours=search, votes=Votes(examples, classes)))
