"""Carry a benchmark's results from one machine to another: everything that a report needs, without weights and data.

``python -m pipelines.bundle cifar10`` packs, ``python -m pipelines.bundle merge FILE`` puts the results beside what is
there already; ``python -m pipelines.report`` then makes the tables of all of them. The stages ``analyse`` and
``sequences`` write tables of what is edited here only: whoever runs them after a merge merges once more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines import command
from pipelines.jobs import bundles
from pipelines.jobs.progress import one_line
from pipelines.store.layout import Layout
from pipelines.tasks import load_settings


def bundle(
    benchmark: Annotated[str, typer.Argument(help="A benchmark that was reported here.")],
    out: Annotated[Path | None, typer.Option(help="The file to write. [default: <benchmark>.bundle.zip]")] = None,
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Pack records, tuned values and curves of a benchmark into one file. `... bundle merge --help` unpacks."""
    load_settings(params).benchmark(benchmark)
    target = out or Path(f"{benchmark}.bundle.zip")
    count = bundles.pack(Layout(benchmark), target)
    print(f"bundle {benchmark}: {count} files in {target}, {target.stat().st_size / 2**20:.1f} MiB")


def merge(
    file: Annotated[Path, typer.Argument(help="What `bundle` wrote, here or elsewhere.")],
    replace: Annotated[bool, typer.Option(help="Where both have results, take the bundle's.")] = False,
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Put a bundle's results beside those that are here. Nothing is written if it does not fit."""
    found = bundles.read(file)
    load_settings(params).benchmark(found.benchmark)
    layout = Layout(found.benchmark)
    bundles.check_data(found, file, layout)
    taken, kept, trained = bundles.merge(found, layout, replace)
    made = one_line(f"{found.machine} at commit {found.commit[:12]}")
    print(f"merge {found.benchmark}: took {taken} results of {made}")
    if trained:
        print(f"kept the description of {len(trained)} models whose weights are here ({_few(trained)})")
    if kept:
        print(f"kept {len(kept)} that are here and differ ({_few(kept)}): --replace takes the bundle's")


def _few(names: list[str]) -> str:
    return ", ".join([*names[:3], *(["…"] if len(names) > 3 else [])])


if __name__ == "__main__":
    command.run(bundle, merge)
