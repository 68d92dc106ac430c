"""Where cells of a benchmark were made that were not made here: what merging bundles wrote down about them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.errors import InputError
from benchmarks.files import write_atomically
from pipelines.store.layout import Layout


@dataclass(frozen=True)
class Origin:
    """The machine and the commit that made a cell; ``fingerprint`` is the cell's, which changes if it is made anew."""

    machine: str
    commit: str
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.machine} at commit {self.commit[:12]}"


@dataclass(frozen=True)
class Merged:
    """What came from elsewhere.

    :ivar data: ``source`` and ``fingerprint`` of the data that all cells were measured on; empty if nothing came.
    :ivar cells: by editor and cell, such as ``gd/plain-all``.
    """

    data: Mapping[str, str]
    cells: Mapping[str, Origin]

    def origin(self, editor: str, file: str, description: Mapping[str, Any]) -> Origin | None:
        """Where the cell was made that ``description`` describes; None for here."""
        known = self.cells.get(f"{editor}/{file}")
        return known if known and known.fingerprint == description["fingerprint"] else None


def read(layout: Layout) -> Merged:
    """What was merged into a benchmark's results.

    :raises InputError: for a broken file.
    """
    path = layout.results / "merged.json"
    try:
        content = json.loads(path.read_text())
        return Merged(dict(content["data"]), {name: Origin(**value) for name, value in content["cells"].items()})
    except FileNotFoundError:
        return Merged({}, {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is broken ({error!r}): remove it and merge the bundles again") from error


def write(layout: Layout, merged: Merged) -> None:
    """Write it to the benchmark's results."""
    content = {"data": dict(merged.data), "cells": {name: asdict(one) for name, one in sorted(merged.cells.items())}}
    write_atomically(layout.results / "merged.json", json.dumps(content, indent=2) + "\n")
