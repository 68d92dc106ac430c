"""In which terms a training differs from the paper's wording, in few words: the footnotes of its rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipelines.config.trainings import TrainingSettings

_TOLD_ELSEWHERE = {
    *("recipe", "epochs", "batch_size", "lr", "lr_new", "schedule", "optimizer"),
    *("architecture", "options", "start", "teacher", "network", "weights", "k", "editor", "layers"),
    *("c_edit", "c_loc", "hyperparameters", "targets"),
}
"""How long and how fast, what is trained, and what a training's name or a table's caption says."""


def note(name: str, training: TrainingSettings) -> str:
    """Its terms that are not the defaults, such as ``trained with reference_mode train, clip_norm 10``; else nothing.

    :param name: the training's; weights of the terms that it holds are not said again.
    """
    terms = [*_weights(name, training), *_terms(training), *_start(training)]
    return f"trained with {', '.join(terms)}" if terms else ""


def _weights(name: str, training: TrainingSettings) -> Iterator[str]:
    """c_edit and c_loc, which have no default, unless they are the one number in the name."""
    both = [getattr(training, term, None) for term in ("c_edit", "c_loc")]
    if None not in both and (both[0] != both[1] or f"{both[0]:g}" not in name.split("-")):
        yield from (f"{term} {value:g}" for term, value in zip(("c_edit", "c_loc"), both, strict=True))


def _terms(training: TrainingSettings) -> Iterator[str]:
    for term, field in type(training).model_fields.items():
        value = getattr(training, term)
        if term not in _TOLD_ELSEWHERE and value != field.get_default(call_default_factory=True):
            yield f"{term} {_shown(value)}"


def _start(training: TrainingSettings) -> Iterator[str]:
    """Where the editor's hyperparameters start, or stay."""
    fixed = ["lr"] if getattr(training, "learning_rate", "") == "fixed" else []
    for name, value in getattr(training, "hyperparameters", {}).items():
        yield f"{name} {'' if name in fixed else 'from '}{value:g}"


def _shown(value: Any) -> str:
    if isinstance(value, bool | str):
        return str(value).lower()
    return " ".join(map(str, value)) if isinstance(value, list) else f"{value:g}"
