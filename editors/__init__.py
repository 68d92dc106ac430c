"""Editors of trained networks: ``Edit(θ, l_e)``, for any ``torch.nn.Module``.

>>> import editors
>>> editor = editors.build("rmsprop", lr=1e-3, beta=0.5, max_steps=10)
>>> edit = editor.edit(model, inputs, editors.constraints.predicts(3), layers="chain3")
>>> edit.succeeded, edit.steps
(True, 2)
>>> patched = edit.apply(model)

The definitions are those of *Editable Neural Networks* (Sinitsin et al., ICLR 2020), section 3. This package knows
torch and nothing else of this project.
"""

from editors import constraints, views
from editors.backtracking import Backtracking
from editors.base import Edit, EditError, Editor, EditResult, Request
from editors.descent import DescentEditor
from editors.hyperparameters import FRACTION, NON_NEGATIVE, POSITIVE, Domain, Hyperparameter, hyperparameter
from editors.registry import available, build, describe, file_of, register

__all__ = [
    "FRACTION",
    "NON_NEGATIVE",
    "POSITIVE",
    "Backtracking",
    "DescentEditor",
    "Domain",
    "Edit",
    "EditError",
    "EditResult",
    "Editor",
    "Hyperparameter",
    "Request",
    "available",
    "build",
    "constraints",
    "describe",
    "file_of",
    "hyperparameter",
    "register",
    "views",
]
