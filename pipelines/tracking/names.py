"""Names of metrics and standard tags in MLflow; its pages group metrics by what stands before the /."""

from __future__ import annotations

_CONTEXTS = {"train": "training", "tuning": "tuning", "valid": "validation", "test": "test"}
"""How columns begin that were measured on a split of the data, and the context of that split."""
_GROUPS = ("edit", "editor", "cost")


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
