"""The front of a network from raw images on, of which only a few at a time become floating-point numbers."""

from __future__ import annotations

from torch import Tensor, nn

from benchmarks.data.dataset import Dataset
from benchmarks.networks.model_split import activations


class Front(nn.Module):
    """A module from raw images to the edited part's inputs: on the network's device, normalised, through ``prefix``.

    Raw images take a quarter of the memory of a network's inputs, and none to speak of where they are a mapped file.
    """

    def __init__(self, dataset: Dataset, prefix: nn.Module, network: nn.Module) -> None:
        """The front of ``network``, whose device is where everything happens."""
        super().__init__()
        self.prefix = prefix
        self._dataset = dataset
        self._device = next(network.parameters()).device

    def forward(self, images: Tensor) -> Tensor:
        """uint8 images ``(N, C, H, W)`` on any device to activations ``(N, ...)``."""
        return activations(self.prefix, self._dataset.inputs(images.to(self._device)), len(images))
