"""Descriptors of edits: the effect of each on every image of a split (section 4.2), made in shards, kept as files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

import editors
from benchmarks.errors import InputError
from benchmarks.files import atomic_path
from benchmarks.scoring.scorer import Scorer, kl


@dataclass(frozen=True, eq=False)
class Descriptors:
    """The effects of E edits of one model on the N control images, which are of C classes.

    :ivar kl: float32 ``(E, N)``, KL(p(y|x,θ) ‖ p(y|x,θ̂)) in nats: row e is the descriptor of edit e. All zero where
        nothing was changed, not a number where the edit diverged.
    :ivar wrong_change: int64 ``(E, C)``, images of each true class that are misclassified after the edit, less those
        that were before; ``edited_wrong_change (E,)`` is the edited image's own part in it: -1, 0 or 1.
    :ivar labels: int64 ``(E,)``, true class of the edited image; ``predicted`` the model's answer before the edit,
        ``targets`` the wanted one.
    """

    kl: Tensor
    wrong_change: Tensor
    edited_wrong_change: Tensor
    labels: Tensor
    predicted: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.kl)


def describe(scorer: Scorer, editor: editors.Editor, rows: Sequence[int], classes: int) -> Descriptors:
    """Carry out the requests ``rows`` and describe their effects on every image of the split; all on the CPU."""
    edits, _ = scorer.edit(editor, rows)
    labels, wrong_before = scorer.labels, scorer.before.labels != scorer.labels
    numbers = torch.as_tensor(list(rows))
    images = scorer.requests.images[numbers].to(labels.device)
    divergences, changes = [], []
    for edit in edits:
        after = scorer.after(edit)
        divergences.append(torch.zeros(len(labels)) if edit.unchanged else kl(scorer.before, after).cpu())
        changes.append((after.labels != labels).long() - wrong_before.long())
    change = torch.stack(changes)
    per_class = torch.zeros(len(edits), classes, dtype=torch.int64, device=labels.device)
    found = Descriptors(
        kl=torch.stack(divergences),
        wrong_change=per_class.index_add_(1, labels, change),
        edited_wrong_change=change.gather(1, images[:, None])[:, 0],
        labels=labels[images],
        predicted=scorer.before.labels[images],
        targets=scorer.requests.targets[numbers],
    )
    return Descriptors(**{name: value.cpu() for name, value in _tensors(found).items()})


def join(parts: Sequence[Descriptors]) -> Descriptors:
    """The edits of several shards, one after the other."""
    names = [field.name for field in fields(Descriptors)]
    return Descriptors(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


def save(descriptors: Descriptors, path: Path, fingerprint: str) -> None:
    """Write one safetensors file, atomically; ``fingerprint`` says what it was made from."""
    with atomic_path(path) as temporary:
        safetensors.torch.save_file(_tensors(descriptors), temporary, metadata={"fingerprint": fingerprint})


def load(path: Path, fingerprint: str) -> Descriptors | None:
    """The descriptors that :func:`save` wrote; None if there is no such file, or one made from something else.

    :raises InputError: if the file cannot be read.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("fingerprint") != fingerprint:
                return None
            return Descriptors(**{field.name: file.get_tensor(field.name) for field in fields(Descriptors)})
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} does not hold readable descriptors: remove it and analyse again") from error


def _tensors(descriptors: Descriptors) -> dict[str, Tensor]:
    return {field.name: getattr(descriptors, field.name).contiguous() for field in fields(descriptors)}
