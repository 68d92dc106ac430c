"""Parameter files as text: YAML as DVC reads it, ``extends``, and what is wrong with a file as one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from benchmarks.errors import InputError
from pipelines.config.names import check_known

EXTENDS = "extends"
_REMOVABLE = ("trainings", "editors")
_KINDS = ("dataset", "recipe")
_FOUND = ("too_short", "too_long", "union_tag_invalid", "union_tag_not_found")
"""Mistakes of which pydantic's own words say what was found."""


def read(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file (1.2: ``1e-4`` is a number, and a key given twice is an error).

    :raises InputError: if it is missing or not YAML.
    """
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; run this in the repository's root, or give --params") from error
    except (OSError, ValueError, RecursionError, YAMLError) as error:
        raise InputError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        found = "nothing" if content is None else f"a {type(content).__name__}"
        raise InputError(f"{path} must hold keys and values, found {found}")
    return content


def read_extended(path: Path) -> dict[str, Any]:
    """A file's content on top of that of the file beside it which it ``extends``, and so on.

    Blocks are merged key by key, lists are replaced, and so is a block that names another ``dataset`` or ``recipe``; in
    ``trainings`` and ``editors``, null takes an entry away.

    :raises InputError: for a file that is missing or not YAML, and for files that extend each other.
    """
    content = _extended(path, ())
    for block in _REMOVABLE:
        if isinstance(content.get(block), dict):
            content[block] = {name: value for name, value in content[block].items() if value is not None}
    return content


def _extended(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """A file on top of what it extends; ``above`` are the files that extend it."""
    content = read(path)
    base = content.pop(EXTENDS, None)
    if base is None:
        return content
    check_known(f"{path}: {EXTENDS}", base, sorted(other.stem for other in path.parent.glob("*.yaml")), "there are")
    parent = path.with_name(f"{base}.yaml")
    if parent in (path, *above):
        raise InputError(f"{path}: {EXTENDS}: {base} extends this file in turn")
    return _merged(_extended(parent, (path, *above)), content)


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        merged[key] = _merged(base[key], value) if _alike(base.get(key), value) else value
    return merged


def _alike(base: Any, changes: Any) -> bool:
    """Whether two values are blocks about the same thing, of which one changes the other."""
    if not (isinstance(base, dict) and isinstance(changes, dict)):
        return False
    return all(changes.get(kind, base.get(kind)) == base.get(kind) for kind in _KINDS if kind in base)


def sentence(error: ValidationError, content: dict[str, Any]) -> str:
    """The first mistake of a block: the path to the key, what is wrong with it, and what was found.

    :param content: what was read.
    """
    errors = error.errors()
    first = errors[0]
    where = ".".join(_keys(first["loc"], content))
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    if first["type"] == "value_error":
        return " ".join(f"{where}{': ' if where else ''}{first['ctx']['error']}{more}".split())
    if first["type"] == "missing":
        return f"{where}{'.' if where else ''}{first['loc'][-1]} is missing{more}"
    said = first["msg"].removeprefix("Input ")
    found = "" if first["type"] in _FOUND else f", not {first['input']!r}"
    return f"{where}{' ' if said != first['msg'] else ': '}{said}{found}{more}"


def _keys(path: tuple[int | str, ...], content: Any) -> Iterator[str]:
    """Of pydantic's path to a mistake the parts that are in the file; a union's tag, say, is not."""
    for part in path:
        if isinstance(content, list) or (isinstance(content, dict) and part in content):
            content = content[part]
            yield str(part)
