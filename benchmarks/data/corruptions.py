"""Images as a camera might have taken them on a worse day: turned, scaled, sheared, moved and noisy."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.data.augmentation import Augmentation
from benchmarks.errors import InputError


@dataclass(frozen=True)
class Shift:
    """A distribution of corruptions: each amount is drawn uniformly from −value to value, for every image alone.

    :ivar rotation, shear: degrees; ``scale``: relative, of the size; ``translation``: pixels, in each direction.
    :ivar noise: standard deviation of Gaussian noise, in raw units (0 to 255).
    """

    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    translation: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value < math.inf:
                raise InputError(f"shift.{field.name} must be a number >= 0, not {value!r}")
        if self.scale >= 1 or self.shear >= 90:
            raise InputError(f"shift.scale must be below 1 and shift.shear below 90, not {self.scale} and {self.shear}")

    def apply(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Shifted copies of raw images, uint8 ``(N, C, H, W)``; what comes in from outside is black.

        Bilinear; drawn on the CPU, so the same generator state gives the same amounts on every device.
        """
        count, _, height, width = images.shape
        amounts = 2 * torch.rand(5, count, generator=generator, dtype=torch.float64) - 1
        angle, shear = (
            torch.deg2rad(size * part) for size, part in zip((self.rotation, self.shear), amounts[:2], strict=True)
        )
        scale = 1 + self.scale * amounts[2]
        # From places in the result to places in the image: turn, then shear, then scale, about the middle.
        cos, sin, slope = angle.cos(), angle.sin(), shear.tan()
        across, down = (
            2 * self.translation * part / size for part, size in zip(amounts[3:], (width, height), strict=True)
        )
        ratio = height / width  # the grid is measured in halves of each side
        rows = [
            torch.stack([(cos + slope * sin) / scale, (slope * cos - sin) / scale * ratio, across], dim=1),
            torch.stack([sin / scale / ratio, cos / scale, down], dim=1),
        ]
        grid = F.affine_grid(torch.stack(rows, dim=1).float(), list(images.shape), align_corners=False)
        moved = F.grid_sample(images.float(), grid.to(images.device), align_corners=False)
        noise = self.noise * torch.randn(images.shape, generator=generator)
        return (moved + noise.to(images.device)).round().clamp(0, 255).to(torch.uint8)


_HELD_OUT = Shift(rotation=10.0, scale=0.1)


def taken_again(images: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Other pictures of the same things: uint8 ``(N, C, H, W)``, augmented as in training, then turned and scaled.

    By up to 10 degrees and 10 %, as neither training does nor an edit that is asked for augmented copies. Augmentation
    alone may give back the image itself, or a copy that was asked for: of a crop of one pixel there are nine results.
    """
    return _HELD_OUT.apply(augmentation.apply(images, generator), generator)
