import math

import pytest
import torch
from torch import nn

import editors
from benchmarks import models
from benchmarks.errors import InputError
from benchmarks.models.extra_layer import ExtraLayer, with_extra_layer
from benchmarks.networks.model_split import split
from benchmarks.seeds import generator


def test_extra_layer_is_the_residual_block_of_section_4_3() -> None:
    layer = ExtraLayer(features=2, width=3).double()
    first, second = [[1.0, -2.0], [0.5, 0.0], [-1.0, 1.0]], [[1.0, 2.0, 3.0], [0.0, -1.0, 0.5]]
    with torch.no_grad():
        for linear, weight, bias in ((layer.expand, first, [0.1, 0.2, 0.3]), (layer.reduce, second, [0.4, 0.5])):
            linear.weight.copy_(torch.tensor(weight))
            linear.bias.copy_(torch.tensor(bias))
        found = layer(torch.tensor([[1.5, 2.0]], dtype=torch.float64))
    features = [1.5, 2.0]
    hidden = [
        sum(w * h for w, h in zip(row, features, strict=True)) + b
        for row, b in zip(first, (0.1, 0.2, 0.3), strict=True)
    ]
    active = [value if value > 0 else math.exp(value) - 1 for value in hidden]
    assert min(hidden) < 0 < max(hidden)
    added = [
        sum(w * a for w, a in zip(row, active, strict=True)) + b for row, b in zip(second, (0.4, 0.5), strict=True)
    ]
    expected = [h + a for h, a in zip(features, added, strict=True)]
    assert found[0].tolist() == pytest.approx(expected, rel=1e-6)


def test_resnet18_extra_answers_as_resnet18_with_the_same_weights_until_it_is_edited() -> None:
    options = {"channels": 1, "classes": 4, "width": 2}
    plain = models.make("resnet18", **options).eval()
    extended = models.make("resnet18_extra", **options, extra_width=32).eval()
    assert [name for name, _ in extended.named_children()][-3:] == ["pool", "extra", "head"]
    extended.load_state_dict(extended.state_dict() | plain.state_dict())
    images = torch.randn(6, 1, 8, 8, generator=generator("extra"))
    with torch.no_grad():
        before = plain(images)
        assert torch.equal(extended(images), before)
    other = (int(before[0].argmax()) + 1) % 4
    editor = editors.build("rmsprop", lr=1e-2, max_steps=20)
    edit = editor.edit(extended, images[:1], editors.constraints.predicts(other), layers="extra")
    assert edit.succeeded
    assert {name.split(".")[0] for name in edit.parameters} == {"extra"}
    assert split(extended, "extra")[0](images).shape == (6, 16)


def test_networks_without_a_linear_head_and_widths_that_are_none_are_refused() -> None:
    with pytest.raises(InputError, match="needs a network of parts with a head, not Linear"):
        with_extra_layer(nn.Linear(2, 2))
    with pytest.raises(InputError, match="extra_start must be zero or random, not 'ones'"):
        models.make("resnet18_extra", channels=1, classes=4, width=2, extra_start="ones")
    with pytest.raises(InputError, match="extra_width must be a whole number >= 1, not 0"):
        models.make("resnet18_extra", channels=1, classes=4, width=2, extra_width=0)


@pytest.mark.parametrize(("start", "changes"), [("zero", False), ("random", True)])
def test_a_block_that_starts_at_random_changes_answers(start: str, changes: bool) -> None:
    features = torch.randn(4, 8, generator=generator("features"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        layer = ExtraLayer(8, 16, start)
    assert torch.equal(layer(features), features) is not changes
