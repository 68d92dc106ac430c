import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch import nn

import benchmarks.torchvision_cpu  # noqa: F401  must come before torchvision
from benchmarks import models
from benchmarks.errors import InputError
from benchmarks.files import file_hash
from benchmarks.models import torchvision_networks
from benchmarks.seeds import generator
from editors.selection import select_parameters

PARTS = ["stem", "chain1", "chain2", "chain3", "chain4", "head"]


def randomised(network: nn.Module) -> nn.Module:
    """Other values in place of the first ones, batch statistics included."""
    source = generator("torchvision networks")
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2.0, generator=source)
        elif value.is_floating_point():
            value.add_(torch.randn(value.shape, generator=source) * 0.02)
    return network.eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=generator("torchvision images"))


@pytest.mark.parametrize("name", ["resnet18", "densenet169"])
def test_parts_answer_bit_by_bit_as_torchvisions_own_module(name, images):
    whole = randomised(torchvision_networks.make_whole(name, classes=6))
    parts = torchvision_networks.in_parts(whole)
    with torch.no_grad():
        expected, found = whole(images), parts(images)
    assert [part for part, _ in parts.named_children()] == PARTS
    assert expected.std() > 1e-3
    assert torch.equal(found, expected)
    assert {id(value) for value in parts.parameters()} == {id(value) for value in whole.parameters()}


@pytest.mark.parametrize(("name", "third"), [("resnet18", "layer3"), ("densenet169", "features.denseblock3")])
def test_the_third_chain_is_torchvisions_third_stage(name, third):
    with torch.device("meta"):
        whole = torchvision_networks.make_whole(name, classes=6)
    chain = select_parameters(torchvision_networks.in_parts(whole), "chain3").values()
    stage = select_parameters(whole, third).values()
    assert {id(value) for value in stage} <= {id(value) for value in chain}
    assert len(chain) - len(stage) == (3 if name == "densenet169" else 0)  # a transition: its norm and convolution


def test_other_networks_stay_whole_and_are_made_by_name():
    network = models.make("torchvision", channels=3, classes=4, network="mobilenet_v3_small")
    assert type(network).__name__ == "MobileNetV3"
    assert network.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 4)
    assert {"vit_b_16", "convnext_tiny", "resnet18"} <= set(torchvision_networks.names())
    with pytest.raises(InputError, match="no classifier 'resnet19'; there are: alexnet"):
        models.make("torchvision", channels=3, classes=4, network="resnet19")
    with pytest.raises(InputError, match="take 3 colour channels, not 1"):
        models.make("torchvision", channels=1, classes=4, network="resnet18")


@pytest.mark.parametrize(("name", "features"), [("resnet18", 512), ("densenet169", 1664)])
def test_an_extra_layer_is_a_part_that_leaves_answers_as_they_are(name, features, images):
    extended = models.make("torchvision", channels=3, classes=6, network=name, extra_width=16)
    assert [part for part, _ in extended.named_children()] == [*PARTS[:-1], "pool", "extra", "head"]
    assert extended.extra.expand.weight.shape == (16, features)
    plain = torchvision_networks.in_parts(torchvision_networks.make_whole(name, classes=6))
    assert set(plain.state_dict()) == {key for key in extended.state_dict() if not key.startswith("extra.")}
    randomised(plain)
    extended.load_state_dict(plain.state_dict(), strict=False)
    with torch.no_grad():
        assert torch.equal(extended.eval()(images), plain(images))


def test_densenet169_is_torchvisions_at_its_growth_and_as_narrow_as_asked(images):
    with torch.device("meta"):
        published = models.make("torchvision", channels=3, classes=6, network="densenet169")
        same = models.make("densenet169", channels=3, classes=6)
    shapes = [{name: value.shape for name, value in one.state_dict().items()} for one in (same, published)]
    assert shapes[0] == shapes[1]
    narrow = models.make("densenet169", channels=3, classes=6, growth=2, extra_width=5)
    assert [part for part, _ in narrow.named_children()] == [*PARTS[:-1], "pool", "extra", "head"]
    assert narrow.extra.expand.weight.shape == (5, 1664 * 2 // 32)
    assert narrow.eval()(images).shape == (2, 6)
    with pytest.raises(InputError, match="growth must be a whole number >= 1, not 0"):
        models.make("densenet169", channels=3, classes=6, growth=0)
    with pytest.raises(InputError, match="take 3 colour channels, not 1"):
        models.make("densenet169", channels=1, classes=6)


def test_weights_are_checked_against_the_hash_in_their_name(tmp_path):
    network = randomised(torchvision_networks.make_whole("resnet18", classes=5))
    path = tmp_path / "weights.pth"
    torch.save(network.state_dict(), path)
    good, bad = (tmp_path / f"resnet18-{digest}.pth" for digest in (file_hash(path)[:8], "0123abcd"))
    for named in (good, bad):
        shutil.copy(path, named)
    other = torchvision_networks.make_whole("resnet18", classes=5)
    torchvision_networks.load_weights(other, good)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in other.state_dict().items())
    with pytest.raises(InputError, match=r"0123abcd\.pth is truncated or not the published file"):
        torchvision_networks.load_weights(other, bad)


