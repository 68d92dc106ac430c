"""Batches of sentences as rows of tokens, of like length so that little is filled up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


def rows(sentences: Sequence[Tensor], pad: int) -> Tensor:
    """int64 ``(B, T)``: sentences ``(T,)`` one below the other, filled up at the end."""
    return pad_sequence([sentence.long() for sentence in sentences], batch_first=True, padding_value=pad)


def previous_tokens(targets: Tensor, end: int, pad: int) -> Tensor:
    """The decoder's inputs for ``targets (B, T)``: the end of a sentence, then each token but the last."""
    shifted = torch.cat([targets.new_full((len(targets), 1), end), targets[:, :-1]], dim=1)
    return shifted.masked_fill(targets == pad, pad)


def by_tokens(lengths: Sequence[int], chosen: Sequence[int], most: int) -> Iterator[list[int]]:
    """Batches of ``chosen`` sentences of like length, none of more than ``most`` tokens unless it is a single one.

    :param lengths: of every sentence, by its number.
    """
    batch: list[int] = []
    for number in sorted(chosen, key=lambda one: (lengths[one], one)):
        if batch and lengths[number] * (len(batch) + 1) > most:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch
