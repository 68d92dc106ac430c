"""The patch command in this process, and models and images to try it on."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
from PIL import Image

import benchmarks.torchvision_cpu  # noqa: F401  must come before torchvision
from baselines.model_files import ModelDescription, load_model, save_model
from benchmarks import datasets, models
from benchmarks.data import dataset, image_files
from benchmarks.models import torchvision_networks
from benchmarks.networks.model_split import activations
from benchmarks.patching import checkpoint_files
from benchmarks.seeds import generator
from pipelines import command
from pipelines.patch import apply, patch, remove


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@dataclass(frozen=True)
class Ended:
    code: int
    output: str
    errors: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """The command with arguments, in this process."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["pipelines.patch", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            command.run(patch, apply, remove)
        said = capsys.readouterr()
        return Ended(int(end.value.code or 0), said.out, said.err)

    return run


def succeed(ended: Ended) -> Ended:
    assert ended.code == 0, ended.errors
    return ended


def refused(ended: Ended, *words: str) -> None:
    assert ended.code == 2, ended
    assert ended.errors.startswith("error: ")
    assert ended.errors.count("\n") == 1, ended.errors
    for word in words:
        assert word in ended.errors


def files_below(folder: Path) -> dict[str, object]:
    """What every file holds; of large ones, which take long to read, whether they were written to."""
    found: dict[str, object] = {}
    for path in (path for path in folder.rglob("*") if path.is_file()):
        about = path.stat()
        small = about.st_size < 1_000_000
        found[str(path)] = path.read_bytes() if small else (about.st_size, about.st_mtime_ns, about.st_ino)
    return found


# A model of the suite, and torchvision's ResNet-18 with random weights


@pytest.fixture(scope="session")
def trained_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, its data, and its test images as files in class folders; not to be written to.

    The model is random but for its statistics and its last layer, which is solved by least squares.
    """
    folder, options = tmp_path_factory.mktemp("trained"), {"width": 8}
    data = datasets.make("digits", tuning_size=60, test_size=60)
    dataset.save(data, folder / "data/digits")
    image_files.write(data.test, data.classes, folder / "control")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = models.make("resnet18", channels=1, classes=10, **options)
    inputs, wanted = data.inputs(data.train.images), torch.eye(10)[data.train.labels]
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model(inputs)
        model.eval()
        linear, seen = model.get_submodule("head.linear"), []
        handle = linear.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
        activations(model, inputs)
        handle.remove()
        features = torch.cat([torch.cat(seen), torch.ones(len(inputs), 1)], dim=1)
        solved = torch.linalg.lstsq(features, 10 * wanted).solution
        linear.weight.copy_(solved[:-1].T)
        linear.bias.copy_(solved[-1])
    description = ModelDescription("resnet18", options, 1, 10, "plain", 1, 1, 0.0, data.fingerprint())
    save_model(folder / "models/digits/plain", model, description)
    return folder


@pytest.fixture
def digits(trained_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same in a folder of the test's own, which is the working directory."""
    shutil.copytree(trained_digits, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answers(model: str) -> torch.Tensor:
    data = dataset.load("data/digits")
    with torch.no_grad():
        return load_model(model)[0](data.inputs(data.test.images)).argmax(dim=1)


def a_mistake() -> tuple[int, str, int]:
    """Number, file and true class of a test image that the trained model gets wrong."""
    data = dataset.load("data/digits")
    number = int((answers("models/digits/plain") != data.test.labels).nonzero()[0])
    label = int(data.test.labels[number])
    return number, f"control/{label}/{number:02d}.png", label


@pytest.fixture(scope="module")
def random_resnet18(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("torchvision") / "model.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(torchvision_networks.make_whole("resnet18", classes=4).state_dict(), path)
    return path


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, random_resnet18: Path) -> Path:
    """A folder with a checkpoint of ResNet-18 for 4 classes and colour images."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(random_resnet18, "model.pth")
    Path("images").mkdir()
    noise = torch.randint(256, (6, 40, 32, 3), generator=generator("pictures")).to(torch.uint8)
    for number, image in enumerate(noise):
        Image.fromarray(image.numpy()).save(f"images/{number}.png")
    Path("classes.txt").write_text("\n".join(CLASSES))
    return tmp_path


CLASSES = ("cat", "dog", "cow", "fish")
RESNET18 = ("--model", "model.pth", "--architecture", "resnet18", "--size", 32, "--classes", "classes.txt")


def answer_of(path: str, image: str, size: int = 32) -> int:
    """torchvision's own module on torchvision's own preprocessing."""
    network = torchvision_networks.make_whole("resnet18", classes=4).eval()
    network.load_state_dict(checkpoint_files.read(path))
    transform = torchvision_networks.published("resnet18").transforms(crop_size=size, resize_size=size)
    with torch.no_grad():
        return int(network(transform(Image.open(image))[None]).argmax())


@cache
def other_class(image: str) -> str:
    """A class that the unpatched model does not answer; image and model are the same in all tests."""
    return CLASSES[(answer_of("model.pth", image) + 1) % 4]
