import pytest
import torch
from torch import nn

import editors
from benchmarks import models
from benchmarks.errors import InputError
from benchmarks.models.extra_layer import ExtraLayer, with_extra_layer
from benchmarks.networks.model_split import split
from benchmarks.seeds import generator


def test_extra_layer_is_the_residual_block_of_section_4_3():
    layer, source = ExtraLayer(features=2, width=3).double(), generator("extra layer")
    with torch.no_grad():
        for value in layer.parameters():
            value.normal_(generator=source)
    features = torch.randn(5, 2, generator=source, dtype=torch.float64)
    hidden = features @ layer.expand.weight.T + layer.expand.bias
    assert hidden.min() < 0 < hidden.max()
    active = torch.where(hidden > 0, hidden, hidden.exp() - 1)
    expected = features + active @ layer.reduce.weight.T + layer.reduce.bias
    torch.testing.assert_close(layer(features), expected, rtol=1e-12, atol=0)


def test_resnet18_extra_answers_as_resnet18_with_the_same_weights_until_it_is_edited():
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


def test_networks_without_a_linear_head_and_widths_that_are_none_are_refused():
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
