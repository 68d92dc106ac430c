"""How editors are found, described and built."""

import ast
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import editors
from tests.editors.conftest import ADDED, EXAMPLE, README

USE = """
import json, torch, editors
model = torch.nn.Linear(1, 1, bias=False)
torch.nn.init.constant_(model.weight, 1.0)
edit = editors.build("nesterov", lr=0.1, max_steps=1).edit(model, torch.ones(1, 1), lambda outputs: outputs.sum())
print(json.dumps([editors.available(), editors.describe("nesterov").source, edit.parameters["weight"].item()]))
"""


def test_the_six_editors_of_the_paper_are_there() -> None:
    assert {"gd", "scaled_gd", "rprop", "rmsprop", "momentum", "adam"} <= set(editors.available())
    assert editors.available() == sorted(editors.available())


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
def test_hyperparameters_have_the_names_of_the_field(name: str, hyperparameters: list[str]) -> None:
    assert [parameter.name for parameter in editors.describe(name).hyperparameters] == hyperparameters
    assert editors.describe(name).options == {"max_steps": 10, "compiled": False}


def test_the_readme_names_every_file() -> None:
    named = set(re.findall(r"`(?:methods/)?(\w+)\.py`", README))
    files = {file.stem for file in Path(editors.__file__).parent.glob("*.py")}
    assert named <= files | {file.stem for file in Path(editors.__file__).parent.glob("methods/*.py")}
    assert files - named <= {"__init__", "errors", "hooks", "hyperparameters", "pytree", "registry", "views"}


def test_description_says_what_an_editor_is_and_where_it_comes_from(name: str) -> None:
    description = editors.describe(name)
    assert description.name == name
    assert description.source
    assert description.summary
    assert description.source not in description.summary


def test_defaults_and_both_ends_of_every_search_range_are_valid(name: str) -> None:
    for parameter in editors.describe(name).hyperparameters:
        assert parameter.low <= parameter.default <= parameter.high
        assert parameter.low > 0 or not parameter.log
        for value in (parameter.low, parameter.default, parameter.high):
            assert getattr(editors.build(name, **{parameter.name: value}), parameter.name) == value


def test_build_uses_the_declared_defaults_for_what_is_not_given(name: str) -> None:
    editor = editors.build(name, max_steps=3)
    assert editor.max_steps == 3
    for parameter in editors.describe(name).hyperparameters:
        assert getattr(editor, parameter.name) == parameter.default


def test_built_editors_do_not_change(name: str) -> None:
    with pytest.raises(AttributeError):
        editors.build(name).max_steps = 3


def test_hyperparameters_may_be_tensors_of_one_element() -> None:
    lr = torch.tensor([0.25], requires_grad=True)
    assert editors.build("gd", lr=lr).lr is lr


def test_a_new_file_in_methods_is_found_by_itself_as_the_readme_says(tmp_path: Path) -> None:
    package = tmp_path / "editors"
    shutil.copytree(Path(editors.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "methods" / "added.py").write_text(EXAMPLE, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", USE], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    available, source, weight = json.loads(done.stdout)
    assert ADDED == "nesterov"
    assert available == editors.available()
    assert source == "Sutskever et al., ICML 2013"
    assert weight == pytest.approx(1 - 0.1 * 1.5)


def test_two_editors_cannot_have_one_name() -> None:
    with pytest.raises(ValueError, match=r"two editors are called 'gd': editors\.methods\.gd and "):

        @editors.register("gd")
        @dataclass(frozen=True, kw_only=True)
        class Other(editors.DescentEditor):
            pass

    assert type(editors.build("gd")).__module__ == "editors.methods.gd"


def test_an_editor_that_is_no_dataclass_is_refused() -> None:
    with pytest.raises(TypeError, match="'plain' must be a dataclass"):

        @editors.register("plain")
        class Plain:
            pass

    assert "plain" not in editors.available()


def test_editors_import_torch_and_nothing_of_this_project() -> None:
    files = list(Path(editors.__file__).parent.rglob("*.py"))
    assert len(files) > 10
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                roots = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                roots = {(node.module or "").split(".")[0]}
            else:
                continue
            solvers = {"numpy", "scipy"} if file.name == "least_change.py" else set()
            assert roots <= {"editors", "torch", *solvers, *sys.stdlib_module_names}, file.name
