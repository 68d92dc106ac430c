"""Convolutions as matrix products: the same outputs and gradients, where there are few positions and many channels."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import vmap
from torch.utils._python_dispatch import TorchDispatchMode

from editors.convolutions import as_products

FEW = {  # edits, images, channels in and out, size, kernel, stride, padding, dilation
    "3x3": (3, 1, 4, 80, 4, 3, 1, 1, 1),
    "one edit": (1, 1, 2, 40, 3, 3, 1, 1, 1),
    "several images": (2, 3, 4, 64, 4, 3, 2, 1, 1),
    "1x1 with a stride": (2, 2, 4, 32, 4, 1, 2, 0, 1),
    "dilated": (2, 1, 3, 100, 7, 3, 1, 1, 2),
}
MANY = {"many positions": (2, 1, 4, 16, 8, 3, 1, 1, 1)}


class Names(TorchDispatchMode):
    """Keeps the names of all operations that reach a backend."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found.add(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("sizes", [*FEW.values(), *MANY.values()], ids=[*FEW, *MANY])
@pytest.mark.parametrize("biased", [True, False], ids=["bias", "no bias"])
def test_outputs_and_gradients_are_those_of_convolutions(sizes, biased):
    edits, images, channels, out, size, kernel, stride, padding, dilation = sizes
    source = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(edits, *shape, dtype=torch.float64, generator=source).requires_grad_()

    inputs, weights = random(images, channels, size, size), random(out, channels, kernel, kernel)
    biases = random(out)

    def convolved(one: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        given = (stride, stride), (padding, padding), (dilation, dilation)
        return torch.conv2d(one, weight, bias if biased else None, *given, 1)

    def by_products(one: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        with as_products([weight]):
            return convolved(one, weight, bias)

    expected = torch.stack([convolved(*each) for each in zip(inputs, weights, biases, strict=True)])
    with Names() as names:
        found = vmap(by_products)(inputs, weights, biases)
    assert ("convolution" in names.found) == (sizes in MANY.values())
    assert ("bmm" in names.found or "mm" in names.found) == (sizes in FEW.values())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    wanted = [inputs, weights, *([biases] if biased else [])]
    towards = torch.randn(expected.shape, dtype=torch.float64, generator=source)
    for one, other in zip(
        torch.autograd.grad(found, wanted, towards), torch.autograd.grad(expected, wanted, towards), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_convolutions_with_other_weights_stay_convolutions():
    inputs, weight, other = torch.randn(1, 2, 3, 3), torch.randn(40, 2, 3, 3), torch.randn(40, 2, 3, 3)
    with Names() as names, as_products([other]):
        found = torch.nn.functional.conv2d(inputs, weight, None, 1, 1)
    assert "convolution" in names.found
    torch.testing.assert_close(found, torch.conv2d(inputs, weight, padding=1))


@pytest.mark.parametrize("window", [(1, 1, 1), ((1,), (1,), (1,)), ([1, 1], 1, (1, 1))])
def test_one_number_stands_for_height_and_width_as_in_torch(window):
    inputs, weight = torch.randn(1, 2, 3, 3), torch.randn(40, 2, 3, 3)
    with Names() as names, as_products([weight]):
        found = torch.nn.functional.conv2d(inputs, weight, None, *window, 1)
    assert "convolution" not in names.found
    torch.testing.assert_close(found, torch.conv2d(inputs, weight, padding=1))
