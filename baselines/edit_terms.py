"""Settings of Editable Training that are the same for classifiers and translators, and their checks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import editors
from benchmarks.errors import InputError

FINGERPRINTED = False  # decides no number


@dataclass(frozen=True, kw_only=True)
class EditWeights:
    """The weights of ``L_edit`` and ``L_loc`` beside the base loss in objective (2).

    :raises InputError: for one that is no number >= 0.
    """

    c_edit: float
    c_loc: float

    def __post_init__(self) -> None:
        for name in ("c_edit", "c_loc"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} must be a number >= 0, not {getattr(self, name)!r}")


@dataclass(frozen=True, kw_only=True)
class EditorTerms:
    """The editor that a network is prepared for, and what it edits.

    :ivar editor: name of a registered gradient-following editor.
    :ivar layers: what it changes, ``all`` for everything.
    :ivar max_steps: k, the most gradient steps of one edit.
    :ivar hyperparameters: where they start; those not named start at the editor's defaults.
    """

    editor: str
    layers: str
    max_steps: int = 10
    hyperparameters: Mapping[str, float] = field(default_factory=dict)

    def build(self) -> editors.Editor:
        """The editor with the hyperparameters it starts with.

        :raises editors.EditError: for an unknown name or hyperparameter.
        :raises InputError: for an editor through whose edits no network can be trained.
        """
        editor = editors.build(self.editor, **self.hyperparameters, max_steps=self.max_steps)
        if not _usable(editor):
            descends = isinstance(editor, editors.DescentEditor)
            fault = "needs statistics of a trained model" if descends else "is not differentiable"
            allowed = ", ".join(one for one in editors.available() if _usable(editors.build(one)))
            raise InputError(
                f"editor {self.editor!r} {fault}: Editable Training takes those that follow nothing but the gradient "
                f"of the edit's own loss: {allowed}"
            )
        return editor


def _usable(editor: editors.Editor) -> bool:
    """Whether a network can be trained through its edits: there are no statistics of a model that still changes."""
    return isinstance(editor, editors.DescentEditor) and not editor.needs_statistics
