"""A result is up to date if what computes it is the same: neither how code is written down nor what it only says."""

from collections.abc import Callable
from pathlib import Path

import pytest

import editors
from benchmarks.errors import InputError
from pipelines.jobs.cells import Cell, ModelKey
from pipelines.store import fingerprint as store
from pipelines.store.fingerprint import MADE_OF, code_hash, drop_unless_made_of, is_made_of, with_imports, write_made_of
from pipelines.tasks import task_of
from tests.pipelines.conftest import committed

ROOT = Path(editors.__file__).parents[1]
DIGEST = "3822233b3583f7c4c166342294f9cb387b121dafa7dee67dd668a5cad53bc952"
CODE = '''"""A docstring."""

RATE = 0.1
"""What the rate is."""
FINE: dict[str, float] = {"rate": RATE}


class Editor:
    """Edits."""

    kind: str

    def step(self, loss: float, times: int = 2) -> float:  # once
        """One step."""
        if loss < 0:
            raise ValueError(f"loss must be >= 0, not {loss}")
        print("a step of", loss)
        return RATE * loss
'''


@pytest.fixture
def hashed(tmp_path: Path) -> Callable[[str], str]:
    """The hash of a file that holds this text."""

    def of(text: str) -> str:
        (tmp_path / "code.py").write_text(text)
        return code_hash(tmp_path / "code.py")

    return of


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("A docstring.", "Another one, longer."),
        ('"""A docstring."""\n\n', ""),
        ("What the rate is.", "What it is not."),
        ('        """One step."""\n', ""),
        ("  # once", ""),
        ("RATE * loss", "(\n            RATE\n            * loss\n        )"),
        ("\n\n\nclass Editor", "\n# a remark\nclass Editor"),
        ("loss: float, times: int = 2) -> float", "loss, times=2)"),
        ("dict[str, float]", "dict[str, int]"),
        ('f"loss must be >= 0, not {loss}"', '"no"'),
        ("raise ValueError", "raise InputError"),
        ('        print("a step of", loss)\n', ""),
    ],
)
def test_words_layout_hints_errors_and_prints_do_not_count(hashed, old, new):
    assert old in CODE
    assert hashed(CODE.replace(old, new)) == hashed(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.1", "0.01"),
        ("RATE * loss", "RATE / loss"),
        ("times: int = 2", "times: int = 3"),
        ("loss < 0", "loss <= 0"),
        ('            raise ValueError(f"loss must be >= 0, not {loss}")', "            pass"),
        ("return RATE * loss", "RATE * loss"),
        ("RATE * loss", "None"),
        ("        return", "        loss = str('a text in use')\n        return"),
        ('        print("a step of", loss)', '        step("a step of", loss)'),
        ('"rate": RATE', '"beta": RATE'),
        ("class Editor", "@dataclass\nclass Editor"),
        ("class Editor:", "class Editor(Base):"),
    ],
)
def test_whatever_changes_a_result_changes_the_hash(hashed, old, new):
    assert old in CODE
    assert hashed(CODE.replace(old, new)) != hashed(CODE)


