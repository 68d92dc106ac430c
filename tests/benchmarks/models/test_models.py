import pytest
import torch
from torch import nn

import benchmarks.torchvision_cpu  # noqa: F401  must come before torchvision
from benchmarks import models
from benchmarks.errors import InputError
from benchmarks.seeds import generator


@pytest.fixture
def model() -> nn.Sequential:
    """A narrow float64 ResNet-18 whose weights and batch statistics are all different from their first values."""
    return set_weights(models.make("resnet18", channels=2, classes=5, width=3))


def set_weights(net: nn.Sequential, std: float = 0.6) -> nn.Sequential:
    """The network in float64 and evaluation mode, with weights and batch statistics that are always the same."""
    source = generator("models")
    for name, value in net.double().eval().state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2.0, generator=source)
        elif value.is_floating_point():
            value.normal_(std=std, generator=source)
    return net


def test_resnet18_of_the_paper_has_11173962_parameters():
    with torch.device("meta"):
        model = models.make("resnet18", channels=3, classes=10)
    assert sum(value.numel() for value in model.parameters()) == 11_173_962
    chains = [model.get_submodule(f"chain{number}.1.conv2").weight.shape[0] for number in (1, 2, 3, 4)]
    assert chains == [64, 128, 256, 512]


def test_with_the_stem_of_he_et_al_resnet18_is_torchvisions():
    from torchvision.models import resnet18

    mine = set_weights(models.make("resnet18", channels=3, classes=7, stem="7x7"), std=0.2)
    theirs = resnet18(num_classes=7).double().eval()
    weights = list(mine.state_dict().values())
    assert [value.shape for value in weights] == [value.shape for value in theirs.state_dict().values()]
    theirs.load_state_dict(dict(zip(theirs.state_dict(), weights, strict=True)))
    images = torch.randn(2, 3, 64, 64, generator=generator("images"), dtype=torch.float64)
    with torch.no_grad():
        found, expected = mine(images), theirs(images)
        assert mine.get_submodule("stem")(images).shape == (2, 64, 16, 16)
    assert expected.std(dim=0).min() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("architecture", ["resnet18", "resnet18_extra", "cnp_resnet18"])
def test_every_resnet18_takes_either_stem_and_no_other(architecture):
    with torch.device("meta"):
        made = [models.make(architecture, channels=1, classes=2, width=2, stem=stem) for stem in ("3x3", "7x7")]
    assert [model.get_submodule("stem.conv").weight.shape[-1] for model in made] == [3, 7]
    with pytest.raises(InputError, match=r"stem must be 3x3 or 7x7, not 'small'"):
        models.make(architecture, channels=1, classes=2, stem="small")


def test_resnet18_has_six_named_parts_that_hold_every_parameter(model):
    parts = [name for name, _ in model.named_children()]
    assert parts == ["stem", "chain1", "chain2", "chain3", "chain4", "head"]
    assert all(list(part.parameters()) for part in model)


@pytest.mark.parametrize("size", [8, 32])
def test_resnet18_reduces_the_image_by_eight(model, size):
    with torch.no_grad():
        features = model[:5](torch.zeros(1, 2, size, size, dtype=torch.float64))
    assert features.shape == (1, 24, size // 8, size // 8)


def test_a_width_beyond_reason_is_refused():
    with pytest.raises(InputError, match="width must be at most 65536, not 1000000000"):
        models.make("resnet18", channels=1, classes=2, width=10**9)


@pytest.mark.parametrize("width", [0, -2, 2.5, "8", True, None])
def test_width_must_be_a_positive_whole_number(width):
    with pytest.raises(InputError, match="width must be a whole number >= 1, not "):
        models.make("resnet18", channels=3, classes=10, width=width)
