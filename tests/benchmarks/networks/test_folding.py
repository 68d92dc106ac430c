"""A folded network answers as the network does, is edited as it is, and passes gradients on to it."""

import pytest
import torch
from torch import Tensor, nn

import editors
from benchmarks import models
from benchmarks.networks.folding import fold
from benchmarks.seeds import generator

LAYERS = ["all", "stem", "chain3", "chain4", "head", "chain2.0.bn1", "chain2.1.conv2"]


def randomise(network: nn.Module, axis: str = "") -> nn.Module:
    """Statistics and parameters of normalisations that make a difference, in float64."""
    network = network.double().eval()
    for name, value in network.state_dict().items():
        if value.is_floating_point() and value.dim() == 1:
            value.copy_(0.5 + torch.rand(value.shape, generator=generator(axis, name), dtype=value.dtype))
    return network


@pytest.fixture
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return randomise(models.make("resnet18", channels=1, classes=4, width=4))


@pytest.fixture
def images() -> Tensor:
    return torch.randn(6, 1, 8, 8, generator=generator("folding"), dtype=torch.float64)


def layers_of(name: str) -> str | None:
    return None if name == "all" else name


def normalisations(network: nn.Module) -> int:
    return sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("graph", [True, False])
def test_it_answers_as_the_network_does(network, images, layers, graph):
    with torch.set_grad_enabled(graph):
        folded = fold(network, layers_of(layers))
        assert normalisations(folded) == 0
        torch.testing.assert_close(folded(images), network(images), rtol=0, atol=1e-12)
    assert normalisations(network) == 20


@pytest.mark.parametrize("kind", [nn.utils.weight_norm, nn.utils.spectral_norm])
@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
def test_a_convolution_whose_weight_is_made_when_it_is_called_is_left_alone(images, kind):
    def made() -> nn.Module:
        return randomise(
            nn.Sequential(kind(nn.Conv2d(1, 4, 3)), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
        )

    network, loaded = made(), made()
    state = {name: 3 * value if value.is_floating_point() else value for name, value in network.state_dict().items()}
    loaded.load_state_dict(state)
    with torch.no_grad():
        folded = fold(loaded, None)
        assert normalisations(folded) == 1
        torch.testing.assert_close(folded(images), loaded(images), rtol=0, atol=1e-12)


@pytest.mark.parametrize("layers", LAYERS)
def test_an_edit_of_it_is_an_edit_of_the_network(network, images, layers):
    editor = editors.build("rmsprop", lr=1e-3, max_steps=5)
    wanted = editors.constraints.predicts(2)
    direct = editor.edit(network, images[:1], wanted, layers_of(layers))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    edit = editor.edit(fold(network, layers_of(layers)), images[:1], wanted, layers_of(layers))
    assert (edit.succeeded, edit.steps) == (direct.succeeded, direct.steps)
    assert edit.steps > 0
    assert list(edit.parameters) == list(direct.parameters)
    for name, value in direct.parameters.items():
        torch.testing.assert_close(edit.parameters[name], value, rtol=0, atol=1e-9)
    torch.testing.assert_close(edit.predict(images), edit.apply(network)(images), rtol=0, atol=1e-11)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("layers", ["chain3", "all"])
def test_gradients_reach_every_parameter_of_the_network(network, images, layers):
    expected = torch.autograd.grad(network(images).square().sum(), list(network.parameters()))
    found = torch.autograd.grad(fold(network, layers_of(layers))(images).square().sum(), list(network.parameters()))
    for wanted, value in zip(expected, found, strict=True):
        assert wanted.abs().max() > 0
        torch.testing.assert_close(value, wanted, rtol=1e-9, atol=1e-10)


def test_folding_again_follows_weights_that_changed(network, images):
    old = fold(network, "head")
    with torch.no_grad():
        for value in network.parameters():
            value.mul_(1.1)
    torch.testing.assert_close(fold(network, "head")(images), network(images), rtol=0, atol=1e-12)
    assert not torch.allclose(old(images), network(images))


class Unusual(nn.Module):
    """What must not be folded: outputs that are used twice, modules that are, other orders, no running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Conv2d(2, 2, 3, padding=1, bias=False)
        self.once = nn.BatchNorm2d(2)
        self.shared, self.behind_shared = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
        self.first, self.later = nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1)
        self.conv, self.batch_statistics = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, track_running_stats=False)
        self.biased, self.foldable = nn.Conv2d(2, 4, 3, stride=2, padding=1, padding_mode="circular"), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        used = self.twice(images)
        hidden = used + self.once(used)
        hidden = self.behind_shared(self.shared(hidden)) + self.shared(images)
        hidden = self.batch_statistics(self.conv(self.later(self.first(hidden))))
        return self.foldable(self.biased(hidden)).mean(dim=(2, 3))


def test_only_a_normalisation_that_alone_follows_its_convolution_is_folded(images):
    network = randomise(Unusual(), "unusual")
    pairs = images.expand(-1, 2, -1, -1)
    folded = fold(network, "later")
    torch.testing.assert_close(folded(pairs), network(pairs), rtol=0, atol=1e-12)
    assert normalisations(folded) == 4
    assert not isinstance(folded.foldable, nn.BatchNorm2d)


class Untraceable(nn.Module):
    """Its path depends on its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)

    def forward(self, images: Tensor) -> Tensor:
        return self.bn(self.conv(images if images.sum() > 0 else -images)).mean(dim=(2, 3))


def test_a_network_whose_code_cannot_be_traced_stays_as_it_is():
    network = Untraceable()
    assert fold(network, None) is network
