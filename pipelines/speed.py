"""How fast the suite is on this machine: every costly loop against the naive way, written to results/speed/."""

from __future__ import annotations

import argparse
import json
import sys
import time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

from benchmarks.errors import InputError
from benchmarks.files import write_atomically
from editors.compiling import CompilationError
from pipelines.jobs.reproducible import compute_reproducibly
from pipelines.reporting.figures.saving import save
from pipelines.store.provenance import git_commit, machine, slug
from pipelines.timing import page
from pipelines.timing.loops import loops
from pipelines.timing.rounds import Conditions, Record, from_json, to_json

RESULTS = Path("results/speed")


def measure(patterns: list[str], asked: Conditions, folder: Path = RESULTS) -> None:
    """Measure the loops that match one of ``patterns`` and write the page after each; other loops stay as they were.

    :raises InputError: if no loop matches, or the file of an earlier run cannot be read.
    """
    chosen = [name for name in loops() if any(fnmatchcase(name, pattern) for pattern in patterns)]
    if not chosen:
        raise InputError(f"no loop is called {', '.join(patterns)}; there are {', '.join(loops())}")
    name, commit = machine(asked.device), git_commit()
    path = folder / f"{slug(name)}.json"
    kept = _read(path)
    for number, loop in enumerate(chosen, start=1):
        began = time.monotonic()
        try:
            record = loops()[loop](asked)
        except CompilationError as problem:
            kept.pop(loop, None)
            said = f"{loop} left out: {problem}"
        else:
            kept[loop] = {"commit": commit, "torch": torch.__version__, "turns": asked.turns, **to_json(record)}
            said = page.line(record)
        kept = {known: kept[known] for known in loops() if known in kept}
        write_atomically(path, json.dumps({"machine": name, "loops": kept}, indent=2) + "\n")
        _write_page(path, name, kept)
        print(f"speed {number}/{len(chosen)} {said} ({time.monotonic() - began:.0f} s)", flush=True)
    print(f"speed: {path.with_suffix('.md')}")


def _write_page(path: Path, name: str, kept: dict[str, Any]) -> None:
    records = {loop: _record(values) for loop, values in kept.items()}
    made = sorted({f"commit `{one['commit'][:12]}`, torch {one['torch']}" for one in kept.values()})
    figure = page.growth_figure(list(records.values()))
    if figure is not None:
        save(figure, path.with_name(f"{path.stem}-growth"))
    turns = min((one["turns"] for one in kept.values()), default=0)
    write_atomically(path.with_suffix(".md"), page.markdown(name, list(records.values()), made, turns, path.stem))


def _record(values: dict[str, Any]) -> Record:
    return from_json({key: value for key, value in values.items() if key not in ("commit", "torch", "turns")})


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        loops = json.loads(path.read_text())["loops"]
        for values in loops.values():
            _record(values)
        return loops
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not what an earlier run wrote ({error!r}): remove it") from error


def main(arguments: list[str] | None = None) -> None:
    # Not typer, so that this also runs where only torch is installed beside numpy, pandas and matplotlib.
    parser = argparse.ArgumentParser(prog="python -m pipelines.speed", description=__doc__)
    parser.add_argument("--device", default="cpu", help="where to compute: cpu (one thread) or cuda")
    parser.add_argument("--turns", type=int, default=5, help="rounds in which each way is timed (default: 5)")
    parser.add_argument("--only", nargs="+", default=["*"], metavar="LOOP", help=f"names or globs of {list(loops())}")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    compute_reproducibly()  # as wherever a number is reported
    try:
        measure(given.only, Conditions(_device(given.device), _turns(given.turns)))
    except InputError as error:
        sys.exit(_refuse(str(error)))
    except KeyboardInterrupt:
        print("interrupted; what was measured is written, --only measures the rest", file=sys.stderr)
        sys.exit(130)


def _device(name: str) -> torch.device:
    if name not in ("cpu", "cuda"):
        raise InputError(f"--device must be cpu or cuda, not {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: this machine has no GPU that torch can use")
    return torch.device(name)


def _turns(count: int) -> int:
    if count < 1:
        raise InputError(f"--turns must be >= 1, not {count}")
    return count


def _refuse(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
