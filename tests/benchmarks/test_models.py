import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import models
from benchmarks.errors import InputError
from benchmarks.seeds import generator


@pytest.fixture
def model() -> nn.Sequential:
    """A narrow float64 ResNet-18 whose weights and batch statistics are all different from their first values."""
    net = models.make("resnet18", channels=2, classes=5, width=3).double().eval()
    source = generator("models")
    for name, value in net.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2.0, generator=source)
        elif value.is_floating_point():
            value.normal_(std=0.6, generator=source)
    return net


def plain_resnet18(weights: dict[str, Tensor], images: Tensor) -> Tensor:
    """ResNet-18 once more, written from the paper by He et al. as one function of named weights."""

    def normalised(values: Tensor, name: str) -> Tensor:
        mean, var, scale, shift = (
            weights[f"{name}.{kind}"][:, None, None] for kind in ("running_mean", "running_var", "weight", "bias")
        )
        return scale * (values - mean) / torch.sqrt(var + 1e-5) + shift

    values = normalised(F.conv2d(images, weights["stem.conv.weight"], padding=1), "stem.bn").clamp(min=0)
    for chain in (1, 2, 3, 4):
        for block in (0, 1):
            name, stride = f"chain{chain}.{block}", 2 if chain > 1 and block == 0 else 1
            hidden = F.conv2d(values, weights[f"{name}.conv1.weight"], stride=stride, padding=1)
            hidden = normalised(hidden, f"{name}.bn1").clamp(min=0)
            hidden = normalised(F.conv2d(hidden, weights[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
            if stride == 2:
                values = F.conv2d(values, weights[f"{name}.shortcut.0.weight"], stride=2)
                values = normalised(values, f"{name}.shortcut.1")
            values = (hidden + values).clamp(min=0)
    return values.mean((2, 3)) @ weights["head.linear.weight"].T + weights["head.linear.bias"]


def test_resnet18_of_the_paper_has_11173962_parameters() -> None:
    with torch.device("meta"):
        model = models.make("resnet18", channels=3, classes=10)
    assert sum(value.numel() for value in model.parameters()) == 11_173_962
    chains = [model.get_submodule(f"chain{number}.1.conv2").weight.shape[0] for number in (1, 2, 3, 4)]
    assert chains == [64, 128, 256, 512]


def test_resnet18_has_six_named_parts_that_hold_every_parameter(model: nn.Sequential) -> None:
    parts = [name for name, _ in model.named_children()]
    assert parts == ["stem", "chain1", "chain2", "chain3", "chain4", "head"]
    assert all(list(part.parameters()) for part in model)


def test_resnet18_is_the_function_of_an_independent_implementation(model: nn.Sequential) -> None:
    images = torch.randn(4, 2, 8, 8, generator=generator("images"), dtype=torch.float64)
    with torch.no_grad():
        expected, found = plain_resnet18(model.state_dict(), images), model(images)
    assert found.shape == (4, 5)
    assert expected.std(dim=0).min() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("size", [8, 32])
def test_resnet18_reduces_the_image_by_eight(model: nn.Sequential, size: int) -> None:
    with torch.no_grad():
        features = model[:5](torch.zeros(1, 2, size, size, dtype=torch.float64))
    assert features.shape == (1, 24, size // 8, size // 8)


def test_same_global_seed_same_initial_weights() -> None:
    drawn = []
    for number in (1, 1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(number)
            drawn.append(models.make("resnet18", channels=1, classes=2, width=2).state_dict())
    assert all(torch.equal(drawn[0][name], drawn[1][name]) for name in drawn[0])
    assert not torch.equal(drawn[0]["stem.conv.weight"], drawn[2]["stem.conv.weight"])


def test_unknown_architecture_is_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"unknown architecture 'resnet19'; available: .*resnet18"):
        models.make("resnet19", channels=3, classes=10)


def test_unknown_option_is_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"'resnet18' has no option 'depth'; it has: width"):
        models.make("resnet18", channels=3, classes=10, depth=3)


@pytest.mark.parametrize("width", [0, -2, 2.5, "8", True, None])
def test_width_must_be_a_positive_whole_number(width: object) -> None:
    with pytest.raises(InputError, match="width must be a whole number >= 1, not "):
        models.make("resnet18", channels=3, classes=10, width=width)


def test_available_lists_what_make_makes() -> None:
    assert "resnet18" in models.available()
    assert models.available() == sorted(models.available())
