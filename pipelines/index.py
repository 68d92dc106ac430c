"""results/README.md: the way in to everything that was found."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from benchmarks.files import write_atomically
from pipelines.judging import count
from pipelines.leaderboard import WORKAROUNDS
from pipelines.settings import Settings


def write_index(results: Path, settings: Settings, warning: str = "") -> None:
    """Write the index of all benchmarks whose tables lie in ``results``.

    :param warning: something that went wrong while reporting and that a reader should know.
    """
    found = [path.parent for path in sorted(results.glob("*/leaderboard.csv"))]
    lines = [
        "# Results",
        "",
        "Made by `dvc repro`; every number can be recomputed from the records in `<benchmark>/edits/`.",
        "The paper's own tables, as data: [published/](published/README.md).",
        "",
    ]
    if warning:
        lines += [f"> **Warning:** {warning}", ""]
    for folder in found:
        lines += _section(folder, settings)
    write_atomically(results / "README.md", "\n".join(lines))


def _section(folder: Path, settings: Settings) -> list[str]:
    name = folder.name
    run = json.loads((folder / "run.json").read_text())
    board = pd.read_csv(folder / "leaderboard.csv")
    best = board.loc[(~board["editor"].isin(WORKAROUNDS)).idxmax()]
    note = settings.benchmarks[name].note if name in settings.benchmarks else ""
    hardware = run["hardware"]
    machine = hardware.get("gpu") or f"{hardware['cpu']}, {hardware['cores']} cores"
    figure2 = f"| Figure 2: what edits change | [figure2.png]({name}/figures/figure2.png) | [csv]({name}/figure2/) |"
    return [
        f"## {name}",
        "",
        note,
        "",
        f"Smallest drawdown of an editor: **{best['drawdown']:.2f} points** "
        f"[{best['drawdown_low']:.2f}, {best['drawdown_high']:.2f}] by `{best['editor']}` on `{best['layers']}` "
        f"of the `{best['training']}` model ({best['success_rate']:.1f} % of {best['edits']} edits succeeded; "
        f"test error {best['test_error']:.2f} %).",
        "",
        f"![Drawdown of each editor]({name}/figures/table1.png)",
        "",
        "| what | page | data |",
        "| --- | --- | --- |",
        *_claims(folder),
        f"| Table 1: editors | [table1.md]({name}/table1.md) | [csv]({name}/table1.csv) |",
        f"| Table 2: layers | [table2.md]({name}/table2.md) | [csv]({name}/table2.csv) |",
        f"| Table 3: Editable Training | [table3.md]({name}/table3.md) | [csv]({name}/table3.csv) |",
        f"| Leaderboard | [leaderboard.md]({name}/leaderboard.md), [sortable page]({name}/leaderboard.html) "
        f"| [csv]({name}/leaderboard.csv) |",
        *([figure2] if (folder / "figures" / "figure2.png").exists() else []),
        f"| Figures, one per study and table | [figures/]({name}/figures/) | |",
        f"| Chosen hyperparameters and all trials | | [tuned/]({name}/tuned/) |",
        f"| One record per edit | | [edits/]({name}/edits/) |",
        f"| Milliseconds per edit | | [timings.csv]({name}/timings.csv) |",
        f"| Code, packages, hardware, data, seeds | | [run.json]({name}/run.json) |",
        "",
        f"Data: {run['data']['source']}",
        f"Made on {machine} at commit `{run['git_commit'][:12]}`; again with `{run['command']}`.",
        "",
    ]


def _claims(folder: Path) -> list[str]:
    """The verdicts in one line; nothing for results that were reported before there were claims."""
    path = folder / "claims.csv"
    if not path.exists():
        return []
    verdicts = pd.read_csv(path).drop_duplicates("claim")["claim_verdict"]
    name = folder.name
    return [f"| The paper's claims: {count(verdicts)} | [claims.md]({name}/claims.md) | [csv]({name}/claims.csv) |"]
