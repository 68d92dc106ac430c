"""The metrics of a translator's edits, from their records."""

from __future__ import annotations

import pandas as pd

from benchmarks.metrics import Column, Measures


def bleu_drawdown(records: pd.DataFrame) -> pd.Series:
    """BLEU before − BLEU after of each edit, in points (section 4.4); negative if translations became better.

    Without its sign it would say little: on a sample of sentences BLEU moves by tenths of a point either way.
    """
    return records["bleu_before"] - records["bleu_after"]


def changed(records: pd.DataFrame) -> pd.Series:
    """Share of control sentences that are translated otherwise after an edit, in percent."""
    return 100.0 * records["changed"] / records["control_size"]


def generality(records: pd.DataFrame) -> pd.Series:
    """Share of the sentences near the edited one for which the edit holds as well, in percent; nan without any."""
    return 100.0 * records["views_after"] / records["views"].where(records["views"] > 0)


def generality_before(records: pd.DataFrame) -> pd.Series:
    """The same share before the edit, in percent."""
    return 100.0 * records["views_before"] / records["views"].where(records["views"] > 0)


TRANSLATIONS = Measures(
    drawdown="bleu_drawdown",
    quality="bleu",
    means={
        "bleu_drawdown": bleu_drawdown,
        "changed": changed,
        "generality": generality,
        "generality_before": generality_before,
        "kl": lambda records: records["kl"],
        "num_steps": lambda records: records["steps"],
    },
    shares={"success_rate": "succeeded", "decoded_rate": "decoded", "decoded_rate_before": "decoded_before"},
    columns={
        "bleu": Column("BLEU", "", 2),
        "bleu_drawdown": Column("BLEU drawdown", "points", 2),
        "success_rate": Column("Success", "%", 1),
        "decoded_rate": Column("Decoded", "%", 1),
        "decoded_rate_before": Column("Decoded before the edit", "%", 1),
        "num_steps": Column("Steps", "", 2),
        "generality": Column("Generality", "%", 1),
        "generality_before": Column("before the edit", "%", 1),
        "changed": Column("Changed", "%", 1),
        "kl": Column("KL", "nats/token", 4),
    },
    asked=("edit", "sentence", "target"),
    texts=("source", "before", "target", "after", "other_source", "other_before", "other_after"),
    skips_missing=True,
)
"""One row of records per edit, columns as in :class:`benchmarks.translation.scoring.TranslationRecord`."""
