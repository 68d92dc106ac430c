"""What every step towards Table 6 needs to know: settings, places of files, and what each file is made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import editors
from baselines import editable_translation, translation
from benchmarks.files import file_hash
from benchmarks.translation import corpora, corpus, requests, scoring
from benchmarks.translation.requests import TranslationRequest
from pipelines.config.params import Settings
from pipelines.jobs.progress import Progress
from pipelines.store.code import code_hash, with_imports
from pipelines.store.layout import TIMING, Layout, cell, repeated
from pipelines.translation_settings import RowSettings, TranslationSettings

REQUESTS = "requests.jsonl"


@dataclass(frozen=True)
class Job:
    """All settings, which benchmark this is, and its block of params.yaml."""

    settings: Settings
    benchmark: str
    chosen: TranslationSettings

    @property
    def layout(self) -> Layout:
        """Where its files lie."""
        return Layout(self.benchmark)

    @property
    def axes(self) -> tuple[str | int, ...]:
        """What everything random depends on."""
        return (self.settings.seed, self.benchmark)

    @property
    def edits(self) -> Path:
        """One file of records for each row and training seed, and the edits that every model is asked for."""
        return self.layout.results / "edits"

    @property
    def tuned(self) -> Path:
        """Hyperparameters that were searched, all trials, and the validation edits that they met."""
        return self.layout.results / "tuned"

    @property
    def translations(self) -> Path:
        """What each model makes of the test set before any edit, and the wall time that this took."""
        return self.layout.results / "translations"

    def translated(self, model: Model) -> tuple[Path, Path]:
        """The files of one model there: its translations and their wall time."""
        return self.translations / f"{model.name}.csv", self.translations / f"{model.name}.{TIMING}"

    @property
    def models(self) -> list[Model]:
        """Every training with every training seed."""
        return [Model(name, seed) for seed in self.settings.training_seeds for name in self.chosen.trainings]

    @property
    def plain(self) -> Model:
        """The model from which edits are drawn."""
        return Model("plain", self.settings.training_seeds[0])

    @property
    def cells(self) -> list[RowCell]:
        """Every row of the table with every training seed."""
        return [RowCell(row, seed) for seed in self.settings.training_seeds for row in self.chosen.rows]


@dataclass(frozen=True)
class Model:
    """A training with one of the training seeds."""

    training: str
    seed: int

    @property
    def name(self) -> str:
        """The name of its folder."""
        return repeated(self.training, self.seed)


@dataclass(frozen=True, eq=False)
class RowCell:
    """A row of the table with one of the training seeds."""

    row: RowSettings
    seed: int

    @property
    def model(self) -> Model:
        """Whose weights are edited."""
        return Model(self.row.training, self.seed)

    @property
    def file(self) -> str:
        """Name of its files, without a suffix."""
        return cell(self.row.training, self.row.described, self.seed)


def counted(drawn: Iterator[TranslationRequest], progress: Progress) -> Iterator[TranslationRequest]:
    """The same requests, with a line of progress now and then."""
    for one in drawn:
        progress.advance()
        yield one


def data_code() -> list[Path]:
    """The files of code that decide about a prepared corpus."""
    return _code(corpus.__file__, *sorted(Path(corpora.__file__).parent.glob("*.py")))


def training_code(editor: str | None) -> list[Path]:
    """Those that decide about a trained model, which learns from edits if there is an ``editor``."""
    return _code(translation.__file__, *([editable_translation.__file__, editors.file_of(editor)] if editor else []))


def request_code() -> list[Path]:
    """Those that decide about the edits that are drawn from a model."""
    return _code(requests.__file__)


def scoring_code(editor: str) -> list[Path]:
    """Those that decide what an edit does, and what a record says of it."""
    return _code(scoring.__file__, editors.file_of(editor))


def _code(*files: str | Path) -> list[Path]:
    return with_imports(map(Path, files), ("editors", "benchmarks", "baselines"))


def files_named(options: dict[str, Any]) -> list[Path]:
    """Files that options name: the corpus is prepared anew when one changes."""
    paths = [Path(value) for value in options.values() if isinstance(value, str)]
    return sorted(file for path in paths for file in (path.glob("*") if path.is_dir() else [path]) if file.is_file())


def identity(described: Sequence[Any], code: Sequence[Path], files: Sequence[Path]) -> str:
    """A hash of all that a result follows from: settings, files of code, and other files."""
    digest = hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode())
    for found in (*map(code_hash, dict.fromkeys(code)), *map(file_hash, dict.fromkeys(files))):
        digest.update(found.encode())
    return digest.hexdigest()
