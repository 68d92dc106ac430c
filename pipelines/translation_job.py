"""What every step towards Table 6 needs to know: settings, places of files, and what each file is made of."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import editors
from baselines import counting, editable_translation, translation, translation_epochs, translation_objectives
from benchmarks import seeds
from benchmarks import translation as room
from benchmarks.files import file_hash
from benchmarks.translation import corpora
from benchmarks.translation.requests import TranslationRequest
from pipelines.code_hash import code_hash, with_imports
from pipelines.layout import TIMING, Layout, cell, repeated
from pipelines.progress import Progress
from pipelines.settings import Settings
from pipelines.translation_settings import RowSettings, TranslationSettings

REQUESTS = "requests.jsonl"
_TEXT = ("text.py", "corpus.py", "vocabulary.py")
_MODEL = ("batches.py", "corpus.py", "model.py", "randomness.py", "toolkit.py", "vocabulary.py")
_REQUESTS = (*_MODEL, "decoding.py", "requests.py")
_EDITS = (*_REQUESTS, "divergence.py", "parts.py")
_SCORES = (*_EDITS, "bleu.py", "perturbations.py", "scoring.py", "text.py")


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
    return [*_files_of(room, _TEXT), *sorted(Path(inspect.getfile(corpora)).parent.glob("*.py"))]


def training_code(editor: str | None) -> list[Path]:
    """Those that decide about a trained model, which learns from edits if there is an ``editor``."""
    modules = (seeds, counting, translation, translation_epochs, translation_objectives)
    files = [file for module in modules for file in _module(module)]
    if editor is None:
        return [*files, *_files_of(room, _MODEL)]
    return [*files, *_module(editable_translation), *_files_of(room, _EDITS), *_editing(editor)]


def request_code() -> list[Path]:
    """Those that decide about the edits that are drawn from a model."""
    return [*_module(seeds), *_files_of(room, _REQUESTS)]


def scoring_code(editor: str) -> list[Path]:
    """Those that decide what an edit does, and what a record says of it."""
    return [*_module(seeds), *_files_of(room, _SCORES), *_editing(editor)]


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


def _editing(editor: str) -> list[Path]:
    return with_imports([Path(editors.__file__), editors.file_of(editor)], ("editors",))


def _module(module: Any) -> list[Path]:
    return [Path(inspect.getfile(module))]


def _files_of(package: Any, names: Sequence[str]) -> list[Path]:
    folder = Path(inspect.getfile(package)).parent
    return [folder / name for name in sorted(set(names))]
