"""results/README.md: the way in to everything that was found, made from the files of each benchmark's folder alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.errors import InputError
from benchmarks.files import write_atomically
from pipelines.reporting.claims.definitions import metrics_of
from pipelines.reporting.claims.judging import count
from pipelines.reporting.tables.markdown import Sheet, code, escape, interval, value
from pipelines.reporting.tables.paper import WORKAROUNDS
from pipelines.reporting.tables.presentation import Presentation, Table

_PICTURES = {
    "generality-drawdown": "Drawdown against generality: how much an edit breaks, and how far it reaches",
    "curves": "Drawdown against success over the learning rate",
    "sequences": "Many edits in a row: error, and share of the edits that are in force",
}
"""Figures of every kind of task, after those of its tables."""
_FILES = (
    ("How far mistakes are off", ("figures/ranks.png",), "ranks.csv"),
    ("Edits to read", ("examples.md",), ""),
    ("Leaderboard", ("leaderboard.md", "leaderboard.html"), "leaderboard.csv"),
    ("Figure 2: what edits change", ("figures/figure2.png",), "figure2/"),
    ("Drawdown against generality", ("figures/generality-drawdown.png",), ""),
    ("Drawdown against success over the learning rate", ("figures/curves.png",), "curves.csv"),
    ("Edits in a row", ("sequences.md", "figures/sequences.png"), "sequences.csv"),
    ("One record per edit in a row", (), "sequences/"),
    ("Similar images", ("similar.md",), "similar.csv"),
    ("Figures, one per study and table", ("figures/",), ""),
    ("Chosen hyperparameters and all trials", (), "tuned/"),
    ("One record per edit", (), "edits/"),
    ("Milliseconds per edit", (), "timings.csv"),
    ("Trainings: epochs, and what chose them", (), "trainings.csv"),
    ("What trainings took: seconds, cost of a step", (), "timings-trainings.csv"),
    ("Code, packages, hardware, data, seeds", (), "run.json"),
)
"""What a folder may have: a name, pages, data."""


@dataclass(frozen=True)
class _Found:
    """A benchmark's folder: what made it, its leaderboard, how its kind of task is told, and which table it is for."""

    folder: Path
    run: dict[str, Any]
    board: pd.DataFrame
    told: Presentation
    main: Table | None

    @classmethod
    def read(cls, folder: Path, told: Sequence[Presentation]) -> _Found:
        run, board = json.loads((folder / "run.json").read_text()), pd.read_csv(folder / "leaderboard.csv")
        kind = next((one for one in told if one.measures.drawdown in board), None)
        if kind is None:
            raise ValueError("leaderboard.csv has no drawdown of any kind of task")
        there = [table for table in kind.tables if table.main and (folder / f"{table.name}.csv").exists()]
        return cls(folder, run, board, kind, next(iter(there), None))

    @property
    def name(self) -> str:
        return self.folder.name

    def place(self, told: Sequence[Presentation]) -> tuple[int, int, int, int, str]:
        """By kind of task and main table; large training sets and long leaderboards before small and short ones."""
        tables, size = self.told.tables, self.run["data"].get("sizes", {}).get("training", 0)
        main = tables.index(self.main) if self.main else len(tables)
        return told.index(self.told), main, -size, -len(self.board), self.name


def write_index(results: Path, told: Sequence[Presentation], warning: str = "") -> None:
    """Write the index of all benchmarks whose leaderboards lie in ``results``.

    Those with the first table of the first kind of task come first; of these, those with most data.

    :param told: how each kind of task is told that there is.
    :param warning: something that went wrong while reporting and that a reader should know.
    :raises InputError: naming a folder whose files are not what a report writes.
    """
    folders = sorted({path.parent for path in results.glob("*/leaderboard.csv")})
    whole = [folder for folder in folders if (folder / "run.json").exists()]  # it is written last
    sections = [_told(folder, told) for folder in whole]
    lines = [
        "# Results",
        "",
        "Made by `dvc repro`: every number of a benchmark's tables can be recomputed from the records in its folders",
        "`edits/` and `sequences/`. The paper's own tables, as data: [published/](published/README.md).",
        *_pages(results),
        "",
    ]
    if warning:
        lines += [f"> **Warning:** {escape(warning)}", ""]
    for _, section in sorted(sections):
        lines += section
    write_atomically(results / "README.md", "\n".join(lines))


def _told(folder: Path, told: Sequence[Presentation]) -> tuple[tuple, list[str]]:
    """The place of a benchmark's section, and its lines.

    :raises InputError: naming the folder, if one of its files is not what a report writes.
    """
    try:
        found = _Found.read(folder, told)
        return found.place(told), _section(found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"the results in {folder} are broken ({error!r}): run `python -m pipelines.report {folder.name}`, "
            "or remove them"
        ) from error


def _pages(results: Path) -> list[str]:
    """Links to pages that were written by hand, by their headings."""
    links = []
    for page in sorted(results.glob("*.md")):
        heading = page.read_text(encoding="utf-8").partition("\n")[0]
        if page.name != "README.md" and heading.startswith("# "):
            links.append(f"- [{heading.removeprefix('# ')}]({page.name})")
    return ["", "What we found out (also in runs by hand, of which the pages tell):", "", *links] if links else []


