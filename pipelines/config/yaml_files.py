"""params.yaml as text: YAML read as DVC reads it, and what is wrong with its content as one sentence."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from benchmarks.errors import InputError
from pipelines.config.trainings import TrainingSettings


def read(path: Path) -> dict[str, Any]:
    """The keys and values of a parameter file.

    :raises InputError: if it is missing or not YAML.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; run this in the repository's root, or give --params") from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        found = "nothing" if content is None else f"a {type(content).__name__}"
        raise InputError(f"{path} must hold keys and values, found {found}")
    return content


def sentence(error: ValidationError, schema: type[BaseModel]) -> str:
    """What is wrong first, with the path of the parameter, what was found and what ``schema`` allows.

    An unknown key comes before all else: a misspelt one is missing under its right name as well, which says less.
    """
    errors = error.errors()
    unknown = [found for found in errors if found["type"] == "extra_forbidden"]
    if unknown:
        return _unknown(unknown[0], errors, schema)
    first = errors[0]
    kind, where = first["type"], ".".join(_path(first["loc"], schema))
    others = _others(len(errors) - 1)
    if kind == "missing":
        return f"{where} is missing{others}"
    if kind == "union_tag_not_found":
        return f"{where}.{first['ctx']['discriminator'].strip(chr(39))} is missing{others}"
    if kind == "union_tag_invalid":
        context = first["ctx"]
        key = context["discriminator"].strip("'")
        return f"{where}.{key} must be one of {context['expected_tags']}, not {context['tag']!r}{others}"
    if kind == "value_error":
        return " ".join(f"{where}{': ' if where else ''}{first['ctx']['error']}{others}".split())
    # What is not in the table reads like "Input should be a valid integer, not ...".
    needs = _NEEDS[kind].format(**first.get("ctx", {})) if kind in _NEEDS else first["msg"].partition("should be ")[2]
    return f"{where} must be {needs}, not {first['input']!r}{others}"


_NEEDS = {
    "bool_type": "true or false",
    "dict_type": "a block of keys and values",
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than": "> {gt:g}",
    "greater_than_equal": ">= {ge:g}",
    "int_type": "a whole number",
    "invalid_key": "text",
    "less_than_equal": "<= {le:g}",
    "list_type": "a list",
    "literal_error": "one of {expected}",
    "model_attributes_type": "a block of keys and values",
    "model_type": "a block of keys and values",
    "string_pattern_mismatch": "a name of letters, digits, '_', '-' and '.'",
    "string_type": "text",
    "too_long": "at most {max_length} long",
    "too_short": "at least {min_length} long",
}
"""What pydantic's kinds of error say to someone who does not know it."""


def _unknown(first: Mapping[str, Any], errors: Sequence[Mapping[str, Any]], schema: Any) -> str:
    """What is said of a key that is not allowed where it stands, found by walking the schema."""
    where = ".".join(_path(first["loc"], schema))
    *block, key = first["loc"]
    for part in block:
        schema = _inside(schema, part)
    meant = difflib.get_close_matches(str(key), schema.model_fields, n=1)
    missed = [found for found in errors if found["type"] == "missing" and found["loc"] == (*block, *meant)]
    proposed = f"did you mean {meant[0]!r}? " if meant else ""
    allowed, others = ", ".join(schema.model_fields), _others(len(errors) - 1 - len(missed))
    return f"unknown key {where!r}; {proposed}allowed here: {allowed}{others}"


def _others(count: int) -> str:
    return f" (and {count} more)" if count else ""


def _path(location: tuple[Any, ...], schema: Any) -> list[str]:
    """The keys that lead to a place in the file; pydantic's location has the recipe of a block as one more."""
    path: list[str] = []
    for part in location:
        if not _recipes(schema) and part != "[key]":
            path.append(str(part))
        schema = _inside(schema, part)
    return path


def _inside(schema: Any, part: Any) -> Any:
    """What the schema says about the entry ``part``; None where it says nothing more."""
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        known = schema.model_fields.get(str(part))
        return _present(known.annotation) if known else None
    if _recipes(schema):
        return _recipes(schema)[part]
    arguments = get_args(schema)  # a mapping from names to blocks of one kind, or a list
    return arguments[-1] if arguments else None


def _present(schema: Any) -> Any:
    """A block that may be null as the block that it is otherwise."""
    kinds = [kind for kind in get_args(schema) if kind is not NoneType]
    return kinds[0] if len(kinds) == 1 and NoneType in get_args(schema) else schema


def _recipes(schema: Any) -> dict[str, type[BaseModel]]:
    """The blocks of :data:`TrainingSettings` by recipe; nothing for any other place."""
    if schema != TrainingSettings:
        return {}
    return {get_args(block.model_fields["recipe"].annotation)[0]: block for block in get_args(get_args(schema)[0])}


class _Loader(yaml.SafeLoader):
    """YAML as DVC reads it: ``1e-4`` is a number, not a string as in YAML 1.1, and a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<")
        twice = [key for key, count in keys.items() if count > 1]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice[0]!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)
