"""Embeddings of images by a network, and the nearest of some images (section 4.3.1)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import benchmarks.torchvision_cpu  # noqa: F401  must come before torchvision
from benchmarks.data.dataset import Dataset
from benchmarks.errors import InputError
from benchmarks.models.torchvision_networks import load_weights
from benchmarks.networks.model_split import activations

INCEPTION, POOLED, PIXELS = "inception_v3", "pooled", "pixels"
_SIZE = 299  # of InceptionV3's images
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision's weights expect
_CHUNK = 50

Embedding = Callable[[Tensor], Tensor]
"""From raw images ``(N, C, H, W)`` to ``(N, d)``."""


def chosen(name: str) -> str:
    """The name of an embedding; for ``auto``, of the one that it stands for on this machine.

    :param name: ``inception_v3``, by torchvision's InceptionV3 with its published weights; ``pooled``, by what reaches
        the last layer of a model, to which a mistake is most like the class it is mistaken for; ``pixels``, by the
        images themselves, which does for small ones; ``auto``, InceptionV3 if its weights are here, else ``pooled``.
    :raises InputError: for another name.
    """
    if name not in ("auto", INCEPTION, POOLED, PIXELS):
        raise InputError(f"the embedding must be auto, {INCEPTION}, {POOLED} or {PIXELS}, not {name!r}")
    if name == "auto":
        return INCEPTION if inception_weights().exists() else POOLED
    return name


def embedding(name: str, model: nn.Module, dataset: Dataset) -> Embedding:
    """The embedding of a :func:`chosen` name.

    :raises InputError: for weights that are missing or broken.
    """
    device, name = next(model.parameters()).device, chosen(name)
    if name == PIXELS:
        return lambda images: images.to(device).flatten(1) / 255
    if name == POOLED:
        return lambda images: pooled_features(model, dataset.inputs(images.to(device)))
    path = inception_weights()
    if not path.exists():
        raise InputError(f"{path} is missing: put torchvision's weights there, or choose the embedding {POOLED!r}")
    return inception(path, device)


def nearest(edited: Tensor, others: Tensor) -> Tensor:
    """For each of ``edited (N, d)``, the position ``(N,)`` of the nearest (Euclidean) of ``others (M, d)``."""
    exact = "donot_use_mm_for_euclid_dist"  # the fast way may swap two that are nearly as near
    return torch.cdist(edited, others, compute_mode=exact).argmin(dim=1)


def inception_weights() -> Path:
    """The path of InceptionV3's weights in torch hub's cache."""
    from torchvision.models import Inception_V3_Weights

    url = Inception_V3_Weights.IMAGENET1K_V1.url
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def inception(weights: Path, device: torch.device) -> Embedding:
    """The 2,048 pooled features of InceptionV3 with the weights in a file (Szegedy et al. 2015).

    Images are scaled to 299 x 299 pixels; grey ones are given three equal channels.

    :raises InputError: naming the file, if it does not hold them.
    """
    from torchvision.models import inception_v3

    network = inception_v3(weights=None, init_weights=False, transform_input=True, aux_logits=False)
    load_weights(network, weights)
    network.fc = nn.Identity()
    network = network.to(device).eval()
    mean, std = torch.tensor([_MEAN, _STD], device=device)[:, :, None, None]

    def embed(images: Tensor) -> Tensor:
        found = []
        for part in images.split(_CHUNK):
            scaled = F.interpolate(part.to(device).float() / 255, (_SIZE, _SIZE), mode="bilinear", antialias=True)
            found.append(activations(network, (scaled.expand(-1, len(_MEAN), -1, -1) - mean) / std))
        return torch.cat(found)

    return embed


def pooled_features(model: nn.Module, inputs: Tensor) -> Tensor:
    """The inputs ``(N, d)`` of the last linear layer of ``model`` for ``inputs (N, ...)``, in evaluation mode.

    :raises InputError: for a model without one, or whose last one is not given a row for each input.
    """
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise InputError(f"{type(model).__name__} has no linear layer, so it has no pooled features")
    given: list[Tensor] = []
    hook = linear[-1].register_forward_pre_hook(lambda module, arguments: given.append(arguments[0].detach()))
    try:
        activations(model, inputs)
    finally:
        hook.remove()
    features = torch.cat(given)
    if features.dim() != 2 or len(features) != len(inputs):
        raise InputError(f"the last layer of {type(model).__name__} is not given one row of features for each input")
    return features
