"""Trained translators as files, and which corpus they belong to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from baselines.model_files import DESCRIPTION, load_weights
from baselines.model_files import WEIGHTS as WEIGHTS
from benchmarks.errors import InputError
from benchmarks.translation.corpus import Corpus
from benchmarks.translation.model import Architecture, Translator


@dataclass(frozen=True)
class TranslatorDescription:
    """What a folder of weights holds.

    :ivar architecture: as :class:`benchmarks.translation.model.Architecture` takes it.
    :ivar training: the name of the training, as in tables.
    :ivar epoch: the epoch that was kept, counted from 1, of ``epochs``; ``valid_loss`` its nats per token.
    :ivar corpus: fingerprint of the corpus it was trained on, vocabularies included.
    :ivar fingerprint: of all that the model follows from, code included.
    """

    architecture: dict[str, Any]
    training: str
    epoch: int
    epochs: int
    valid_loss: float
    corpus: str
    fingerprint: str = ""


def read_description(folder: Path) -> TranslatorDescription:
    """What ``save_model`` wrote beside the weights in ``folder``.

    :raises InputError: if it is missing or describes no translator.
    """
    path = folder / DESCRIPTION
    try:
        return TranslatorDescription(**json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: train the model first") from error
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} does not describe a translator ({error}): train it again") from error


def load_translator(folder: Path, corpus: Corpus, device: torch.device | str = "cpu") -> Translator:
    """The model in ``folder``, in evaluation mode.

    :raises InputError: if it is missing, broken, or was trained with the vocabularies of another run.
    """
    description = read_description(folder)
    if description.corpus != corpus.fingerprint:
        raise InputError(
            f"{folder} was trained on another corpus than the one prepared, or its vocabulary: train again"
        )
    model = Translator(Architecture(**description.architecture), corpus.source, corpus.target)
    load_weights(model, folder / WEIGHTS)
    return model.to(device).eval()
