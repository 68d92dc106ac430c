"""What code does decides its hash, not how it is written down."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipelines.store.code import code_hash

import editors
from pipelines import translation_job
from pipelines.config import params
from pipelines.jobs import cells, recipes

DIGEST = "9a7cf7a5da143dce968b8da9047a159f45879351a802b012bcd457d9c3eb9690"
CODE = '''"""A docstring."""

RATE = 0.1
"""What the rate is."""


class Editor:
    """Edits."""

    def step(self, loss):  # once
        """One step."""
        return RATE * loss


class Done(Exception):
    """Nothing but a docstring."""
'''


@pytest.fixture
def hashed(tmp_path):
    """The hash of a file that holds this text."""

    def of(text: str) -> str:
        file = tmp_path / "code.py"
        file.write_text(text)
        return code_hash(file)

    return of


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("A docstring.", "Another one, longer."),
        ('"""A docstring."""\n\n', ""),
        ("What the rate is.", "What it is not."),
        ('        """One step."""\n', ""),
        ('    """Nothing but a docstring."""', "    pass"),
        ("  # once", ""),
        ("RATE * loss", "(\n            RATE\n            * loss\n        )"),
        ("\n\n\nclass Editor", "\n# a remark\nclass Editor"),
    ],
)
def test_words_and_layout_do_not_count(hashed, old, new):
    assert old in CODE
    assert hashed(CODE.replace(old, new)) == hashed(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.1", "0.01"),
        ("RATE * loss", "RATE / loss"),
        ("def step(self, loss)", "def step(self, loss=1)"),
        ("return RATE * loss", "RATE * loss"),
        ("Exception", "ValueError"),
        ("        return", "        loss = str('a text in use')\n        return"),
        ("RATE * loss", "None"),
        ("RATE = 0.1", "RATE = ''"),
    ],
)
def test_whatever_changes_a_result_changes_the_hash(hashed, old, new):
    assert old in CODE
    assert hashed(CODE.replace(old, new)) != hashed(CODE)


def test_files_of_the_suite_have_a_hash_each():
    files = sorted(Path(editors.__file__).parent.rglob("*.py"))
    found = [code_hash(file) for file in files if file.read_text().strip()]
    assert len(set(found)) == len(found) > 20


def test_the_hash_does_not_depend_on_the_version_of_python(hashed):
    text = 'def f(x: int) -> str:\n    return f"{x!r} {\'.\' * 5}" if x else ""\n'
    assert hashed(text) == DIGEST


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        code_hash(tmp_path / "none.py")


ROOT = Path(editors.__file__).parents[1]


def of_cell(training: str, editor: str, layers: str) -> set[str]:
    files = cells._code(params.load(ROOT / "params.yaml"), cells.Cell("digits", training, editor, layers), [])
    return {file.relative_to(ROOT).as_posix() for file in files}


def test_an_edit_follows_from_its_own_method_and_network_and_from_what_they_are_made_of():
    plain, mixed, again = (of_cell("plain", editor, "chain3") for editor in ("gd", "interpolate", "retrain"))
    shared = {
        "benchmarks/scoring/scorer.py",
        "benchmarks/networks/folding.py",
        "editors/descent.py",
        "pipelines/jobs/scorers.py",
    }
    for files in (plain, mixed, again):
        assert shared | {"benchmarks/models/resnet18.py"} <= files
    assert "editors/methods/rmsprop.py" in mixed - plain
    assert {"editors/methods/adam.py", "editors/replay.py"} <= again - plain
    assert "baselines/dknn.py" in of_cell("dknn-10", "flip_labels", "votes") - plain
    assert "editors/covariance.py" in of_cell("plain", "covariance", "chain3") - plain


def test_another_network_editor_or_command_remakes_no_edit():
    files = of_cell("plain", "gd", "chain3")
    assert {file for file in files if file.startswith("editors/methods/")} == {"editors/methods/gd.py"}
    assert (
        not {"benchmarks/models/densenet169.py", "benchmarks/patching/patches.py", "benchmarks/scoring/similar.py"}
        & files
    )


def test_a_training_follows_from_its_recipe_and_nothing_of_how_it_resumes():
    chosen = params.load(ROOT / "params.yaml")
    plain, editable = (
        {file.relative_to(ROOT).as_posix() for file in recipes.code_of(chosen, recipes.Task("digits", name))}
        for name in ("plain", "editable-0.1-rmsprop-chain3")
    )
    assert {"baselines/training.py", "baselines/images.py", "benchmarks/models/resnet18.py"} <= plain & editable
    assert {"baselines/editable.py", "editors/descent.py", "editors/methods/rmsprop.py"} <= editable - plain
    assert not {"baselines/checkpointing.py", "benchmarks/errors.py", "baselines/cnp.py"} & (plain | editable)


def test_what_a_translator_learns_and_does_follows_from_its_own_files():
    plain, editable, asked, scored = (
        {file.relative_to(ROOT).as_posix() for file in files}
        for files in (
            translation_job.training_code(None),
            translation_job.training_code("rmsprop"),
            translation_job.request_code(),
            translation_job.scoring_code("covariance"),
        )
    )
    folder = "benchmarks/translation/"
    assert {"baselines/translation.py", "baselines/training.py", f"{folder}model.py"} <= plain & editable
    assert {"editors/methods/rmsprop.py", f"{folder}divergence.py", f"{folder}parts.py"} <= editable - plain
    assert {f"{folder}requests.py", f"{folder}decoding.py", f"{folder}model.py"} <= asked & scored
    assert {"editors/covariance.py", f"{folder}bleu.py", f"{folder}perturbations.py"} <= scored - asked
    assert f"{folder}scoring.py" not in plain | editable | asked
    classifiers = {
        "baselines/editable.py",
        "baselines/objectives.py",
        "benchmarks/data/dataset.py",
        "benchmarks/networks/folding.py",
    }
    assert not {"baselines/checkpointing.py", *classifiers} & (plain | editable | asked)
    assert not {"editors/descent.py", "editors/parameter_buffers.py"} & asked
