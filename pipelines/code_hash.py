"""Which code a result follows from: a hash of a file's syntax tree, without what only explains it."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_hash(path: Path | str) -> str:
    """SHA-256 of a Python file without comments, docstrings and layout, so that a better sentence remakes nothing.

    A walk over the tree: ``ast.unparse`` and ``ast.dump`` differ between versions of Python, and a model that was
    trained elsewhere should not be trained again.

    :raises FileNotFoundError: if there is none.
    """
    return _hash(Path(path).read_bytes())


@cache
def _hash(source: bytes) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED):
            node.body = [one for one in node.body if not _says_something(one)] or [ast.Pass()]
    return hashlib.sha256(repr(_plain(tree)).encode()).hexdigest()


def _plain(node: object) -> object:
    """A syntax tree as lists and texts; fields without content are left out, as newer versions have more of them."""
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if name == "value" or value not in (None, [])]
        return [type(node).__name__, *((name, _plain(value)) for name, value in fields)]
    return [_plain(one) for one in node] if isinstance(node, list) else repr(node)


def _says_something(statement: ast.stmt) -> bool:
    """Whether a statement is a text and nothing more: a docstring, or what stands below a name to explain it."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
