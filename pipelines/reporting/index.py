"""results/README.md and the front page of each benchmark, made from the files of the benchmarks' folders alone."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from benchmarks.errors import InputError
from benchmarks.files import write_atomically
from pipelines.reporting.claims.definitions import metrics_of
from pipelines.reporting.claims.judging import count
from pipelines.reporting.ranking import READING, on_front
from pipelines.reporting.tables.presentation import Presentation
from pipelines.reporting.tables.sheet import NOTHING, Sheet, code, escape, markdown_table, name_of, value

_HEADINGS = ("benchmark, claims", "data, scale", "before edits", "front of the paper's rows", "Pareto front")
_MOST = 6
"""So many rows of a front are named in the index."""
_PICTURES = {
    "generality-drawdown": "Drawdown against generality: how much an edit breaks, and how far it reaches",
    "curves": "Drawdown against success over the learning rate",
    "sequences": "Many edits in a row: error, and share of the edits that are in force",
    "joint": "Many edits together: how many hold, and what the other images pay",
}
"""Figures of every kind of task, before those of its tables."""
_FILES = (
    ("How far mistakes are off", ("figures/ranks.png",), "ranks.csv"),
    ("Edits to read", ("examples.md",), ""),
    ("Leaderboard", ("leaderboard.md",), "leaderboard.csv"),
    ("Figure 2: what edits change", ("figures/figure2.png",), "figure2/"),
    ("Drawdown against generality", ("figures/generality-drawdown.png",), ""),
    ("Drawdown against success over the learning rate", ("figures/curves.png",), "curves.csv"),
    ("Edits in a row", ("sequences.md", "figures/sequences.png"), "sequences.csv"),
    ("One record per edit in a row", (), "sequences/"),
    ("Whom edits hurt", ("side-effects.md", "figures/side-effects.png"), "side-effects.csv"),
    ("Edits made together", ("joint.md", "figures/joint.png"), "joint.csv"),
    ("One record per request of many edits", (), "joint/"),
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
class Found:
    """A benchmark's folder: what made it, its leaderboard, and how its kind of task is told."""

    folder: Path
    run: dict[str, Any]
    board: pd.DataFrame
    told: Presentation

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def chosen(self) -> list[str]:
        """The columns of the leaderboard that hold hyperparameters."""
        return [*self.board.loc[:, "layers":"trials"]][1:-1]

    @classmethod
    def all(cls, results: Path, told: Sequence[Presentation]) -> list[Found]:
        """Every benchmark that a report is complete of, in the order in which people see them.

        Those with the first table of the first kind of task come first; of these, those with most data.

        :raises InputError: naming a folder whose files are not what a report writes.
        """
        found = []
        for folder in sorted({path.parent for path in results.glob("*/leaderboard.csv")}):
            if (folder / "run.json").exists():  # it is written last
                with broken_results(folder):
                    run, board = json.loads((folder / "run.json").read_text()), pd.read_csv(folder / "leaderboard.csv")
                    kind = next((one for one in told if one.measures.drawdown in board), None)
                    if kind is None:
                        raise ValueError("leaderboard.csv has no drawdown of any kind of task")
                    one = cls(folder, run, board, kind)
                    found.append((one.place(told), one))
        return [one for _, one in sorted(found, key=lambda pair: pair[0])]

    def place(self, told: Sequence[Presentation]) -> tuple[int, int, int, int, str]:
        """By kind of task and main table; large training sets and long leaderboards before small and short ones."""
        size, tables = self.run["data"]["sizes"].get("training", 0), self.told.tables
        there = (table.main and (self.folder / f"{table.name}.csv").exists() for table in tables)
        main = [*there, True].index(True)
        return told.index(self.told), main, -size, -len(self.board), self.name


