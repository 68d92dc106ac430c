"""Which code a result follows from: a hash that changes with what a file does, not with how it is written down."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_hash(path: Path | str) -> str:
    """SHA-256 of a Python file without comments, docstrings and layout, so that a better sentence remakes nothing.

    :raises FileNotFoundError: if there is none.
    """
    return _hash(Path(path).read_bytes())


@cache
def _hash(source: bytes) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED):
            node.body = [one for one in node.body if not _says_something(one)] or [ast.Pass()]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()


def _says_something(statement: ast.stmt) -> bool:
    """Whether a statement is a text and nothing more: a docstring, or what stands below a name to explain it."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
