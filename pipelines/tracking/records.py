"""What one MLflow run shows, made from files: its numbers and files, the data it looked at, the network it made."""

from __future__ import annotations

import hashlib
import json
import math
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.errors import InputError
from benchmarks.files import file_hash

KEY, FINGERPRINT, LIVE, TAKES = "suite.key", "suite.fingerprint", "suite.live", "suite.takes"
LAYOUT = 2  # raise it when a record is shown in another way, so that old runs are made again
FOLDERS = {".png": "figures", ".svg": "figures", ".md": "tables", ".csv": "tables", ".json": "tables"}
LONGEST_NAME, LONGEST_PARAMETER, LONGEST_TAG = 250, 6000, 8000  # characters, MLflow's limits
LONGEST_DESCRIPTION = 5000  # of a version of a registered model
LONGEST_DIGEST = 12  # of a fingerprint, where MLflow takes 36; its pages show it after each name of a dataset

_CONTEXTS = {"train": "training", "tuning": "tuning", "valid": "validation", "test": "test"}
"""How columns begin that were measured on a split of the data, and the context of that split: MLflow's pages group
metrics by what stands before the /."""
_GROUPS = ("edit", "editor", "cost")

Parameters = Mapping[str, str | int | float | bool]
Span = tuple[datetime, datetime]
"""When work began and ended."""


@dataclass(frozen=True)
class DataRecord:
    """A split of a benchmark's data, an input of runs.

    :ivar name: such as ``digits test``; with ``digest`` it tells data sets of an experiment apart.
    :ivar digest: the first characters of the fingerprint of the prepared data.
    :ivar source: the folder of the prepared data, ``told`` where they come from in words.
    """

    name: str
    digest: str
    source: str
    told: str
    rows: int


@dataclass(frozen=True)
class NetworkRecord:
    """A trained network, which MLflow lists as a model; its weights stay where they are.

    :ivar kind: such as ``resnet18``.
    :ivar epoch: the one that was kept.
    """

    name: str
    kind: str
    epoch: int
    parameters: Parameters
    tags: Mapping[str, str]


@dataclass(frozen=True)
class RunRecord:
    """Everything that one MLflow run shows, made from files.

    :ivar key: unique in the experiment and the run's display name, such as ``plain/rmsprop/chain3``.
    :ivar metrics: single numbers; those that are not finite are left out, here and in ``series``.
    :ivar series: curves of (epoch, value); a name is in ``metrics`` or in ``series``. What stands before the / of a
        name is the context of the data that it was measured on, if there is such a context.
    :ivar artifacts: files, shown in "figures" (.png, .svg), "tables" (.md, .csv, .json) or at the top.
    :ivar tables: by file name, such as ``edits.json``, which MLflow shows as tables and ``mlflow.load_table`` joins.
    :ivar data: by context: ``training``, ``tuning``, ``test``.
    :ivar network: what the run made; metrics of the run are the network's too.
    :ivar takes: the keys of the records whose networks this run starts from or edits.
    :ivar span: when the work began and ended; None if nobody wrote that down, then it is the time of writing.
    """

    key: str
    parameters: Parameters
    metrics: Mapping[str, float]
    series: Mapping[str, Sequence[tuple[int, float]]]
    tags: Mapping[str, str]
    artifacts: Sequence[Path]
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    data: Mapping[str, DataRecord] = field(default_factory=dict)
    network: NetworkRecord | None = None
    takes: Sequence[str] = ()
    span: Span | None = None

    @property
    def points(self) -> list[tuple[str, int, float]]:
        """Every finite number as (name, step, value)."""
        curves = [(name, *point) for name, curve in self.series.items() for point in curve]
        return sorted(finite([*((name, 0, value) for name, value in self.metrics.items()), *curves]))

    @property
    def files(self) -> dict[str, Path]:
        """The artifacts by their path inside the run."""
        return {posixpath.join(FOLDERS.get(one.suffix.lower(), ""), one.name): one for one in self.artifacts}

    @property
    def texts(self) -> dict[str, str]:
        """The tables as MLflow's ``log_table`` writes them, by their path inside the run."""
        return {name: table.to_json(orient="split", index=False) for name, table in self.tables.items()}


