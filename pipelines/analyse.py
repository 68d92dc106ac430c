"""Stage 4b: other learning rates than the tuned ones, and what each of many edits did to every test example."""

from __future__ import annotations

import shutil
from functools import partial
from typing import Annotated

import pandas as pd
import typer

from pipelines import command
from pipelines.jobs.cells import tuned_cells
from pipelines.jobs.parallel_map import parallel_map
from pipelines.store.layout import Layout, remove_others, write_csv
from pipelines.store.provenance import timed
from pipelines.tasks import load_settings, task_of
from pipelines.tasks.curves import columns, curve, folder_of


@timed(lambda layout: [*layout.descriptors.glob("*.safetensors"), *layout.descriptors.glob("*.curve/*.json")])
def analyse(
    benchmark: Annotated[str, typer.Argument(help="A name of a file in benchmarks/configs.")],
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Find out what other learning rates do (trade-off curves), and which examples edits hurt (Figure 2)."""
    settings, layout = load_settings(params), Layout(benchmark)
    task, device = task_of(settings, benchmark), settings.torch_device()
    cells = tuned_cells(settings, benchmark, "analyse", settings.benchmark(benchmark).analysis.cells)
    analysed = parallel_map(partial(task.analyse, settings), cells, settings.processes, device)
    for name, start in task.analysis_tables.items():
        tables = [tables[name] for tables in analysed if tables is not None] or [pd.DataFrame(columns=start)]
        write_csv(layout.figure2 / f"{name}.csv", pd.concat(tables, ignore_index=True), digits=6)
    curves = parallel_map(partial(curve, settings), cells, settings.processes, device)
    drawn = [one for one in curves if not one.empty] or [pd.DataFrame(columns=columns(task.measures))]
    write_csv(layout.results / "curves.csv", pd.concat(drawn, ignore_index=True), digits=6)
    wanted = {path.name for path in (*task.analysed(cells), *map(folder_of, cells))}
    remove_others(layout.descriptors, wanted)
    shutil.rmtree(layout.unfinished_descriptors, ignore_errors=True)
    if not cells:
        print(f"analyse {benchmark}: none of the cells in `analysis` is tuned")


if __name__ == "__main__":
    command.run(analyse)
