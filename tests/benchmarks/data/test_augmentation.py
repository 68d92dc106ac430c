import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from benchmarks.data.augmentation import Augmentation
from benchmarks.errors import InputError
from benchmarks.seeds import generator


def every_outcome(image: np.ndarray, padding: int, flips: tuple[bool, ...]) -> dict[bytes, int]:
    """All results that are allowed for one `(C, H, W)` image, made one by one, numbered."""
    _, height, width = image.shape
    padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
    outcomes = {}
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            for flip in flips:
                crop = padded[:, top : top + height, left : left + width]
                crop = crop[:, :, ::-1] if flip else crop
                outcomes[crop.tobytes()] = len(outcomes)
    return outcomes


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize(("padding", "flip"), [(4, True), (1, False), (2, True), (0, True)])
def test_every_result_is_one_of_the_crops_and_all_are_equally_likely(dtype, padding, flip):
    image = torch.randint(1, 256, (3, 7, 6), generator=generator("image")).to(dtype)
    outcomes = every_outcome(image.numpy(), padding, (False, True) if flip else (False,))
    batch = image.repeat(30 * len(outcomes), 1, 1, 1)
    augmented = Augmentation(padding, flip).apply(batch, generator("augmentation", padding))
    assert augmented.dtype == dtype
    seen = [outcomes[each.numpy().tobytes()] for each in augmented]
    assert chisquare(np.bincount(seen, minlength=len(outcomes))).pvalue > 0.001


def test_each_image_of_a_batch_is_augmented_from_itself():
    images = torch.randint(1, 256, (50, 2, 6, 5), dtype=torch.uint8, generator=generator("images"))
    augmented = Augmentation(2, flip=True).apply(images, generator("draw"))
    for image, result in zip(images.numpy(), augmented.numpy(), strict=True):
        assert result.tobytes() in every_outcome(image, 2, (False, True))


def test_the_same_seed_gives_the_same_result_and_another_one_does_not():
    images = torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8, generator=generator("images"))
    augmentation = Augmentation(2, flip=True)
    first, same, other = (augmentation.apply(images, generator("draw", number)) for number in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_the_places_do_not_depend_on_the_dtype():
    images = torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8, generator=generator("images"))
    raw, converted = (Augmentation(2, flip=True).apply(each, generator("draw")) for each in (images, images.float()))
    assert torch.equal(raw.float(), converted)


def test_images_are_left_as_they_were_and_the_result_is_its_own_tensor():
    images = torch.randint(0, 256, (4, 1, 5, 5), dtype=torch.uint8, generator=generator("images"))
    copy = images.clone()
    Augmentation(0, flip=False).apply(images, generator("draw")).zero_()
    assert torch.equal(images, copy)


def test_an_empty_batch_stays_empty():
    images = torch.empty(0, 3, 8, 8, dtype=torch.uint8)
    assert Augmentation(1, flip=True).apply(images, generator("draw")).shape == images.shape


@pytest.mark.parametrize(("padding", "flip"), [(-1, True), (1.5, True), (True, True), ("4", True), (1, 1), (1, "yes")])
def test_a_setting_that_makes_no_sense_is_named(padding, flip):
    with pytest.raises(InputError, match=r"(crop_padding|flip) must be .*found"):
        Augmentation(padding, flip)  # type: ignore[arg-type]


def test_one_image_without_a_batch_axis_is_refused():
    with pytest.raises(InputError, match=r"\(N, C, H, W\), found \(3, 8, 8\)"):
        Augmentation(1, flip=False).apply(torch.zeros(3, 8, 8), generator("draw"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_cpu_generator_gives_the_same_crops_on_the_gpu():
    images = torch.randint(0, 256, (50, 3, 8, 8), dtype=torch.uint8, generator=generator("images"))
    augmentation = Augmentation(2, flip=True)
    expected = augmentation.apply(images, generator("draw"))
    result = augmentation.apply(images.cuda(), generator("draw"))
    assert result.is_cuda
    assert torch.equal(result.cpu(), expected)
    assert augmentation.apply(images.cuda(), generator("draw", device="cuda")).is_cuda
