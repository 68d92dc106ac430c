"""From one record per edit of a translator to the numbers of a row of Table 6, each with a 95 % interval."""

from __future__ import annotations

import pandas as pd

from benchmarks.metrics import Estimate, mean, share


def bleu_drawdown(records: pd.DataFrame) -> pd.Series:
    """|BLEU before − BLEU after| of each edit, in points."""
    return bleu_drawdown_signed(records).abs()


def bleu_drawdown_signed(records: pd.DataFrame) -> pd.Series:
    """BLEU before − BLEU after of each edit, in points; negative if translations became better."""
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


_MEANS = {
    "bleu_drawdown": bleu_drawdown,
    "bleu_drawdown_signed": bleu_drawdown_signed,
    "changed": changed,
    "generality": generality,
    "generality_before": generality_before,
    "kl": lambda records: records["kl"],
    "num_steps": lambda records: records["steps"],
}
_SHARES = {"success_rate": "succeeded", "decoded_rate": "decoded", "decoded_rate_before": "decoded_before"}
NAMES = (*_SHARES, *_MEANS)
"""The metrics that records give: percent, BLEU points, nats per token or gradient steps."""


def summarise(records: pd.DataFrame) -> dict[str, Estimate]:
    """Every metric over all edits, and under ``<metric>_nontrivial`` over those in which there was something to do.

    Means have a bootstrap interval over edits, shares Wilson's.

    :param records: one row per edit, columns as in :class:`benchmarks.translation.scoring.TranslationRecord`.
    """
    table: dict[str, Estimate] = {}
    for suffix, rows in (("", records), ("_nontrivial", records[~records["trivial"].astype(bool)])):
        for name, column in _SHARES.items():
            table[f"{name}{suffix}"] = share(int(rows[column].sum()), len(rows))
        for name, metric in _MEANS.items():
            table[f"{name}{suffix}"] = mean(metric(rows).dropna().to_numpy(dtype=float), name)
    return table