def fingerprint(record: RunRecord, taken: Sequence[str]) -> str:
    """A hash of all that a run shows.

    :param taken: the fingerprints of the records whose networks it takes.
    :raises InputError: for a name that MLflow refuses.
    """
    network = record.network
    own = [*network.parameters, *network.tags] if network else []
    check_names(record.key, [*record.parameters, *record.metrics, *record.series, *record.tags, *own, *record.tables])
    content = {
        "layout": LAYOUT,
        "key": record.key,
        "parameters": {name: str(value) for name, value in record.parameters.items()},
        "points": record.points,
        "tags": dict(record.tags),
        "artifacts": {name: file_hash(path) for name, path in record.files.items()},
        "tables": record.texts,
        "data": {context: asdict(one) for context, one in record.data.items()},
        "network": asdict(network) if network else None,
        "takes": list(taken),
        "span": [time.isoformat() for time in record.span or ()],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def finite(points: Iterable[tuple[str, int, float]]) -> list[tuple[str, int, float]]:
    """The points whose value is a finite number."""
    return [(name, int(step), float(value)) for name, step, value in points if math.isfinite(value)]


def clipped(values: Mapping[str, Any], longest: int) -> dict[str, str]:
    """Values as texts, cut where MLflow ends."""
    texts = {name: str(value) for name, value in values.items()}
    return {name: text if len(text) <= longest else text[: longest - 1] + "…" for name, text in texts.items()}


def check_names(key: str, names: Iterable[str]) -> None:
    """:raises InputError: for the name of a parameter, metric, tag or table that MLflow refuses."""
    for name in names:
        plain = re.fullmatch(r"\w[\w.\- /]*", name) and posixpath.normpath(name) == name  # may become a file
        if not plain or len(name) > LONGEST_NAME or name in (KEY, FINGERPRINT, LIVE, TAKES):
            raise InputError(
                f"MLflow run {key}: {name!r} cannot name a parameter, metric or tag; allowed are up to "
                f"{LONGEST_NAME} letters, digits, spaces, _ - . and / inside, but not the suite's own tags."
            )


def metric_of_training(column: str) -> str:
    """The name of a number that a training writes down: ``tuning_error`` is ``tuning/error``."""
    start, _, rest = column.partition("_")
    if rest and start in _CONTEXTS:
        return f"{_CONTEXTS[start]}/{rest}"
    return f"{start}/{rest}" if rest and start in _GROUPS else f"training/{column}"


def metric_of_row(column: str, quality: str) -> str:
    """The name of a number of the leaderboard: ``drawdown`` is ``edits/drawdown``, the ends of its interval
    ``interval/drawdown_low`` and ``_high``. The main numbers come first in MLflow's alphabetical order.

    :param quality: the column that says how good the network is before any edit, ``test/...``.
    """
    if column.startswith("published_"):
        return f"published/{column.removeprefix('published_')}"
    if column in ("seeds", "edit_seeds"):
        return f"{column}/count"
    if column == "trials":
        return "tuning/trials"
    name = column.removeprefix("test_")
    for part in ("nontrivial", "learned", "edit_seeds", "seeds"):
        if f"_{part}" in name:
            return f"{part}/{name.replace(f'_{part}', '', 1)}"
    if name.endswith(("_low", "_high")):
        return f"interval/{name}"
    return f"test/{name}" if column == quality else f"edits/{name}"


def source_tags(stage: str, commit: str) -> dict[str, str]:
    """MLflow's tags for the code that made something: a stage, and the commit as provenance writes it."""
    source = {"mlflow.source.name": f"pipelines/{stage}.py", "mlflow.source.type": "LOCAL"}
    if commit in ("", "unknown"):
        return source
    dirty = str(commit.endswith("-dirty")).lower()
    return source | {"mlflow.source.git.commit": commit.removesuffix("-dirty"), "mlflow.source.git.dirty": dirty}
