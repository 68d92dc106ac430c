"""How editors are found, described and built."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import editors
from editors import EditError
from tests.editors.conftest import ADDED, EXAMPLE, README

USE = """
import json, torch, editors
model = torch.nn.Linear(1, 1, bias=False)
torch.nn.init.constant_(model.weight, 1.0)
edit = editors.build("nesterov", lr=0.1, max_steps=1).edit(model, torch.ones(1, 1), lambda outputs: outputs.sum())
print(json.dumps([editors.available(), editors.describe("nesterov").source, edit.parameters["weight"].item()]))
"""


@pytest.mark.parametrize(
    ("name", "hyperparameters"),
    [
        ("gd", ["lr"]),
        ("scaled_gd", ["lr"]),
        ("rprop", ["lr"]),
        ("rmsprop", ["lr", "beta", "eps"]),
        ("momentum", ["lr", "mu"]),
        ("adam", ["lr", "beta1", "beta2", "eps"]),
    ],
)
def test_hyperparameters_have_the_names_of_the_field(name, hyperparameters):
    assert [parameter.name for parameter in editors.describe(name).hyperparameters] == hyperparameters
    assert editors.describe(name).options == {"max_steps": 10, "compiled": False}


def test_the_readme_names_every_file():
    named = set(re.findall(r"`(?:methods/)?(\w+)\.py`", README))
    files = {file.stem for file in Path(editors.__file__).parent.glob("*.py")}
    assert named <= files | {file.stem for file in Path(editors.__file__).parent.glob("methods/*.py")}
    assert files - named <= {"__init__", "errors", "hooks", "hyperparameters", "pytree", "registry", "views"}


def test_defaults_and_both_ends_of_every_search_range_are_valid(name):
    for parameter in editors.describe(name).hyperparameters:
        assert getattr(editors.build(name), parameter.name) == parameter.default
        assert parameter.low <= parameter.default <= parameter.high
        assert parameter.low > 0 or not parameter.log
        for value in (parameter.low, parameter.default, parameter.high):
            assert getattr(editors.build(name, **{parameter.name: value}), parameter.name) == value


def test_a_new_file_in_methods_is_found_by_itself_as_the_readme_says(tmp_path):
    package = tmp_path / "editors"
    shutil.copytree(Path(editors.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "methods" / "added.py").write_text(EXAMPLE, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", USE], cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    available, source, weight = json.loads(done.stdout)
    assert ADDED == "nesterov"
    assert available == editors.available()
    assert source == "Sutskever et al., ICML 2013"
    assert weight == pytest.approx(1 - 0.1 * 1.5)


def test_two_editors_cannot_have_one_name():
    with pytest.raises(EditError, match=r"two editors are called 'gd': editors\.methods\.gd and "):

        @editors.register("gd")
        @dataclass(frozen=True, kw_only=True)
        class Other(editors.DescentEditor):
            pass

    assert type(editors.build("gd")).__module__ == "editors.methods.gd"


@pytest.mark.parametrize(("low", "high", "log"), [(1.0, 0.1, False), (0.0, 1.0, True), (0.1, float("inf"), True)])
def test_a_range_that_cannot_be_searched_is_refused_where_it_is_declared(low, high, log):
    with pytest.raises(EditError, match=f"low < high, and low > 0 with log=True, not {low:g} to {high:g}"):
        editors.hyperparameters.hyperparameter(0.5, low=low, high=high, log=log)


def test_an_editor_that_is_no_dataclass_is_refused():
    with pytest.raises(EditError, match="'plain' must be a dataclass"):

        @editors.register("plain")
        class Plain:
            pass

    assert "plain" not in editors.available()
