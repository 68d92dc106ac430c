"""Where everything lies, and how tables and small files are written there: the same bytes for the same content."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.files import file_part, write_atomically

KEYS = ["training", "editor", "layers"]
"""The columns that name a cell in every table of a benchmark."""

HISTORY = "history.csv"
"""Of a model that was trained: its epochs."""
EDITOR = "editor.json"
"""Of a model that was trained for one editor: that editor, with the hyperparameters it ended with."""
COST = "cost.json"
"""Of a model whose training edits: what a step costs, in steps of plain training."""
RANKS = "ranks.csv"
"""Of a model trained with matched ranks: how often true classes of mistakes had each rank, and the probabilities
with which targets were drawn by it."""
MISTAKES = ".mistakes"
"""In names of records beside those of a cell: of realistic mistakes, edited to their true classes."""

LEARNED = ".learned.csv"
"""Records of a cell's edits with the hyperparameters that training ended with, of a model trained for this editor."""

ORIGIN = "made.json"
"""Of a model: the commit and the machine that made it."""
TIMING = "timing.json"
"""Beside models and chosen hyperparameters: the wall time that they took."""


@dataclass(frozen=True)
class Layout:
    """Paths below the repository's root (the working directory, as for DVC)."""

    benchmark: str
    root: Path = Path()

    @property
    def data(self) -> Path:
        """The prepared dataset."""
        return self.root / "data" / self.benchmark

    @property
    def models(self) -> Path:
        """A folder for each trained model."""
        return self.root / "models" / self.benchmark

    def model(self, training: str, seed: int = 0) -> Path:
        """A trained model with its description and history."""
        return self.models / repeated(training, seed)

    def described(self, training: str, seed: int = 0) -> Path:
        """What a report says of a trained model, in small files: description, history, times, costs."""
        return self.results / "models" / repeated(training, seed)

    def unfinished(self, *parts: str) -> Path:
        """What an unfinished stage resumes from; not an output."""
        return self.root.joinpath("unfinished", self.benchmark, *parts)

    def again(self, stage: str, *names: str) -> str:
        """The command that makes a stage's files anew, as the end of a sentence."""
        return f"run `python -m pipelines.{' '.join((stage, self.benchmark, *names))}`"

    @property
    def descriptors(self) -> Path:
        """What each analysed edit did to every test image, as tensors."""
        return self.root / "descriptors" / self.benchmark

    @property
    def results(self) -> Path:
        """Tables, records and figures."""
        return self.root / "results" / self.benchmark

    @property
    def stages(self) -> Path:
        """How long each stage took, and on which machine with which code; not the same in every run."""
        return self.results / "stages.json"

    def tuned(self, editor: str) -> Path:
        """Chosen hyperparameters and the trials that led to them."""
        return self.results / "tuned" / editor

    def edits(self, editor: str) -> Path:
        """One record per edit."""
        return self.results / "edits" / editor

    @property
    def sequences(self) -> Path:
        """One record per edit in a row of edits."""
        return self.results / "sequences"

    @property
    def similar(self) -> Path:
        """One record per edit of an augmentation of a mistake, and which test image is most like it."""
        return self.sequences / "similar"

    @property
    def joint(self) -> Path:
        """One record per request of many edits together."""
        return self.results / "joint"

    @property
    def figure2(self) -> Path:
        """What Figure 2 shows, as tables."""
        return self.results / "figure2"

    @property
    def figures(self) -> Path:
        """Plots as PNG and SVG."""
        return self.results / "figures"


def repeated(name: str, seed: int) -> str:
    """The name of one of several repetitions, such as a training's model: ``plain`` for seed 0, ``plain@1`` for 1."""
    return f"{name}@{seed}" if seed else name


def cell(training: str, layers: str, seed: int = 0, edit_seed: int = 0) -> str:
    """The file name of one cell of an editor's results, such as ``plain-chain3``."""
    return file_part(repeated(f"{repeated(training, seed)}-{layers}", edit_seed))


def write_csv(path: Path, frame: pd.DataFrame, *, digits: int) -> None:
    """Write a table without its index, atomically, every float with so many significant digits."""
    write_atomically(path, frame.to_csv(index=False, float_format=f"%.{digits}g", lineterminator="\n"))


def write_json(path: Path, content: Mapping[str, Any], **options: Any) -> None:
    """Write a small file that a person can read, atomically; ``options`` are those of ``json.dumps``."""
    write_atomically(path, json.dumps(content, indent=2, **options) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The content of a small file; nothing where there is none, or none that says anything."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def remove_others(folder: Path, wanted: Collection[str]) -> None:
    """Remove from a folder of results, made if need be, what belongs to none of them any more."""
    folder.mkdir(parents=True, exist_ok=True)  # DVC misses an output that is not there, even if it is empty
    for stale in [path for path in folder.iterdir() if path.name not in wanted]:
        shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
