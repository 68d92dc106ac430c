"""Random crop and horizontal flip of a whole batch at once, on the device where the images are."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.errors import InputError
from editors.devices import sent


@dataclass(frozen=True)
class Augmentation:
    """The training augmentation of a benchmark.

    :ivar crop_padding: zeros (in raw units) added on each side, in pixels, before a window of the original size is cut
        out at a place drawn uniformly; 0 for no crop.
    :ivar flip: mirror each image left-right with probability 1/2.
    :raises InputError: for a negative or fractional padding, or a flip that is not true or false.
    """

    crop_padding: int
    flip: bool

    def __post_init__(self) -> None:
        if type(self.crop_padding) is not int or self.crop_padding < 0:
            raise InputError(f"crop_padding must be an integer of at least 0, found {self.crop_padding!r}")
        if type(self.flip) is not bool:
            raise InputError(f"flip must be true or false, found {self.flip!r}")

    def apply(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augment each image independently.

        :param images: ``(N, C, H, W)``, of any dtype, in raw units (a normalised image would be padded with its mean).
        :param generator: numbers are drawn on its device, so a CPU generator gives the same crops on every device.
        :returns: a new tensor of the same shape, dtype and device; the same for the same generator state.
        :raises InputError: for something else than a batch of images.
        """
        if images.dim() != 4:
            raise InputError(f"images to augment have the shape (N, C, H, W), found {tuple(images.shape)}")
        count, _, height, width = images.shape
        padding, device = self.crop_padding, generator.device
        places = torch.randint(2 * padding + 1, (2, count), generator=generator, device=device)
        top, left = sent(places, images.device)
        padded = functional.pad(images, (padding, padding, padding, padding))
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view (N, C, 2p + 1, 2p + 1, H, W)
        crops = windows[torch.arange(count, device=images.device), :, top, left]
        if not self.flip:
            return crops
        mirrored = torch.randint(2, (count, 1, 1, 1), generator=generator, device=device).bool()
        return torch.where(sent(mirrored, images.device), crops.flip(3), crops)
