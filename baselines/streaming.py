"""Training images that do not fit on the GPU: they stay where they are, in a mapped file, and batches of them are sent.

The batches are the same, and so is every number; the host copies the chosen images to pinned memory, from where the GPU
takes them while the host goes on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.data.dataset import Dataset, Split
from editors.devices import sent

FINGERPRINTED = False  # decides no number

LARGEST_SHARE = 0.25
"""Of a GPU's free memory that training images may take: activations and gradients take the rest."""


class Streamed(Tensor):
    """A tensor of the host that is not moved to a GPU as a whole; what is taken out of it by index arrives there."""

    gpu: torch.device

    __torch_function__ = torch._C._disabled_torch_function_impl  # all else gives ordinary tensors

    @classmethod
    def of(cls, values: Tensor, gpu: torch.device) -> Streamed:
        """``values``, whose memory it shares, for a ``gpu``."""
        made = values.as_subclass(cls)
        made.gpu = gpu
        return made

    def to(self, *arguments: Any, **options: Any) -> Tensor:
        place = arguments[0] if arguments else options.get("device")
        stays = isinstance(place, str | torch.device) and torch.device(place).type == "cuda"
        return self if stays else super().to(*arguments, **options)

    def __getitem__(self, chosen: Any) -> Tensor:
        return sent(super().__getitem__(chosen), self.gpu)


def within_memory(dataset: Dataset, device: torch.device) -> Dataset:
    """``dataset`` itself, or with training images that are streamed where they are too many for a GPU."""
    if device.type != "cuda":
        return dataset
    free, _ = torch.cuda.mem_get_info(device)
    if dataset.train.images.nbytes <= LARGEST_SHARE * free:
        return dataset
    images, labels = (Streamed.of(one, device) for one in (dataset.train.images, dataset.train.labels))
    return replace(dataset, train=Split(images, labels))
