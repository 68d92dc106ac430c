"""results/README.md: the way in to everything that was found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.errors import InputError
from benchmarks.files import write_atomically
from pipelines.config.params import Settings
from pipelines.reporting.claims.judging import count
from pipelines.reporting.frames import naming_views
from pipelines.reporting.pages import overview
from pipelines.reporting.tables.leaderboard import WORKAROUNDS
from pipelines.reporting.tables.markdown import reaches_success
from pipelines.store.machine import described


def write_index(results: Path, settings: Settings, warning: str = "") -> None:
    """Write the index of all benchmarks whose tables lie in ``results``, those with most data first.

    :param warning: something that went wrong while reporting and that a reader should know.
    """
    found = {path.parent for name in ("leaderboard.csv", "table6.md") for path in results.glob(f"*/{name}")}
    whole = [folder for folder in found if (folder / "run.json").exists()]  # it is written last
    runs = sorted(((folder, _run(folder)) for folder in whole), key=_place)
    lines = [
        "# Results",
        "",
        "Made by `dvc repro`: every number of a benchmark's tables can be recomputed from the records in its folders",
        "`edits/` and `sequences/`. The paper's own tables, as data: [published/](published/README.md).",
        *_pages(results),
        "",
    ]
    if warning:
        lines += [f"> **Warning:** {warning}", ""]
    for folder, run in runs:
        with _named(folder):
            lines += _section(folder, run, settings)
    write_atomically(results / "README.md", "\n".join(lines))


def _pages(results: Path) -> list[str]:
    """Links to pages that were written by hand, by their headings."""
    links = []
    for page in sorted(results.glob("*.md")):
        heading = page.read_text(encoding="utf-8").partition("\n")[0]
        if page.name != "README.md" and heading.startswith("# "):
            links.append(f"- [{heading.removeprefix('# ')}]({page.name})")
    return ["", "What we found out (also in runs by hand, of which the pages tell):", "", *links] if links else []


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    """:raises InputError: naming the folder, if one of its files is not what a report writes."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"the results in {folder} are broken ({error!r}): run `python -m pipelines.report {folder.name}`, "
            "or remove them"
        ) from error


def _run(folder: Path) -> dict[str, Any]:
    with _named(folder):
        return json.loads((folder / "run.json").read_text())


def _place(found: tuple[Path, dict[str, Any]]) -> tuple[bool, bool, int, int, str]:
    """Table 3 first, translators last; large training sets before small ones, long leaderboards before short ones."""
    folder, run = found
    with _named(folder):
        size = run["data"].get("sizes", {}).get("training", 0)
        board = folder / "leaderboard.csv"
        rows = len(pd.read_csv(board)) if board.exists() else 0
        return (folder / "table6.md").exists(), not (folder / "table3.md").exists(), -size, -rows, folder.name


def _section(folder: Path, run: dict[str, Any], settings: Settings) -> list[str]:
    name, (commit, _, dirty) = folder.name, run["git_commit"].partition("-")
    changed = " with local changes to its code" if dirty else ""
    machine = described(run["hardware"])
    parameters = f"the parameters in [run.json]({name}/run.json) and " if "parameters" in run else ""
    again = f"again with {parameters}`{run['command']}`, once `params.yaml` lists {name} to be run"
    return [
        f"## {name}",
        "",
        _note(name, run, settings),
        "",
        _headline(folder),
        "",
        *overview.main_table(folder),
        *overview.verdicts(folder),
        *_pictures(folder),
        *_list_of_files(folder),
        "",
        f"Data: {run['data']['source']}{_tried(folder)}",
        "",
        f"Made on {machine} at commit `{commit[:12]}`{changed}; {again}.{_elsewhere(run)}",
        "",
    ]


def _elsewhere(run: dict[str, Any]) -> str:
    """From which machines results were merged."""
    counts = [f"{number} rows were made on {origin}" for origin, number in run.get("made_elsewhere", {}).items()]
    return f" Of these, {'; '.join(counts)}." if counts else ""


def _note(name: str, run: dict[str, Any], settings: Settings) -> str:
    """What was said of the benchmark when it was run, or what params.yaml says now."""
    parameters = run.get("parameters", {})
    if "note" in (block := parameters.get("benchmark", parameters)):
        return block["note"]
    if name in settings.benchmarks:
        return settings.benchmarks[name].note
    return settings.translation.get(name, {}).get("note", "")


def _tried(folder: Path) -> str:
    """How often hyperparameters were tried, for readers who wonder how lucky the best row is."""
    trials = sum(len(pd.read_csv(path)) for path in sorted((folder / "tuned").rglob("*.csv")))
    return f" Tuning tried {trials} configurations, all on edits of the tuning split." if trials else ""


