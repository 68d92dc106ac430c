"""Edits of a translator as a page to read: the sentence, what the model said, what it should say, what it says now."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from pipelines.presentation.tables import escape

_SHOWN = 4
_INTRODUCTION = (
    "Each edit asks the model for another translation than the one it would choose: one that it can imagine, because "
    "it was drawn from the model's own distribution. Some are as good as the old one, some are wrong, some are "
    "nonsense. An editor does not judge; it has to make the model say so, and change nothing else."
)


def examples(benchmark: str, results: Sequence[tuple[str, pd.DataFrame]]) -> str:
    """A Markdown page about the edits of each row of Table 6.

    :param results: the rows' headings with their records, columns as in
        :class:`benchmarks.translation.scoring.TranslationRecord`.
    """
    parts = [f"# What edits of a translator look like ({benchmark})", _INTRODUCTION]
    for heading, records in results:
        parts.append(f"## {heading}")
        parts.append(_counts(records))
        parts += [_example(record) for record in _chosen(records)]
    return "\n\n".join(parts) + "\n"


def _chosen(records: pd.DataFrame) -> list[pd.Series]:
    """Edits that had something to do: those that changed something elsewhere first, and then the first ones."""
    worked = records[~records["trivial"].astype(bool)]
    noticed = worked[worked["other_source"] != ""].head(_SHOWN // 2)
    silent = worked[worked["other_source"] == ""].head(_SHOWN - len(noticed))
    chosen = pd.concat([noticed, silent]).sort_values("edit")
    return [record for _, record in chosen.iterrows()]


def _counts(records: pd.DataFrame) -> str:
    worked = records[~records["trivial"].astype(bool)]
    silent = int((worked["changed"] == 0).sum())
    near, before, after = (int(worked[name].sum()) for name in ("views", "views_before", "views_after"))
    return (
        f"Of {len(records)} edits {len(records) - len(worked)} had nothing to do, because the model preferred that "
        f"translation already. Of the other {len(worked)}, {int(worked['succeeded'].sum())} succeeded; after "
        f"{int(worked['decoded'].sum())} of them beam search gives exactly the wanted translation, and {silent} left "
        f"every other sentence that was looked at as it was. Of {near} sentences that differ from an edited one by a "
        f"word left out or two exchanged, {after} follow the edit; {before} did so before."
    )


def _example(record: pd.Series) -> str:
    lines = [
        f"**{escape(record['source'])}**",
        "",
        "| | |",
        "| --- | --- |",
        f"| before | {escape(record['before'])} |",
        f"| wanted | {escape(record['target'])} |",
        f"| after {_steps(record['steps'])} | {escape(record['after'])} {'✓' if record['decoded'] else '✗'} |",
    ]
    if record["other_source"]:
        lines += [
            f"| meanwhile | {escape(record['other_source'])} |",
            f"| was | {escape(record['other_before'])} |",
            f"| is | {escape(record['other_after'])} |",
        ]
    return "\n".join(lines)


def _steps(steps: int) -> str:
    return f"{steps} step" + ("" if steps == 1 else "s")
