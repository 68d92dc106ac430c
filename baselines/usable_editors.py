"""Which editors a network can be prepared for."""

from __future__ import annotations

import editors
from benchmarks.errors import InputError


def check_usable(name: str, editor: editors.Editor) -> None:
    """:raises InputError: for an ``editor`` of that name through whose edits no network can be trained, of any kind."""
    if not _usable(editor):
        descends = isinstance(editor, editors.DescentEditor)
        fault = "needs statistics of a trained model" if descends else "is not differentiable"
        allowed = ", ".join(one for one in editors.available() if _usable(editors.build(one)))
        raise InputError(
            f"editor {name!r} {fault}: Editable Training takes those that follow nothing but the gradient "
            f"of the edit's own loss: {allowed}"
        )


def _usable(editor: editors.Editor) -> bool:
    """Whether a network can be trained through its edits: there are no statistics of a model that still changes."""
    return isinstance(editor, editors.DescentEditor) and not editor.needs_statistics