def _headline(folder: Path) -> str:
    if not (folder / "leaderboard.csv").exists():
        return _translation(pd.read_csv(folder / "table6.csv"))
    board = pd.read_csv(folder / "leaderboard.csv")
    best = board.loc[(~board["editor"].isin(WORKAROUNDS)).idxmax()]
    return (
        f"Smallest drawdown of an editor, lookup cache and retraining aside: **{best['drawdown']:.2f} points** "
        f"[{best['drawdown_low']:.2f}, {best['drawdown_high']:.2f}] by `{best['editor']}` on `{best['layers']}` "
        f"of the `{best['training']}` model ({best['success_rate']:.1f} % of {best['edits']} edits succeeded, "
        f"generality {best['generality']:.0f} %; test error {best['test_error']:.2f} %)."
    )


def _translation(rows: pd.DataFrame) -> str:
    rows = naming_views(rows)
    reaching = rows[reaches_success(rows)]
    best = rows.loc[(rows if reaching.empty else reaching)["bleu_drawdown"].idxmin()]
    rate = f" with learning rate {best['lr']:.2g}" if np.isfinite(best["lr"]) else ""
    return (
        f"Smallest BLEU drawdown of an edit: **{best['bleu_drawdown']:.2f} points** "
        f"[{best['bleu_drawdown_low']:.2f}, {best['bleu_drawdown_high']:.2f}] by `{best['editor']}`{rate} on "
        f"`{best['layers']}` of the `{best['training']}` model ({best['success_rate']:.1f} % of {best['edits']} edits "
        f"succeeded and hold for {best['generality']:.0f} % of the sentences near them; BLEU {best['bleu']:.2f})."
    )


def _pictures(folder: Path) -> list[str]:
    """The figures that say most, as far as there are."""
    titles = {
        "table1": "Drawdown and success of each editor on the plain model",
        "table3": "Drawdown and test error of every way to edit",
        "table4": "Drawdown and test error of a trained network, fine-tuned for edits or not",
        "table5": "Drawdown of correcting realistic mistakes",
        "table6": "BLEU drawdown and BLEU of every row of Table 6",
        "generality-drawdown": "Drawdown against generality: how much an edit breaks, and how far it reaches",
        "curves": "Drawdown against success over the learning rate",
        "sequences": "Many edits in a row: error, and share of the edits that are in force",
    }
    there = [name for name in titles if (folder / "figures" / f"{name}.png").exists()]
    return [line for name in there for line in (f"![{titles[name]}]({folder.name}/figures/{name}.png)", "")]


def _list_of_files(folder: Path) -> list[str]:
    """A table of links; what this benchmark does not have is left out."""
    rows = [
        ("Table 1: editors", ["table1.md"], "table1.csv"),
        ("Table 2: layers", ["table2.md"], "table2.csv"),
        ("Table 3: Editable Training and its baselines", ["table3.md"], "table3.csv"),
        ("Table 4: fine-tuning a trained network", ["table4.md"], "table4.csv"),
        ("Table 5: realistic mistakes", ["table5.md"], "table5.csv"),
        ("How far mistakes are off", ["figures/ranks.png"], "ranks.csv"),
        ("Table 6: translation", ["table6.md"], "table6.csv"),
        ("Edits to read", ["examples.md"], ""),
        ("Test translations before any edit", [], "translations/"),
        ("Leaderboard", ["leaderboard.md", "leaderboard.html"], "leaderboard.csv"),
        ("Figure 2: what edits change", ["figures/figure2.png"], "figure2/"),
        ("Drawdown against generality", ["figures/generality-drawdown.png"], ""),
        ("Drawdown against success over the learning rate", ["figures/curves.png"], "curves.csv"),
        ("Edits in a row", ["sequences.md", "figures/sequences.png"], "sequences.csv"),
        ("One record per edit in a row", [], "sequences/"),
        ("Similar images", ["similar.md"], "similar.csv"),
        ("Figures, one per study and table", ["figures/"], ""),
        ("Chosen hyperparameters and all trials", [], "tuned/"),
        ("One record per edit", [], "edits/"),
        ("Milliseconds per edit", [], "timings.csv"),
        ("Trainings: epochs, tuning error", [], "trainings.csv"),
        ("What trainings took: seconds, cost of a step", [], "timings-trainings.csv"),
        ("Code, packages, hardware, data, seeds", [], "run.json"),
    ]
    lines = ["| what | page | data |", "| --- | --- | --- |", *_claims(folder)]
    for what, pages, data in rows:
        if all((folder / file).exists() for file in [*pages, data]):
            links = ", ".join(_link(folder, page) for page in pages)
            lines.append(f"| {what} | {links} | {_link(folder, data) if data else ''} |")
    return lines


def _link(folder: Path, file: str) -> str:
    return f"[{file.removeprefix('figures/') or file}]({folder.name}/{file})"


def _claims(folder: Path) -> list[str]:
    """The verdicts in one line; nothing for results that were reported before there were claims."""
    path = folder / "claims.csv"
    if not path.exists():
        return []
    verdicts = pd.read_csv(path).drop_duplicates("claim")["claim_verdict"]
    name = folder.name
    return [f"| The paper's claims: {count(verdicts)} | [claims.md]({name}/claims.md) | [csv]({name}/claims.csv) |"]