def write_index(results: Path, told: Sequence[Presentation], warning: str = "") -> None:
    """Write the index of all benchmarks whose leaderboards lie in ``results``, and the front page of each.

    :param told: how each kind of task is told that there is.
    :param warning: something that went wrong while reporting and that a reader should know.
    :raises InputError: naming a folder whose files are not what a report writes.
    """
    lines, names = [], []
    for found in Found.all(results, told):
        with broken_results(found.folder):
            line, page = _line(found), "\n".join(_page(found))
        write_atomically(found.folder / "README.md", page)
        lines.append(line)
        names.append(found.name)
    parts = [
        "# Results",
        "Made by `dvc repro`: every number of a benchmark's tables can be recomputed from the records in its folders "
        "`edits/` and `sequences/`. The paper's own tables, as data: [published/](published/README.md).",
        "All rows of all benchmarks, to sort, filter and compare: open [leaderboard.html](leaderboard.html) in a "
        "browser; it needs no network.",
        *([f"> **Warning:** {escape(warning)}"] if warning else []),
        *_pages(results),
        f"{READING} Best are the rows on the front, of the paper's rows and of all: drawdown (points) and generality. "
        "Rows that carry no further than the unedited network are never among them.",
        markdown_table([*_HEADINGS, "page"], lines),
        *_picture(results, names),
    ]
    write_atomically(results / "README.md", "\n\n".join(parts) + "\n")


@contextmanager
def broken_results(folder: Path) -> Iterator[None]:
    """What a benchmark's files lack, told in one sentence.

    :raises InputError: naming the folder, if one of its files is not what a report writes.
    """
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"the results in {folder} are broken ({error!r}): run `python -m pipelines.report {folder.name}`, "
            "or remove them"
        ) from error


def _pages(results: Path) -> list[str]:
    """Links to pages of prose, by their headings."""
    links = []
    for page in sorted(results.glob("*.md")):
        heading = re.search(r"^# (.+)", page.read_text(encoding="utf-8"), re.MULTILINE)
        if page.name != "README.md" and heading:
            links.append(f"- [{heading[1]}]({page.name})")
    return ["What we found out:", "\n".join(links)] if links else []


def _picture(results: Path, names: Sequence[str]) -> list[str]:
    """Drawdown against generality of the first benchmark that has the figure."""
    files = [f"{name}/figures/generality-drawdown.png" for name in names]
    there = [file for file in files if (results / file).exists()]
    return [f"![{_PICTURES['generality-drawdown']}]({file})" for file in there[:1]]


def _line(found: Found) -> list[str]:
    """The cells of a benchmark's line in the index."""
    name, board, data, measures = found.name, found.board, found.run["data"], found.told.measures
    block = found.run["parameters"]["benchmark"]
    size, model = data["sizes"].get("training"), block.get("model", {})
    options = [f"{option} {value}" for option, value in model.get("options", {}).items()]
    scale = [f"{size:,} to train on" if size else "", ", ".join(filter(None, [model.get("architecture"), *options]))]
    first = next((training for training in block.get("trainings", {}) if (board["training"] == training).any()), None)
    rows, quality = board[board["training"] == (first or board["training"].iloc[0])], measures.columns[measures.quality]
    source = re.split(r"[:;]|\.(?: |$)", data["source"])[0]
    judged = _judged(found.folder)
    verdicts = "" if judged.empty else f"<br>[{count(judged['claim_verdict'])}]({name}/claims.md)"
    return [
        f"[{name}]({name}/README.md){verdicts}",
        "<br>".join(filter(None, [escape(source), *map(escape, scale)])),
        f"{metrics_of(measures)[measures.quality].label} {value(rows[measures.quality].iloc[0], quality)}",
        _front(found, board[board.get(f"published_{measures.drawdown}", board["edits"] * math.nan).notna()]),
        _front(found, board),
        f"[leaderboard]({name}/leaderboard.md)",
    ]


def _front(found: Found, rows: pd.DataFrame) -> str:
    """The rows on the Pareto front of some, such as ``**0.86** at 69 %: `covariance` on chain3, plain``."""
    measures = found.told.measures
    drawdown, generality = (measures.columns[name] for name in (measures.drawdown, "generality"))
    front = rows[on_front(rows, measures.drawdown)].sort_values(measures.drawdown, kind="stable")
    told = [
        f"**{value(row[measures.drawdown], drawdown)}** at {value(row['generality'], generality)}: "
        f"{code(row['editor'])} on {escape(name_of(row['layers']))}, {escape(row['training'])}"
        for row in front.to_dict("records")
    ]
    return "<br>".join([*told[:_MOST], *([f"{len(told) - _MOST} more"] if len(told) > _MOST else [])]) or NOTHING


