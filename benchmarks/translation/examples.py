"""Edits of a translator as a page to read: the sentence, what is wanted, and what each model says before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from benchmarks.translation.metrics import TRANSLATIONS

_SHOWN = 8
_INTRODUCTION = (
    "Each edit asks the model for another translation than the one it would choose: one that it can imagine, because "
    "it was drawn from the plain model's own distribution. Some are as good as the old one, some are wrong, some are "
    "nonsense. An editor does not judge; it has to make the model say so, and change nothing else."
)
_LEGEND = (
    "✓: beam search answers as wanted after the edit; ✗: it does not, even if the wanted translation is preferred to "
    "all alternatives that the edit knew of; –: no step was needed. *Meanwhile* is the first test sentence among those "
    "looked at that the model translates otherwise after the edit."
)


def examples(benchmark: str, rows: Sequence[tuple[str, pd.DataFrame]], escape: Callable[[str], str]) -> str:
    """A page of Markdown: counts over the edits of each row of a table, then some edits with every row's answer.

    :param rows: headings with records, columns as in :class:`benchmarks.translation.scoring.TranslationRecord`; all of
        the same edits.
    :param escape: makes text one that Markdown shows as it is.
    """
    texts = [name for name in TRANSLATIONS.texts if name in rows[0][1]]
    shown = [(escape(heading), one.assign(**{name: one[name].map(escape) for name in texts})) for heading, one in rows]
    parts = [f"# What edits of a translator look like ({benchmark})", _INTRODUCTION, _overview(shown), _LEGEND]
    parts += [_example(number, shown) for number in _chosen(shown[0][1])]
    return "\n\n".join(parts) + "\n"


def _overview(results: Sequence[tuple[str, pd.DataFrame]]) -> str:
    lines = [
        "| | edits | nothing to do | succeeded | answered as wanted | changed nothing else | near sentences follow |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for heading, records in results:
        worked = records[~records["trivial"].astype(bool)]
        near, before, after = (int(worked[name].sum()) for name in ("views", "views_before", "views_after"))
        cells = [len(records), len(records) - len(worked), f"{int(worked['succeeded'].sum())} of {len(worked)}"]
        cells += [int(worked["decoded"].sum()), int((worked["changed"] == 0).sum())]
        cells.append(f"{after} of {near} ({before} before)")
        lines.append(f"| {heading} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _chosen(records: pd.DataFrame) -> list[int]:
    """Edits in which the first row had something to do, those that broke something elsewhere and others in turn."""
    worked = records[~records["trivial"].astype(bool)]
    noticed = worked["other_source"] != ""
    silent = worked[~noticed]["edit"].head(_SHOWN // 2).tolist()
    loud = worked[noticed]["edit"].head(_SHOWN - len(silent)).tolist()
    return sorted([*silent, *loud])


def _example(number: int, results: Sequence[tuple[str, pd.DataFrame]]) -> str:
    rows = [(heading, records[records["edit"] == number].iloc[0]) for heading, records in results]
    _, first = rows[0]
    lines = [
        f"## {first['source']}",
        "",
        f"Wanted: **{first['target']}**",
        "",
        "| | before | after | steps |",
        "| --- | --- | --- | ---: |",
        *(f"| {heading} | {_said(one)} | {one['steps']} |" for heading, one in rows),
    ]
    meanwhile = [(heading, one) for heading, one in rows if one["other_source"]][:1]
    for heading, one in meanwhile:
        lines += [
            "",
            f"Meanwhile ({heading}), *{one['other_source']}* was "
            f"“{one['other_before']}” and became “{one['other_after']}”",
        ]
    return "\n".join(lines)


def _said(record: pd.Series) -> str:
    """Before and after; what stays as it is is not said twice."""
    before, after = record["before"], record["after"]
    if record["trivial"]:
        return f"{before} | –"
    told = "(the same)" if record["after"] == record["before"] else after
    return f"{before} | {told} {'✓' if record['decoded'] else '✗'}"
