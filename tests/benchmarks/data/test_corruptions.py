import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional

from benchmarks.data.augmentation import Augmentation
from benchmarks.data.corruptions import Shift, taken_again
from benchmarks.errors import InputError
from benchmarks.seeds import generator


class Fixed:
    """A generator's place in ``Shift.apply``: the amounts that were drawn, as shares of the largest."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, shares: list[float]) -> None:
        drawn = (torch.tensor(shares, dtype=torch.float64)[:, None] + 1) / 2
        monkeypatch.setattr(torch, "rand", lambda *size, **options: drawn)


def picture(height: int, width: int) -> torch.Tensor:
    """A smooth bright spot and a bar, off the middle."""
    down, across = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    spot = 200 * torch.exp(-((down - 0.35 * height) ** 2 + (across - 0.6 * width) ** 2) / 30.0)
    bar = 120 * torch.exp(-((across - 0.3 * width) ** 2) / 20.0) * (down > 0.2 * height) * (down < 0.8 * height)
    return (spot + bar).clamp(0, 255).to(torch.uint8)[None, None]


AMOUNTS = {
    "rotation": (Shift(rotation=40.0), [0.5, 0, 0, 0, 0]),
    "shear": (Shift(shear=30.0), [0, -0.7, 0, 0, 0]),
    "scale": (Shift(scale=0.4), [0, 0, 0.8, 0, 0]),
    "translation": (Shift(translation=4.0), [0, 0, 0, 0.5, -0.75]),
    "all": (Shift(rotation=30.0, scale=0.2, shear=20.0, translation=3.0), [0.6, 0.5, -0.5, 0.4, 0.9]),
}


@pytest.mark.parametrize("size", [(32, 32), (32, 48)])
@pytest.mark.parametrize("case", AMOUNTS)
def test_shifted_images_are_those_of_scipy(case, size, monkeypatch):
    shift, shares = AMOUNTS[case]
    Fixed(monkeypatch, shares)
    image = picture(*size)
    found = shift.apply(image, generator("unused"))[0, 0].double().numpy()
    angle, slope = np.deg2rad(shift.rotation * shares[0]), np.tan(np.deg2rad(shift.shear * shares[1]))
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])  # of (across, down)
    matrix = np.array([[1, slope], [0, 1]]) @ turned / (1 + shift.scale * shares[2])
    moved = shift.translation * np.array(shares[3:])
    middle = np.array([size[1] - 1, size[0] - 1]) / 2
    swap = np.array([[0, 1], [1, 0]])  # scipy counts (down, across)
    offset = swap @ (middle + moved - matrix @ middle)
    source = image[0, 0].double().numpy()
    expected = ndimage.affine_transform(source, swap @ matrix @ swap, offset=offset, order=1, mode="grid-constant")
    assert np.abs(expected - source).max() > 30
    np.testing.assert_allclose(found, expected, atol=0.51)


def test_noise_has_the_given_strength_and_nothing_else_changes():
    images = torch.full((4, 1, 64, 64), 128, dtype=torch.uint8)
    shifted = Shift(noise=12.0).apply(images, generator("noise")).double()
    assert float(shifted.std()) == pytest.approx(12.0, rel=0.03)
    assert float(shifted.mean()) == pytest.approx(128.0, abs=0.3)
    assert torch.equal(Shift().apply(images, generator("noise")), images)


def test_every_image_is_shifted_in_its_own_way_and_always_the_same():
    images = picture(16, 16).expand(6, 1, 16, 16)
    shift = Shift(rotation=20.0, translation=2.0, noise=5.0)
    one, two = (shift.apply(images, generator("same")) for _ in range(2))
    assert torch.equal(one, two)
    assert len({image.numpy().tobytes() for image in one}) == 6


@pytest.mark.parametrize("wrong", [{"noise": -1.0}, {"scale": 1.0}, {"shear": 90.0}, {"rotation": float("nan")}])
def test_impossible_shifts_are_refused(wrong):
    with pytest.raises(InputError, match=f"shift.{next(iter(wrong))}"):
        Shift(**wrong)


def test_pictures_that_are_taken_again_are_none_that_augmentation_gives():
    from sklearn.datasets import load_digits

    images = torch.from_numpy(load_digits().images[:40] * 15).to(torch.uint8)[:, None]
    crop = Augmentation(crop_padding=1, flip=False)
    possible = functional.pad(images, (1, 1, 1, 1)).unfold(2, 8, 1).unfold(3, 8, 1).flatten(2, 3)  # (40, 1, 9, 8, 8)
    for number in range(5):
        again = taken_again(images, crop, generator("again", number))
        assert not (possible == again[:, :, None]).flatten(3).all(dim=3).any()
        moved = (possible.float() - again[:, :, None].float()).abs().mean(dim=(1, 3, 4)).min(dim=1).values
        assert moved.max() < 60  # of 240: the nearest crop is still much the same picture
    assert torch.equal(again, taken_again(images, crop, generator("again", 4)))
