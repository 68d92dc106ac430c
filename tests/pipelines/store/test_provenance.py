"""Where numbers come from is written down truly, and dvc.yaml knows every file that can change them."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.config import params
from pipelines.store import machine, provenance

ROOT = Path(__file__).parents[3]

_IMPORTED = """
import importlib, json, sys
from pathlib import Path
importlib.import_module("pipelines." + sys.argv[1])
root = Path.cwd()
files = [Path(module.__file__) for module in sys.modules.values() if getattr(module, "__file__", None)]
print(json.dumps([str(file.relative_to(root)) for file in files if file.is_relative_to(root)]))
"""
ROOMS = ("editors", "benchmarks", "baselines", "pipelines")

NEVER = {
    "baselines/checkpointing.py": "where a killed training goes on, never where it ends",
    "baselines/usable_editors.py": "refuses editors; makes nothing",
    "benchmarks/errors.py": "an exception",
    "benchmarks/files.py": "how files are written, not what",
    "editors/hyperparameters.py": "checks values; ranges stand in the method's own file, a dependency",
    "editors/registry.py": "finds files by name",
    "pipelines/config/architectures.py": "checks params.yaml; DVC compares its values",
    "pipelines/config/benchmarks.py": "checks params.yaml; DVC compares its values",
    "pipelines/store/code.py": "says what need not be made again",
    "pipelines/command.py": "the command line",
    "pipelines/store/csv_files.py": "how tables are written; the stages say with how many digits",
    "pipelines/store/fingerprint.py": "says what need not be made again",
    "pipelines/store/layout.py": "names of folders; dvc.yaml names the same",
    "pipelines/store/machine.py": "names the machine and the commit",
    "pipelines/config/yaml_files.py": "reads params.yaml; DVC compares its values",
    "pipelines/jobs/progress.py": "lines for the terminal",
    "pipelines/store/records.py": "how records are written, not what",
    "pipelines/config/params.py": "checks params.yaml; DVC compares its values",
    "pipelines/config/sequences.py": "the same",
    "pipelines/config/trainings.py": "the same",
    "pipelines/translation_settings.py": "the same",
    "pipelines/store/stage_times.py": "says how long a stage took",
    "pipelines/jobs/parallel_map.py": "any number of processes gives the same bytes",
}
"""What no stage depends on, with the reason. Package files (`__init__.py`) hold names only."""
CHECKED_ONLY = "imported to check params.yaml"
CHECKED_TRAININGS = {
    "baselines/cnp.py": "imported to check the trainings' blocks in params.yaml",
    "baselines/meters.py": "the same",
    "baselines/dknn.py": "registers an architecture",
    "baselines/edit_targets.py": "imported to check the trainings' blocks in params.yaml",
    "baselines/editable.py": "the same",
    "baselines/epochs.py": "the same",
    "baselines/objectives.py": "the same",
    "baselines/precision.py": "the same",
    "baselines/training.py": "the same",
}
CHECKED_FOR_CELLS = {file: why for file, why in CHECKED_TRAININGS.items() if file != "baselines/dknn.py"}
"""The same where networks are edited: a DkNN answers by code of its own."""
OF_ALL_TRAININGS = ("baselines/meters.py", "baselines/precision.py")
"""Those of them that translators are trained with as well."""
LEFT_OUT = {
    "prepare": {
        **CHECKED_TRAININGS,
        "benchmarks/scoring/ranks.py": "imported with the mistakes; candidates are found without a model",
        "benchmarks/networks/raw_images.py": CHECKED_ONLY,
        "benchmarks/networks/folding.py": CHECKED_ONLY,
        "editors/": CHECKED_ONLY,
        "benchmarks/models/": CHECKED_ONLY,
        "benchmarks/networks/model_split.py": CHECKED_ONLY,
        "baselines/model_files.py": CHECKED_ONLY,
    },
    "train": {
        "editors/backtracking.py": CHECKED_ONLY,
        "editors/views.py": "imported with the package; a training asks for no views",
        "pipelines/jobs/sources.py": "refuses models that do not fit; makes nothing",
        "benchmarks/datasets/": "data are a dependency, as files",
        "pipelines/tracking/sync.py": "shows the training while it runs; report makes its run again",
        "pipelines/tracking/server.py": "the same",
    },
    "tune": {
        **CHECKED_FOR_CELLS,
        "benchmarks/data/mistakes.py": "imported with the cells; tuning edits to random labels",
        "pipelines/jobs/realistic_mistakes.py": "the same",
        "baselines/model_files.py": "reads weights, which are a dependency",
        "benchmarks/datasets/": "data are a dependency, as files",
    },
    "evaluate": {
        **CHECKED_FOR_CELLS,
        "baselines/model_files.py": "reads weights, which are a dependency",
        "benchmarks/datasets/": "data are a dependency, as files",
    },
    "analyse": {
        **CHECKED_FOR_CELLS,
        "benchmarks/data/mistakes.py": "imported with the cells; random labels are analysed",
        "pipelines/jobs/realistic_mistakes.py": "the same",
        "baselines/model_files.py": "reads weights, which are a dependency",
        "benchmarks/datasets/": "data are a dependency, as files",
    },
    "sequences": {
        **CHECKED_FOR_CELLS,
        "baselines/model_files.py": "reads weights, which are a dependency",
        "benchmarks/datasets/": "data are a dependency, as files",
        "benchmarks/scoring/ranks.py": "imported with the mistakes; edits in a row have given targets",
    },
    "report": {
        **CHECKED_TRAININGS,
        "baselines/model_files.py": "models are a dependency, as files",
        "benchmarks/data/augmentation.py": "records are a dependency, as files",
        "benchmarks/data/dataset.py": "the same",
        "benchmarks/networks/folding.py": "the same",
        "benchmarks/data/mistakes.py": "the same",
        "benchmarks/scoring/ranks.py": "the same",
        "benchmarks/networks/raw_images.py": "the same",
        "benchmarks/datasets/": "the same",
        "benchmarks/models/": "the same",
        "benchmarks/networks/model_split.py": "the same",
        "editors/": "the same",
    },
    "translation": {
        **{file: why for file, why in CHECKED_TRAININGS.items() if file not in OF_ALL_TRAININGS},
        "benchmarks/data/augmentation.py": "of images",
        "benchmarks/data/dataset.py": "of images",
        "benchmarks/datasets/": "of images",
        "benchmarks/scoring/request_options.py": "of classifiers",
        "benchmarks/networks/folding.py": "of classifiers",
        "benchmarks/data/mistakes.py": "of classifiers",
        "benchmarks/models/": "classifiers",
        "benchmarks/networks/model_split.py": "of classifiers",
        "benchmarks/scoring/ranks.py": "of classifiers",
        "benchmarks/networks/raw_images.py": "of images",
        "benchmarks/data/corruptions.py": "of images",
        "benchmarks/scoring/scorer.py": "of classifiers; translators have one of their own",
        "pipelines/reporting/claims/measurements.py": "of classifiers",
        "pipelines/reporting/tables/training_notes.py": "of classifiers",
    },
}


def inside(file: str, names: object) -> bool:
    return any(file == name or file.startswith(name.rstrip("/") + "/") for name in names)


@pytest.fixture(scope="module", params=list(LEFT_OUT))
def stage(request: pytest.FixtureRequest) -> tuple[str, list[str], list[str]]:
    """A stage, the files of this repository that its command imports, and the dependencies in dvc.yaml."""
    command = [sys.executable, "-c", _IMPORTED, request.param]
    imported = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    imported = [file for file in imported if file.startswith(ROOMS)]
    assert f"pipelines/{request.param}.py" in imported
    declared = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][request.param]["deps"]
    return request.param, imported, declared


def test_what_a_stage_imports_is_a_dependency_or_is_left_out_for_a_reason(stage):
    name, imported, declared = stage
    files = [file for file in imported if not file.endswith("__init__.py")]
    missing = [file for file in files if not inside(file, [*declared, *NEVER, *LEFT_OUT[name]])]
    assert missing == []
    assert [one for one in LEFT_OUT[name] if not any(inside(file, [one]) for file in imported)] == []


def test_nothing_is_left_out_that_is_also_declared_and_every_dependency_exists(stage):
    name, _, declared = stage
    assert not [file for file in declared if inside(file, [*NEVER, *LEFT_OUT[name]])]
    code = [file for file in declared if file.startswith(ROOMS) and "$" not in file]
    assert code
    assert not [file for file in code if not (ROOT / file).exists()]


def test_a_run_is_described_by_what_made_it(tuned, monkeypatch):
    monkeypatch.chdir(tuned.folder)
    described = provenance.describe(params.load(), "digits")
    assert described["seed"] == 0
    assert described["packages"]["optuna"] == importlib.metadata.version("optuna")
    assert described["data"]["fingerprint"] == json.loads(Path("data/digits/dataset.json").read_text())["fingerprint"]
    assert described["hardware"]["processes"] == 1
    pieces = {"train/plain", "tune/gd", "tune/rmsprop"}
    assert set(described["seconds"]) == {"stages", "tables_and_figure_2", *pieces}
    assert set(described["seconds"]["tune/gd"]) == {"plain-all", "plain-chain4"}


def test_the_commit_says_whether_code_differs_from_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert machine.git_commit() == "unknown"

    def git(*arguments: str) -> str:
        user = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        return subprocess.run(("git", *user, *arguments), capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q")
    Path("params.yaml").write_text("seed: 0\n")
    Path("results").mkdir()
    git("add", ".")
    git("commit", "-qm", "first")
    head = git("rev-parse", "HEAD")
    assert machine.git_commit() == head
    Path("results/table1.csv").write_text("a\n")
    assert machine.git_commit() == head
    Path("params.yaml").write_text("seed: 1\n")  # stands in run.json
    assert machine.git_commit() == head
    Path("editors").mkdir()
    Path("editors/mine.py").write_text("lr = 1\n")
    assert machine.git_commit() == f"{head}-dirty"


def test_wall_times_that_cannot_be_read_are_named(tuned):
    (tuned.folder / "results/digits/tuned/gd/timing.json").write_text("{")
    ended = tuned.run("report", "digits")
    assert ended.code == 2
    assert "tuned/gd/timing.json is not valid JSON" in ended.errors
    assert "Traceback" not in ended.errors