def _section(found: _Found) -> list[str]:
    name, run, (commit, _, dirty) = found.name, found.run, found.run["git_commit"].partition("-")
    changed = " with local changes to its code" if dirty else ""
    parameters = run.get("parameters", {})
    with_them = f"the parameters in [run.json]({name}/run.json) and " if parameters else ""
    again = f"again with {with_them}{code(run['command'])}, once `params.yaml` lists {name} to be run"
    counts = [f"{number} rows were made on {origin}" for origin, number in run.get("made_elsewhere", {}).items()]
    elsewhere = f" Of these, {escape('; '.join(counts))}." if counts else ""
    hardware = run["hardware"]
    machine = escape(run.get("machine") or hardware.get("gpu") or f"{hardware['cpu']}, {hardware['cores']} cores")
    return [
        f"## {name}",
        "",
        escape(parameters.get("benchmark", parameters).get("note", "")),
        "",
        _headline(found),
        "",
        *_main_table(found),
        *_verdicts(found.folder),
        *_pictures(found),
        *_list_of_files(found),
        "",
        f"Data: {escape(run['data']['source'])}{_tried(found.folder)}",
        "",
        f"Made on {machine} at commit {code(commit[:12])}{changed}; {again}.{elsewhere}",
        "",
    ]


def _tried(folder: Path) -> str:
    """How often hyperparameters were tried, for readers who wonder how lucky the best row is."""
    trials = sum(len(pd.read_csv(path)) for path in sorted((folder / "tuned").rglob("*.csv")))
    return f" Tuning tried {trials} configurations, all on edits of the tuning split." if trials else ""


def _headline(found: _Found) -> str:
    board, measures = found.board, found.told.measures
    others = ~board["editor"].isin(WORKAROUNDS)
    best, name = board.loc[others.idxmax()], measures.drawdown
    words, column = metrics_of(measures)[name].label, measures.columns[name]
    smallest = f"{value(best[name], column)} {column.unit}"
    aside = "" if others.all() else ", lookup cache and retraining aside"
    quality = measures.columns[measures.quality]
    return (
        f"Smallest {words} of an editor{aside}: **{smallest.strip()}** "
        f"{interval(best, name, column)} by {code(best['editor'])} on {code(best['layers'])} "
        f"of the {code(best['training'])} model ({best['success_rate']:.1f} % of {best['edits']} edits succeeded, "
        f"generality {best['generality']:.0f} %; {metrics_of(measures)[measures.quality].label} "
        f"{value(best[measures.quality], quality)})."
    )


def _main_table(found: _Found) -> list[str]:
    """The main table with three of its metrics, rows that were not run left out; nothing without one."""
    if found.main is None:
        return []
    name, columns = found.main.name, {one: found.told.measures.columns[one] for one in found.told.headline[:3]}
    frame = pd.read_csv(found.folder / f"{name}.csv").dropna(subset=list(columns))
    if frame.empty:
        return []
    sheet = Sheet(found.main.heading, frame, columns, found.told.measures.drawdown, found.main.keys)
    heading = f"**{found.main.heading}** ([all columns and rows]({found.name}/{name}.md))"
    below = [line for part in sheet.notes_and_legend() for line in (part, "")]
    return [heading, "", *sheet.lines(), "", *below]


def _verdicts(folder: Path) -> list[str]:
    """A line for each claim, folded away; nothing for results without claims."""
    judged = _judged(folder)
    if judged is None:
        return []
    whose = ["" if one else " (beyond the paper)" for one in judged["source"].fillna("")]
    rows = [
        f"| {escape(row.says)}{of} | {row.claim_verdict} |" for row, of in zip(judged.itertuples(), whose, strict=True)
    ]
    ours = " and our own" if any(whose) else ""
    summary = f"<details><summary>The paper's claims{ours}, and whether they hold on {folder.name}</summary>"
    table = ["| claim | verdict here |", "| --- | --- |", *rows]
    return [summary, "", *table, "", f"[How each was decided]({folder.name}/claims.md)", "", "</details>", ""]


def _judged(folder: Path) -> pd.DataFrame | None:
    """A row of claims.csv for each claim; None without any."""
    path = folder / "claims.csv"
    frame = pd.read_csv(path).drop_duplicates("claim") if path.exists() else pd.DataFrame()
    return None if frame.empty else frame


def _pictures(found: _Found) -> list[str]:
    """The figures that say most, as far as there are."""
    titles = {table.name: table.picture for table in found.told.tables if table.picture} | _PICTURES
    there = [name for name in titles if (found.folder / "figures" / f"{name}.png").exists()]
    return [line for name in there for line in (f"![{titles[name]}]({found.name}/figures/{name}.png)", "")]


def _list_of_files(found: _Found) -> list[str]:
    """A table of links; what this benchmark does not have is left out."""
    lines = ["| what | page | data |", "| --- | --- | --- |"]
    if (judged := _judged(found.folder)) is not None:
        paper = judged["source"].fillna("") != ""
        counts = {"The paper's claims": judged[paper], "Our own claims": judged[~paper]}
        told = "; ".join(f"{whose}: {count(some['claim_verdict'])}" for whose, some in counts.items() if len(some))
        lines.append(f"| {told} | [claims.md]({found.name}/claims.md) | [csv]({found.name}/claims.csv) |")
    tables = [(table.heading, (f"{table.name}.md",), f"{table.name}.csv") for table in found.told.tables]
    for what, pages, data in (*tables, *found.told.files, *_FILES):
        if all((found.folder / file).exists() for file in [*pages, data]):
            links = ", ".join(_link(found, page) for page in pages)
            lines.append(f"| {what} | {links} | {_link(found, data) if data else ''} |")
    return lines


def _link(found: _Found, file: str) -> str:
    return f"[{file.removeprefix('figures/') or file}]({found.name}/{file})"
