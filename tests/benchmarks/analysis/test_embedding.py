"""Which image is most like another, and by which network."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

import benchmarks.torchvision_cpu  # noqa: F401  must come before torchvision
from benchmarks import models
from benchmarks.analysis import embedding
from benchmarks.data.augmentation import Augmentation
from benchmarks.data.dataset import Dataset, Split
from benchmarks.errors import InputError
from benchmarks.seeds import generator


@pytest.fixture(scope="module")
def data() -> Dataset:
    images = torch.randint(256, (30, 1, 8, 8), generator=generator("embedding"), dtype=torch.uint8)
    split = Split(images, torch.zeros(30, dtype=torch.int64))
    return Dataset("noise", ("a", "b"), split, split, split, (127.0,), (74.0,), Augmentation(1, False), "A test.")


@pytest.fixture
def empty_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path


def test_the_nearest_is_the_one_at_the_smallest_distance():
    edited = torch.tensor([[0.0, 0.0], [5.0, 5.0]], dtype=torch.float64)
    others = torch.tensor([[3.0, 4.0], [4.0, 4.5], [-1.0, 1.0]], dtype=torch.float64)
    assert embedding.nearest(edited, others).tolist() == [2, 1]


def test_pooled_features_are_what_the_last_layer_is_given(data):
    torch.manual_seed(0)
    model = models.make("resnet18", channels=1, classes=2, width=4).train()
    inputs = data.inputs(data.test.images)
    features = embedding.pooled_features(model, inputs)
    assert features.shape == (30, 32)
    expected = model.eval()(inputs)
    torch.testing.assert_close(model.head.linear(features), expected)
    torch.testing.assert_close(embedding.embedding("pooled", model, data)(data.test.images), features)


def test_pixels_are_compared_as_they_are(data):
    embed = embedding.embedding("pixels", nn.Linear(1, 1), data)
    found = embed(data.test.images)
    torch.testing.assert_close(found, data.test.images.reshape(30, 64) / 255)
    brighter = (data.test.images[7:8].int() + 1).clamp(max=255).to(torch.uint8)
    assert embedding.nearest(embed(brighter), found).tolist() == [7]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Conv2d(1, 1, 3)), "^Sequential has no linear layer"),
        (nn.Sequential(nn.Linear(8, 2)), "^the last layer of Sequential is not given one row of features"),
    ],
)
def test_a_model_without_pooled_features_is_refused(data, model, message):
    with pytest.raises(InputError, match=message):
        embedding.pooled_features(model, data.inputs(data.test.images))


def test_auto_is_the_substitute_where_the_weights_are_missing(empty_hub, data):
    assert embedding.chosen("auto") == "pooled"
    path = embedding.inception_weights()
    assert path.is_relative_to(empty_hub)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not weights")
    assert embedding.chosen("auto") == "inception_v3"
    with pytest.raises(InputError, match="truncated or not the published file"):
        embedding.embedding("auto", nn.Linear(1, 1), data)


def test_what_is_missing_or_unknown_is_named(empty_hub, data):
    with pytest.raises(InputError, match=r"inception_v3_google-\w+\.pth is missing.*choose the embedding 'pooled'"):
        embedding.embedding("inception_v3", nn.Linear(1, 1), data)
    with pytest.raises(InputError, match="^the embedding must be auto, inception_v3, pooled or pixels, not 'vgg'$"):
        embedding.chosen("vgg")


@pytest.mark.slow
def test_inception_gives_its_pooled_features_whatever_the_size_and_colour(tmp_path, data):
    from torchvision.models import inception_v3

    torch.manual_seed(0)
    network = inception_v3(weights=None, init_weights=False, transform_input=True).eval()
    safetensors.torch.save_file(network.state_dict(), tmp_path / "weights.safetensors")
    embed = embedding.inception(tmp_path / "weights.safetensors", torch.device("cpu"))
    grey = torch.full((2, 1, 8, 8), 124, dtype=torch.uint8)
    found = embed(grey)
    assert found.shape == (2, 2048)
    colour = torch.tensor([124 / 255 - mean for mean in (0.485, 0.456, 0.406)]) / torch.tensor([0.229, 0.224, 0.225])
    network.fc = torch.nn.Identity()
    with torch.no_grad():
        expected = network(colour[None, :, None, None].expand(2, 3, 299, 299))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5 * float(expected.max()))
    assert (embed(data.test.images[:1]) - found[:1]).abs().max() > 0.1 * found.max()
