"""What is wrong with a corpus ends the translation stage with one sentence and exit code 2, as for the other stages."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.optional import PREPARING, needs
from tests.pipelines.conftest import Project, tiny_parameters

NAME = "mine"
CAPTIONS = ("train", "val", "test_2016_flickr")
POSITIONS = 24


@pytest.fixture
def project(stage_server: subprocess.Popen[str], tmp_path: Path) -> Project:
    """A corpus of captions in files, and one small model to be trained on it."""
    params = tiny_parameters() | {"run_translation": [NAME]}
    params["translation"] = {
        NAME: {
            "note": "Small.",
            "data": {"corpus": "multi30k", "options": {"folder": "raw", "merges": 40}},
            "model": {"embed_dim": 8, "ffn_dim": 8, "heads": 2, "layers": 1, "max_positions": POSITIONS},
            "trainings": {"plain": {"epochs": 1}},
            "edits": {"count": 2, "control_size": 2, "alternatives": 2},
            "rows": [{"training": "plain", "editor": "rmsprop"}],
        }
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    (tmp_path / "raw").mkdir()
    for stem in CAPTIONS:
        for language, line in (("de", "Ein Hund, Nummer {}."), ("en", "A dog, number {}.")):
            lines = [line.format(number) for number in range(4)]
            (tmp_path / "raw" / f"{stem}.{language}").write_text("\n".join(lines) + "\n")
    return Project(tmp_path, stage_server)


def _refused(project: Project) -> str:
    """What the stage says; it must be a sentence in one line, after at most one that MLflow does not answer."""
    ended = project.run("translation", NAME)
    assert ended.code == 2, ended
    *warnings, said = ended.errors.splitlines()
    assert [one for one in warnings if not one.startswith("warning: MLflow at ")] == []
    assert len(warnings) <= 1
    assert said.startswith("error: ")
    assert "Traceback" not in ended.output
    return said.removeprefix("error: ")


def _more(folder: Path) -> None:
    (folder / "train.de").write_text((folder / "train.de").read_text() + "Eine Zeile zu viel.\n")


def _empty(folder: Path) -> None:
    (folder / "train.en").write_text("")


def _no_text(folder: Path) -> None:
    (folder / "train.de").write_bytes(b"\xff\xfe")


def _gone(folder: Path) -> None:
    (folder / "train.en").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_more, "raw/train.*: line n must translate line n, but there are 5 and 4 lines"),
        (_empty, "raw/train.en is empty"),
        (_no_text, "raw/train.de cannot be read as text"),
        (_gone, "raw/train.en is missing (or train.en.gz)"),
    ],
)
def test_files_that_are_no_corpus(project: Project, spoil: Callable[[Path], None], message: str) -> None:
    spoil(project.folder / "raw")
    assert _refused(project).startswith(message)
    assert not (project.folder / "data").exists()


def test_an_archive_that_is_missing(project: Project) -> None:
    project.change(**{f"translation__{NAME}__data": {"corpus": "iwslt14", "options": {"archive": "nowhere.tgz"}}})
    assert _refused(project) == "nowhere.tgz is missing: give IWSLT'14's de-en.tgz as the option 'archive'"
    (project.folder / "nowhere.tgz").write_bytes(b"nothing packed")
    assert _refused(project).startswith("nowhere.tgz cannot be unpacked: file could not be opened")


@needs(*PREPARING)
@pytest.mark.parametrize("stem", ["train", "test_2016_flickr"])  # known before training, and when edits are drawn
def test_a_sentence_longer_than_the_models_positions(project: Project, stem: str) -> None:
    for language in ("de", "en"):
        path = project.folder / "raw" / f"{stem}.{language}"
        path.write_text(path.read_text() + "1 2 3 " * POSITIONS + "\n")
    wanted = f" units, the model only {POSITIONS} positions: leave it out or raise model.max_positions"
    assert _refused(project).endswith(wanted)


@needs(*PREPARING)
def test_a_vocabulary_of_another_run(project: Project) -> None:
    project.change(**{f"translation__{NAME}__model__max_positions": 2})
    assert "positions" in _refused(project)  # the corpus is prepared by now
    path = project.folder / "data" / NAME / "dict.en.txt"
    first, second, *others = path.read_text().splitlines()
    path.write_text("\n".join([second, first, *others]) + "\n")
    said = f"data/{NAME}: text, dictionaries and numbers are not of one run: prepare the corpus again"
    assert _refused(project) == said