def _page(found: Found) -> list[str]:
    """The lines of a benchmark's front page."""
    name, run, (commit, _, dirty) = found.name, found.run, found.run["git_commit"].partition("-")
    changed = " with local changes to its code" if dirty else ""
    again = f"again with the parameters in [run.json](run.json) and {code(run['command'])}"
    counts = [
        f"{number} row{'s were' if number > 1 else ' was'} made on {origin}"
        for origin, number in run["made_elsewhere"].items()
    ]
    elsewhere = f" Of these, {escape('; '.join(counts))}." if counts else ""
    # For readers who wonder how lucky the best row is.
    trials = sum(len(pd.read_csv(path)) for path in sorted((found.folder / "tuned").rglob("*.csv")))
    tried = f" Tuning tried {trials} configurations, all on edits of the tuning split." if trials else ""
    return [
        f"# {name}",
        "",
        escape(run["parameters"]["benchmark"]["note"]),
        "",
        *_headline(found),
        "",
        *_pictures(found),
        _list_of_files(found),
        "",
        f"Data: {escape(run['data']['source'])}{tried}",
        "",
        f"Made on {escape(run['machine'])} at commit {code(commit[:12])}{changed}; {again}, "
        f"once `params.yaml` lists {name} to be run.{elsewhere}",
        "",
    ]


def _headline(found: Found) -> list[str]:
    """The Pareto front as a table, with what the unedited network reaches."""
    board, measures = found.board, found.told.measures
    front = board[on_front(board, measures.drawdown)]
    if front.empty:
        return ["No row has enough success and carries further than the unedited network."]
    words = metrics_of(measures)[measures.drawdown].label
    before = board["generality_before"].median()
    unedited = "" if math.isnan(before) else f" Before any edit it is {before:.0f} %."
    names = (measures.quality, measures.drawdown, "generality", "success_rate")
    front = front.drop(columns=["note", *front.filter(like="published_")], errors="ignore")
    columns = {name: measures.columns[name] for name in names}
    sheet = Sheet("front", front, columns, measures.drawdown, chosen=found.chosen)
    return [
        f"**On the Pareto front of {words} and generality**, {len(front)} of {len(board)} rows "
        f"([leaderboard](leaderboard.md)): no other row with enough success breaks less and reaches further. "
        f"Generality is the share of altered copies, or other forms, of the edited thing that follow.{unedited}",
        "",
        sheet.markdown(),
        "",
        sheet.legend(),
    ]


def _judged(folder: Path) -> pd.DataFrame:
    """A row of claims.csv for each claim."""
    path = folder / "claims.csv"
    return pd.read_csv(path).drop_duplicates("claim") if path.exists() else pd.DataFrame()


def _pictures(found: Found) -> list[str]:
    """The figures that say most, as far as there are."""
    titles = _PICTURES | {table.name: table.picture for table in found.told.tables if table.picture}
    there = [name for name in titles if (found.folder / "figures" / f"{name}.png").exists()]
    return [line for name in there for line in (f"![{titles[name]}](figures/{name}.png)", "")]


def _list_of_files(found: Found) -> str:
    """A table of links; what this benchmark does not have is left out."""
    rows = []
    if not (judged := _judged(found.folder)).empty:
        paper = judged["source"].fillna("") != ""
        counts = {"The paper's claims": judged[paper], "Our own claims": judged[~paper]}
        told = "; ".join(f"{whose}: {count(some['claim_verdict'])}" for whose, some in counts.items() if len(some))
        rows.append([told, "[claims.md](claims.md)", "[csv](claims.csv)"])
    tables = [(table.heading, (f"{table.name}.md",), f"{table.name}.csv") for table in found.told.tables]
    for what, pages, data in (*tables, *found.told.files, *_FILES):
        if all(_holds_something(found.folder / file) for file in [*pages, data]):
            links = [f"[{file.removeprefix('figures/') or file}]({file})" for file in (*pages, data) if file]
            rows.append([what, ", ".join(links[: len(pages)]), "".join(links[len(pages) :])])
    site = f"[leaderboard.html](../leaderboard.html#benchmark={quote(found.name)})"
    rows.append(["The leaderboards of all benchmarks, to sort, filter and compare", site, ""])
    return markdown_table(["what", "page", "data"], rows)


def _holds_something(path: Path) -> bool:
    """Whether a file is there, or a folder with something in it: DVC wants empty ones, which git does not keep."""
    return any(path.iterdir()) if path.is_dir() else path.exists()
