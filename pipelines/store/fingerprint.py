"""What decides that a result is up to date: a fingerprint of data, settings and code, kept beside the result.

Code counts by what it computes: the files that a result follows from are found by their imports, and of each the syntax
tree counts without comments, docstrings, type hints, and what is only said to a person. A module that decides no number
(how files are written, exceptions, registries) says so itself, by ``FINGERPRINTED = False``.
"""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.errors import InputError
from benchmarks.files import file_hash, write_atomically
from pipelines.store.layout import read_json

MADE_OF = "made_of.json"
"""Beside results of several files: the fingerprint that all of them have."""
_FINGERPRINT = "fingerprint"
_ROOT = Path(__file__).parents[2]
_ROOMS = ("editors", "benchmarks", "baselines")


def fingerprint(described: Sequence[Any], code: Iterable[Path | str], files: Iterable[Path] = ()) -> str:
    """A hash of all that a result follows from.

    :param described: settings, seeds, names: whatever ``json`` can say, or ``str``.
    :param code: Python files that decide it; what they import from the rooms below pipelines/ counts as well.
    :param files: data and weights.
    :raises InputError: for a file that is missing.
    """
    digest = hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode())
    for path in with_imports(code):
        digest.update(code_hash(path).encode())
    for path in dict.fromkeys(files):
        digest.update(made_hash(path).encode())
    return digest.hexdigest()


def made_hash(path: Path) -> str:
    """SHA-256 of a file that a stage makes.

    :raises InputError: if it is missing.
    """
    try:
        return file_hash(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: run the stage that makes it first") from error


def write_made_of(path: Path, found: str) -> None:
    """Write the fingerprint of the files beside ``path``, once they are complete."""
    write_atomically(path, json.dumps({_FINGERPRINT: found}) + "\n")


def is_made_of(path: Path, wanted: str, *others: Path) -> bool:
    """Whether the JSON file ``path``, and with it the ``others``, are there and have the fingerprint ``wanted``."""
    return read_json(path).get(_FINGERPRINT) == wanted and all(one.exists() for one in others)


def drop_unless_made_of(folder: Path, wanted: str) -> None:
    """Empty a folder of unfinished work that other code or settings began; what comes next has this fingerprint."""
    if not is_made_of(folder / MADE_OF, wanted):
        shutil.rmtree(folder, ignore_errors=True)
        write_made_of(folder / MADE_OF, wanted)


def code_hash(path: Path | str) -> str:
    """SHA-256 of what a Python file computes.

    A walk over the tree: ``ast.unparse`` and ``ast.dump`` differ between versions of Python, and a model that was
    trained elsewhere should not be trained again.

    :raises FileNotFoundError: if there is none.
    """
    return _hash(Path(path).read_bytes())


def with_imports(files: Iterable[Path | str]) -> list[Path]:
    """Those files, and all of the rooms below pipelines/ that they import or that what they import does.

    Found by reading, imports within functions included; what is looked up by name, such as an editor's method or an
    architecture, must be among ``files``.
    """
    found: dict[Path, None] = {}
    waiting = [Path(file) for file in files]
    while waiting:
        path = waiting.pop(0)
        if path not in found and _counts(path.read_bytes()):
            found[path] = None
            waiting += [_ROOT / one for one in _imported(path.read_bytes(), path.parent) if one.parts[0] in _ROOMS]
    return list(found)


@cache
def _hash(source: bytes) -> str:
    return hashlib.sha256(repr(_plain(ast.parse(source))).encode()).hexdigest()


def _plain(node: object) -> object:
    """A syntax tree as lists and texts, of what computes; fields without content are left out, as newer versions of
    Python have more of them.
    """
    if isinstance(node, list):
        return [_plain(one) for one in node if not (isinstance(one, ast.stmt) and _only_says(one))]
    if not isinstance(node, ast.AST):
        return repr(node)
    if isinstance(node, ast.Raise):
        return ["Raise"]
    hints = ("annotation", "returns", "type_params")
    fields = [(name, value) for name, value in ast.iter_fields(node) if name not in hints]
    fields = [(name, value) for name, value in fields if name == "value" or value not in (None, [])]
    return [type(node).__name__, *((name, _plain(value)) for name, value in fields)]


def _only_says(statement: ast.stmt) -> bool:
    """Whether a statement is a text, such as a docstring, or a ``print``."""
    if not isinstance(statement, ast.Expr):
        return False
    said = statement.value
    if isinstance(said, ast.Call) and isinstance(said.func, ast.Name):
        return said.func.id == "print"
    return isinstance(said, ast.Constant) and isinstance(said.value, str)


@cache
def _counts(source: bytes) -> bool:
    """Whether a module says nothing of itself, or that it does decide numbers."""
    assigned = [node for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    return not any(
        isinstance(target, ast.Name) and target.id == "FINGERPRINTED" and ast.literal_eval(node.value) is False
        for node in assigned
        for target in node.targets
    )


@cache
def _imported(source: bytes, folder: Path) -> tuple[Path, ...]:
    """The files of this repository that a file of ``folder`` names in its imports, relative to the repository."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = ".".join([*_package(folder, node.level), *([node.module] if node.module else [])])
            names += [module, *(f"{module}.{alias.name}" for alias in node.names)]
    paths = [Path(*name.split(".")) for name in names]
    files = [file for path in paths for file in (path.with_suffix(".py"), path / "__init__.py")]
    return tuple(dict.fromkeys(file for file in files if (_ROOT / file).is_file()))


def _package(folder: Path, level: int) -> tuple[str, ...]:
    """The package that an import with so many dots starts from; none without dots, or outside of this repository."""
    if not level or not folder.is_relative_to(_ROOT):
        return ()
    parts = folder.relative_to(_ROOT).parts
    return parts[: len(parts) - level + 1]