def test_files_of_the_suite_have_a_hash_each_whatever_the_version_of_python(hashed):
    files = [file for file in sorted((ROOT / "editors").rglob("*.py")) if file.read_text().strip()]
    assert len({code_hash(file) for file in files}) == len(files) > 20
    assert hashed('def f(x: int) -> str:\n    return f"{x!r} {\'.\' * 5}" if x else ""\n') == DIGEST


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small repository."""
    for name, text in {
        "editors/first.py": "def f():\n    from benchmarks import second\n",
        "editors/methods/near.py": "from . import beside\nfrom .own import deep\nfrom ..unseen import z\n",
        "editors/methods/beside.py": "a = 1\n",
        "editors/methods/own/deep.py": "b = 1\n",
        "benchmarks/second.py": "import torch\nfrom baselines.silent import x\nfrom pipelines.above import y\n",
        "baselines/silent.py": "from editors import unseen\nFINGERPRINTED = False\nx = 1\n",
        "editors/unseen.py": "z = 1\n",
        "pipelines/above.py": "y = 1\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(store, "_ROOT", tmp_path)
    store._imported.cache_clear()
    yield tmp_path
    store._imported.cache_clear()


def test_imports_are_followed_down_the_rooms_but_not_into_modules_that_decide_no_number(repository):
    first = repository / "editors/first.py"
    assert with_imports([first]) == [first, repository / "benchmarks/second.py"]
    found = store.fingerprint(["a"], [first])
    for name, changes in (
        ("baselines/silent.py", False),
        ("pipelines/above.py", False),
        ("benchmarks/second.py", True),
    ):
        path = repository / name
        path.write_text(path.read_text() + "more = 2\n")
        assert (store.fingerprint(["a"], [first]) != found) == changes


def test_relative_imports_are_followed_as_well(repository):
    near = repository / "editors/methods/near.py"
    others = ["editors/methods/beside.py", "editors/methods/own/deep.py", "editors/unseen.py"]
    assert with_imports([near]) == [near, *(repository / name for name in others)]


def test_settings_and_files_count_and_a_missing_file_is_named(repository):
    code, weights = [repository / "editors/first.py"], repository / "weights"
    weights.write_bytes(b"1")
    found = store.fingerprint([{"lr": 1}], code, [weights])
    assert store.fingerprint([{"lr": 2}], code, [weights]) != found
    assert store.fingerprint([{"lr": 1}], code) != found
    weights.write_bytes(b"2")
    assert store.fingerprint([{"lr": 1}], code, [weights]) != found
    with pytest.raises(InputError, match="absent is missing: run the stage that makes it first"):
        store.fingerprint([], code, [repository / "absent"])


def names(files: list[Path]) -> set[str]:
    return {file.relative_to(ROOT).as_posix() for file in with_imports(files)}


def of_cell(benchmark: str, training: str, editor: str, layers: str) -> set[str]:
    settings = committed()
    code = task_of(settings, benchmark).scoring_code(settings, Cell(benchmark, training, editor, layers))
    return names([*code, editors.file_of(settings.benchmark(benchmark).method(editor))])


def of_model(benchmark: str, training: str) -> set[str]:
    settings = committed()
    return names(task_of(settings, benchmark).made_from(settings, ModelKey(benchmark, training))[1])


def test_an_edit_follows_from_its_own_method_and_network_and_from_what_they_are_made_of():
    plain = of_cell("digits", "plain", "gd", "chain3")
    assert {"benchmarks/scoring/scorer.py", "benchmarks/networks/folding.py", "editors/descent.py"} <= plain
    assert {file for file in plain if file.startswith("editors/methods/")} == {"editors/methods/gd.py"}
    assert {file for file in plain if file.startswith("benchmarks/models/re")} == {"benchmarks/models/resnet18.py"}
    assert not {"benchmarks/scoring/similar.py", "benchmarks/patching/patches.py", "benchmarks/errors.py"} & plain
    for more, training, editor, layers in (
        ("editors/methods/rmsprop.py", "plain", "interpolate", "chain3"),
        ("editors/replay.py", "plain", "retrain", "chain3"),
        ("editors/covariance.py", "plain", "covariance_views", "chain3"),
        ("baselines/dknn.py", "dknn-10", "flip_labels", "votes"),
    ):
        assert more in of_cell("digits", training, editor, layers) - plain


def test_a_training_follows_from_its_recipe():
    plain, editable = of_model("digits", "plain"), of_model("digits", "editable-0.1-rmsprop-chain3")
    assert {"baselines/training.py", "benchmarks/models/resnet18.py"} <= plain & editable
    assert "editors/methods/rmsprop.py" in editable - plain
    assert "benchmarks/models/densenet169.py" not in plain | editable


def test_what_a_translator_learns_and_does_follows_from_its_own_files():
    plain, editable = of_model("toy_translation", "plain"), of_model("toy_translation", "editable-100")
    scored = of_cell("toy_translation", "plain", "covariance", "last_feed_forward")
    folder = "benchmarks/translation/"
    assert {"baselines/translation.py", f"{folder}model.py"} <= plain & editable
    assert {"editors/methods/rmsprop.py", f"{folder}divergence.py"} <= editable - plain
    assert {"editors/covariance.py", f"{folder}bleu.py", f"{folder}perturbations.py"} <= scored - editable
    assert f"{folder}scoring.py" not in plain | editable
    assert not {"baselines/editable.py", "benchmarks/data/dataset.py", "benchmarks/networks/folding.py"} & plain


def test_it_is_made_of_what_was_written_and_needs_its_other_files(tmp_path: Path) -> None:
    path, other = tmp_path / MADE_OF, tmp_path / "records.csv"
    assert not is_made_of(path, "a")
    write_made_of(path, "a")
    assert is_made_of(path, "a")
    assert not is_made_of(path, "b")
    assert not is_made_of(path, "a", other)
    other.touch()
    assert is_made_of(path, "a", other)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '"a"', "null"])
def test_a_broken_file_is_made_of_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / MADE_OF).write_text(content)
    assert not is_made_of(tmp_path / MADE_OF, "a")


def test_unfinished_work_of_other_code_or_settings_is_not_gone_on_from(tmp_path: Path) -> None:
    checkpoint = tmp_path / "plain" / "checkpoint.pt"
    checkpoint.parent.mkdir()
    for fingerprint, kept in (("a", False), ("a", True), ("b", False), ("b", True)):
        checkpoint.write_text("half")
        drop_unless_made_of(checkpoint.parent, fingerprint)
        assert checkpoint.exists() == kept
