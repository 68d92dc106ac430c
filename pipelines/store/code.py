"""Which code a result follows from: files by their imports, and of each the syntax tree without what only explains."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Collection, Iterable
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


def with_imports(files: Iterable[Path], rooms: Collection[str]) -> list[Path]:
    """Those files, and all of ``rooms`` (``editors``, …) that they import or that what they import does.

    Found by reading, imports within functions included; what is looked up by name, such as an editor's method or an
    architecture, must be among ``files``. What never changes a result is left out.
    """
    found: dict[Path, None] = {}
    waiting = list(files)
    while waiting:
        path = waiting.pop(0)
        if path not in found:
            found[path] = None
            imported = [one for one in _imported(path.read_bytes()) if one.parts[0] in rooms]
            waiting += [_ROOT / one for one in imported if one.as_posix() not in _NEVER]
    return list(found)


_ROOT = Path(__file__).parents[2]
_NEVER = ("baselines/checkpointing.py", "baselines/edit_terms.py", "benchmarks/errors.py", "benchmarks/files.py")
"""Where a killed training goes on, exceptions, and how files are written."""


@cache
def _imported(source: bytes) -> tuple[Path, ...]:
    """The files of this repository that a file names in its imports, relative to the repository."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    paths = [Path(*name.split(".")) for name in names]
    files = [file for path in paths for file in (path.with_suffix(".py"), path / "__init__.py")]
    return tuple(dict.fromkeys(file for file in files if (_ROOT / file).is_file()))
