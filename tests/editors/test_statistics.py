"""What editors say of themselves is what they do: how much of the training data they read, and what their steps are."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import editors
from editors.base import spread

LABELLED = 40
WITH_EXAMPLES = {"covariance": 5000, "rank_one": 5000, "rehearsal": 1000}
WITH_EXAMPLES |= dict.fromkeys(("fisher", "gd_ewc", "rmsprop_ewc"), 10_000)


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5)).double().eval()


def tensors(found: Any) -> list[Tensor]:
    """Every tensor that statistics hold, in order."""
    if isinstance(found, Tensor):
        return [found]
    if dataclasses.is_dataclass(found):
        return [one for part in dataclasses.fields(found) for one in tensors(getattr(found, part.name))]
    if isinstance(found, tuple):
        return [one for part in found for one in tensors(part)]
    return [one for part in found.values() for one in tensors(part)] if isinstance(found, dict) else []


@pytest.mark.parametrize("name", [name for name in editors.available() if editors.build(name).needs_statistics])
def test_statistics_of_all_data_are_those_of_the_examples_that_a_method_asks_for(name, network):
    editor = editors.build(name)
    count = 2 * (editor.examples or LABELLED)
    source = torch.Generator().manual_seed(0)
    inputs = torch.randn(count, 3, generator=source, dtype=torch.float64)
    labels = torch.randint(5, (count,), generator=source)
    chosen = spread(count, editor.examples)
    everything = tensors(editor.statistics(network, inputs, labels, None))
    some = tensors(editor.statistics(network, inputs[chosen], labels[chosen], None))
    assert everything
    assert editor.examples == WITH_EXAMPLES.get(name)
    for found, expected in zip(some, everything, strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", [name for name in editors.available() if editors.build(name).needs_statistics])
def test_statistics_may_be_made_in_inference_mode(name, network):
    inputs, labels = torch.randn(40, 3, dtype=torch.float64), torch.arange(40) % 5
    layers, constraint = "2", editors.constraints.predicts(int(network(inputs[:1]).argmin()))
    editor = editors.build(name, max_steps=3)
    expected = editor.informed(editor.statistics(network, inputs, labels, layers))
    with torch.inference_mode():
        informed = editor.informed(editor.statistics(network, inputs.clone(), labels.clone(), layers))
        edit = informed.edit(network, inputs[:1].clone(), constraint, layers)
    for made in (edit, informed.edit(network, inputs[:1], constraint, layers)):
        other = expected.edit(network, inputs[:1], constraint, layers)
        torch.testing.assert_close(dict(made.parameters), dict(other.parameters), rtol=0, atol=0)


def test_spread_is_even_and_all_if_there_are_no_more():
    assert spread(5, None).tolist() == spread(5, 5).tolist() == spread(5, 9).tolist() == [0, 1, 2, 3, 4]
    assert spread(101, 5).tolist() == [0, 25, 50, 75, 100]
