"""The diagonal Fisher information against gradients of single inputs, taken one after the other."""

import copy

import pytest
import torch
from torch import Tensor, nn

from editors import EditError
from editors.fisher import Fisher, diagonal_fisher


@pytest.fixture
def inputs(images: Tensor) -> Tensor:
    return images.flatten(0, 1)


@pytest.fixture
def labels() -> Tensor:
    return torch.arange(12) % 5


def by_hand(model: nn.Module, inputs: Tensor, labels: Tensor, part: str) -> dict[str, Tensor]:
    """Means of squared gradients of log p(y|x), one backward pass for each input."""
    model = copy.deepcopy(model).eval().requires_grad_()
    names = [name for name, _ in model.named_parameters() if name.startswith(part)]
    sums = {name: torch.zeros_like(model.get_parameter(name)) for name in names}
    for one, label in zip(inputs, labels, strict=True):
        model.zero_grad()
        nn.functional.cross_entropy(model(one.unsqueeze(0)), label.unsqueeze(0)).backward()
        for name in names:
            sums[name] += model.get_parameter(name).grad ** 2
    return {name: value / len(inputs) for name, value in sums.items()}


@pytest.mark.parametrize(("layers", "part"), [("chain1", "chain1."), ("head", "head."), (None, "")])
@pytest.mark.parametrize("memory", [2**28, 1, 20_000], ids=["one chunk", "one by one", "uneven chunks"])
def test_fisher_is_the_mean_of_squared_gradients_of_single_inputs(model, inputs, labels, layers, part, memory):
    found = diagonal_fisher(model, inputs, labels, layers, memory=memory).diagonal
    expected = by_hand(model, inputs, labels, part)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-14)
        assert value.max() > 0


def test_a_model_that_cannot_be_vectorised_has_the_same_fisher(inputs, labels):
    class Choosy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(36, 5).double()

        def forward(self, images: Tensor) -> Tensor:
            logits = self.layer(images.flatten(1))
            return 2 * logits if logits.sum().item() > 0 else logits

    model = Choosy()
    expected = by_hand(model, inputs, labels, "layer")
    found = diagonal_fisher(model, inputs, labels).diagonal
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-14)


def test_vector_has_the_order_of_the_parameters_that_are_asked_for():
    fisher = Fisher({"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[3.0]]), "c": torch.tensor([4.0])})
    parameters = {"c": nn.Parameter(torch.zeros(1).double()), "a": nn.Parameter(torch.zeros(2).double())}
    assert torch.equal(fisher.vector(parameters), torch.tensor([4.0, 1.0, 2.0]).double())


@pytest.mark.parametrize("count", [0, 11])
def test_labels_must_be_as_many_as_inputs(model, inputs, labels, count):
    with pytest.raises(EditError, match=f"one label for each input, found {12 if count else 0} and {count}"):
        diagonal_fisher(model, inputs if count else inputs[:0], labels[:count])