def test_published_weights_come_from_the_cache_and_a_damaged_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    entry = torchvision_networks.published("resnet18")
    cached = tmp_path / "checkpoints" / entry.url.rpartition("/")[2]
    cached.parent.mkdir()
    cached.write_bytes(b"half a file")
    network = torchvision_networks.make_whole("resnet18", classes=1000)
    with pytest.raises(InputError, match=r"resnet18-f37072fd\.pth is truncated or not the published file"):
        torchvision_networks.load_published(network, "resnet18")
    assert len(entry.meta["categories"]) == 1000
    with pytest.raises(InputError, match="no weights 'V9' of resnet18, but IMAGENET1K_V1"):
        torchvision_networks.published("resnet18", "V9")


def test_densenet_weights_in_their_old_names_are_understood(tmp_path):
    network = randomised(torchvision_networks.make_whole("densenet121", classes=3))
    dotted = {
        name.replace(".norm1", ".norm.1").replace(".conv1", ".conv.1").replace(".norm2", ".norm.2"): value
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in dotted
    torch.save(dotted, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    other = torchvision_networks.make_whole("densenet121", classes=3)
    torchvision_networks.load_weights(other, tmp_path / "old.pth")
    assert all(torch.equal(value, dict(other.named_parameters())[name]) for name, value in network.named_parameters())


@pytest.mark.parametrize(
    ("before", "inside"),
    [("module.", ""), ("_orig_mod.", ""), ("module._orig_mod.", ""), ("model.net.", ""), ("", "_orig_mod.")],
)
def test_names_with_what_wrappers_put_into_them_are_understood(before, inside):
    network = torchvision_networks.make_whole("squeezenet1_1", classes=3)
    wrapped = {before + name.replace("features.", f"features.{inside}"): name for name in network.state_dict()}
    beside = ["loss.weight", "n_averaged"] if before.startswith("mod") else []
    assert torchvision_networks.names_in(network, [*beside, *wrapped], Path("model.pth")) == wrapped


WRAPPERS = ("module.", "_orig_mod.", "model.", "net.", "_fsdp_wrapped_module.", "backbone.")


@given(
    before=some.lists(some.sampled_from(WRAPPERS), max_size=3),
    inside=some.sampled_from(["", "_orig_mod.", "_checkpoint_wrapped_module."]),
    beside=some.sets(some.sampled_from(["n_averaged", "loss.weight", "head.2.bias", "queue"])),
    counters=some.booleans(),
)
def test_any_nesting_of_wrappers_is_understood(before, inside, beside, counters):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.Linear(4, 2)))
    wrapped = {
        "".join(before) + name.replace("2.", f"2.{inside}"): name
        for name in network.state_dict()
        if counters or not name.endswith("num_batches_tracked")
    }
    apart = any(not name.startswith("_") for name in before)  # what has no name before it belongs to the network
    found = torchvision_networks.names_in(network, [*(beside if apart else ()), *wrapped], Path("model.pth"))
    assert found == wrapped


def test_a_network_that_is_in_a_file_twice_is_refused():
    network = torchvision_networks.make_whole("squeezenet1_1", classes=3)
    names = [f"{prefix}{name}" for prefix in ("student.", "teacher.") for name in network.state_dict()]
    message = r"several times, with student\.features\.0\.weight and teacher\.features\.0\.weight"
    with pytest.raises(InputError, match=message):
        torchvision_networks.names_in(network, names, Path("model.pth"))


def test_heads_that_only_training_uses_are_left_out():
    from torchvision import models as published

    whole = published.inception_v3(weights=None, num_classes=3, init_weights=False)
    network = torchvision_networks.make_whole("inception_v3", classes=3)
    torchvision_networks.fill(network, whole.state_dict(), Path("model.pth"))
    inputs = torch.rand(1, 3, 80, 80)
    assert torch.equal(network.eval()(inputs), whole.eval()(inputs))
    torchvision_networks.as_published(network)
    assert not torch.equal(network(inputs), whole(inputs))


def test_weights_of_another_network_are_refused_by_the_first_tensor(tmp_path):
    torch.save(torchvision_networks.make_whole("resnet18", classes=5).state_dict(), tmp_path / "weights.pth")
    network = torchvision_networks.make_whole("resnet18", classes=4)
    with pytest.raises(InputError, match=r"at fc\.weight it holds \(5, 512\), the network needs \(4, 512\)"):
        torchvision_networks.load_weights(network, tmp_path / "weights.pth")
