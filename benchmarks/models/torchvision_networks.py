"""torchvision's classifiers by name, with their published weights, whole or as the parts that editing speaks of."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import benchmarks.torchvision_cpu  # noqa: F401  must come before torchvision
from benchmarks.errors import InputError
from benchmarks.files import file_hash
from benchmarks.models import register
from benchmarks.models.extra_layer import STARTS, with_extra_layer
from benchmarks.patching import checkpoint_files

CHANNELS = 3
_TWO_HEADED = ("googlenet", "inception_v3")  # with further heads, which only training uses; they are left out here
_FURTHER_HEADS = ("aux1.", "aux2.", "AuxLogits.")
_SUFFIXES = (".pth", ".pt", ".safetensors")
_COUNTER = "num_batches_tracked"
_HASH = re.compile(r"-([0-9a-f]{8,64})\.\w+$")
# What torch.compile, FSDP and activation checkpointing put into names.
_WRAPPERS = re.compile(r"\b(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# DenseNets were published before names could not hold dots.
_DOTTED = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.\w+)$")


@register("torchvision")
def torchvision_network(
    channels: int, classes: int, network: str, extra_width: int | None = None, extra_start: str = STARTS[0]
) -> nn.Module:
    """A network of torchvision's, untrained, as parts where they are known (see :func:`in_parts`).

    :param network: its name there, such as ``resnet18``.
    :param extra_width: hidden units of an extra layer before the last one (section 4.3); None for none.
    :param extra_start: see :class:`benchmarks.models.extra_layer.ExtraLayer`.
    :raises InputError: for an unknown name, or images that are not in colour.
    """
    check_colour(channels)
    whole = in_parts(make_whole(network, classes))
    return whole if extra_width is None else with_extra_layer(whole, extra_width, extra_start)


def check_colour(channels: int) -> None:
    """Refuse images that are not in colour.

    :raises InputError: naming the number of channels.
    """
    if channels != CHANNELS:
        raise InputError(f"torchvision's networks take {CHANNELS} colour channels, not {channels}")


@cache
def names() -> tuple[str, ...]:
    """The classifiers that torchvision has."""
    from torchvision import models

    return tuple(models.list_models(module=models))


def make_whole(name: str, classes: int) -> nn.Module:
    """torchvision's own module, untrained, with one head.

    :raises InputError: for an unknown name.
    """
    from torchvision import models

    _check_name(name)
    options = {"aux_logits": False, "init_weights": False} if name in _TWO_HEADED else {}
    return models.get_model(name, weights=None, num_classes=classes, **options)


def in_parts(network: nn.Module) -> nn.Module:
    """A ResNet or a DenseNet as ``stem``, ``chain1`` … ``chain4`` and ``head``, one after the other; others as given.

    The parts are the network's own modules, so they compute the same, bit by bit. A chain of a DenseNet is a
    dense block with the transition that follows it; of the fourth, the normalisation.
    """
    from torchvision.models import DenseNet, ResNet

    if type(network) is ResNet:
        stem = OrderedDict(conv=network.conv1, bn=network.bn1, relu=network.relu, pool=network.maxpool)
        chains = [network.layer1, network.layer2, network.layer3, network.layer4]
        head = OrderedDict(pool=network.avgpool, flatten=nn.Flatten(), linear=network.fc)
    elif type(network) is DenseNet:
        inner = network.features
        stem = OrderedDict(conv=inner.conv0, bn=inner.norm0, relu=inner.relu0, pool=inner.pool0)
        blocks = [(f"denseblock{number}", f"transition{number}") for number in (1, 2, 3)] + [("denseblock4", "norm5")]
        chains = [
            nn.Sequential(OrderedDict(block=inner.get_submodule(block), end=inner.get_submodule(end)))
            for block, end in blocks
        ]
        pooling = {"relu": nn.ReLU(), "pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
        head = OrderedDict(**pooling, linear=network.classifier)
    else:
        return network
    numbered = {f"chain{number}": chain for number, chain in enumerate(chains, start=1)}
    return nn.Sequential(OrderedDict(stem=nn.Sequential(stem), **numbered, head=nn.Sequential(head)))


def published(name: str, weights: str = "DEFAULT") -> Any:
    """torchvision's entry for published weights: ``url``, ``meta`` (with ``categories``) and ``transforms``.

    :raises InputError: for an unknown network or weights it does not have.
    """
    from torchvision import models

    _check_name(name)
    there = models.get_model_weights(name)
    try:
        return there[weights]
    except KeyError as error:
        raise InputError(
            f"torchvision has no weights {weights!r} of {name}, but {', '.join(there.__members__)}"
        ) from error


def pretrained(name: str, classes: int, weights: str = "DEFAULT") -> nn.Module:
    """Make a network, in parts where they are known, with published weights or those in a file.

    :param weights: torchvision's name of published weights, or a file, ``.pth``, ``.pt`` or ``.safetensors``.
    :raises InputError: if they cannot be had, or do not fit.
    """
    with torch.random.fork_rng(devices=[]):  # initial weights, which are replaced
        network = make_whole(name, classes)
    if weights.endswith(_SUFFIXES):
        load_weights(network, Path(weights))
    else:
        load_published(network, name, weights)
    return in_parts(network)


def load_published(network: nn.Module, name: str, weights: str = "DEFAULT") -> None:
    """Fill torchvision's own module with published weights, from torch hub's cache or downloaded to it.

    :raises InputError: if they cannot be had, or the file is not the published one.
    """
    url = published(name, weights).url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), hash_prefix=_HASH.search(url)[1], progress=False)
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"{url} could not be downloaded ({error}): get it elsewhere and put it at {path}"
            ) from error
    as_published(network)
    load_weights(network, path)


def as_published(network: nn.Module) -> None:
    """Let a network take inputs as its published weights do: some shift and scale their channels first."""
    if hasattr(network, "transform_input"):
        network.transform_input = True


def load_weights(network: nn.Module, path: Path) -> None:
    """Fill torchvision's own module with the weights in a file, checked against the hash in its name if it has one.

    :raises InputError: naming the file, if its hash is another one or its weights do not fit.
    """
    stated = _HASH.search(path.name)
    if stated is not None and path.is_file() and not file_hash(path).startswith(stated[1]):
        raise InputError(f"{path} is truncated or not the published file: its SHA-256 does not begin with {stated[1]}")
    fill(network, checkpoint_files.read(path), path)


def names_in(network: nn.Module, names: Iterable[str], path: Path) -> dict[str, str]:
    """The names that a network has for tensors of a file, by their names there, which may be old ones.

    What DataParallel, torch.compile, Lightning or a module around the network put before its names or into them is left
    out. Tensors outside of the network, and further heads that only training uses, are not among them.

    :raises InputError: naming ``path``, if the network is in it several times.
    """
    plain = {name: _DOTTED.sub(r"\1\2", _WRAPPERS.sub("", name)) for name in names}
    wanted = {name: None for name in network.state_dict() if not name.endswith(_COUNTER)}
    a_name = next(iter(wanted))
    prefixes = {"", *(name.removesuffix(a_name) for name in plain.values() if name.endswith(f".{a_name}"))}
    found = {prefix: len(wanted.keys() & _below(prefix, plain.values())) for prefix in prefixes}
    whole = sorted(prefix for prefix, count in found.items() if count == len(wanted))
    if len(whole) > 1:
        where = " and ".join(f"{prefix}{a_name}" for prefix in whole)
        raise InputError(f"{path} holds the network several times, with {where}: save the one that is meant alone")
    prefix = max(found, key=lambda prefix: (found[prefix], not prefix))
    inner = {name: known.removeprefix(prefix) for name, known in plain.items() if known.startswith(prefix)}
    return {name: known for name, known in inner.items() if not known.startswith(_FURTHER_HEADS)}


def _below(prefix: str, names: Iterable[str]) -> set[str]:
    return {name.removeprefix(prefix) for name in names if name.startswith(prefix)}


def fill(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> dict[str, str]:
    """Give a network the weights read from ``path``; counters of batches may be missing.

    :returns: what :func:`names_in` gives for them.
    :raises InputError: naming the file and the first tensor that does not fit.
    """
    names = names_in(network, tensors, path)
    found = {known: tensors[name] for name, known in names.items()}
    wanted = network.state_dict()
    for name in [*wanted, *found]:
        there = name in wanted and name in found and wanted[name].shape == found[name].shape
        if not there and not (name in wanted and name.endswith(_COUNTER)):
            has, needs = (tuple(some[name].shape) if name in some else "nothing" for some in (found, wanted))
            raise InputError(f"{path} does not fit the network: at {name} it holds {has}, the network needs {needs}")
    wanted.update(found)  # in place: some networks find the version of their weights in it
    network.load_state_dict(wanted)
    return names


def _check_name(name: str) -> None:
    if name not in names():
        raise InputError(f"torchvision has no classifier {name!r}; there are: {', '.join(names())}")
