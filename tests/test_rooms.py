"""Imports run one way, between rooms and between the floors of pipelines/; the files that DVC reads stay short."""

import ast
import graphlib
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
ROOMS = ("editors", "benchmarks", "baselines", "pipelines")
FLOORS = ("config", "store", "jobs", "reporting", "tracking", "tasks", "stages", "studies")
"""Packages of pipelines/, the lowest first; the stages are the files at its top, over which studies by hand stand."""
BESIDE = ("timing",)
"""On one floor with tracking, and imported by the stages alone."""
FOREIGN = {"mlflow": "pipelines", "optuna": "pipelines", "dvc": "pipelines", "ray": "pipelines", "typer": "pipelines"}
FOREIGN |= {"fairseq": "benchmarks/translation/toolkit.py"}
"""Packages that are imported in one place only."""
LATE = {"mlflow", "ray", "fairseq"}
"""Of them those that take seconds, for which nobody should wait who does not use them."""


def imports(file: Path) -> Iterator[tuple[str, bool]]:
    """The names that a file imports, and whether it does so as soon as it is imported itself."""
    tree = ast.parse(file.read_text())
    at_once = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        yield from ((name, id(node) in at_once) for name in names)


def outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    """The statements below a node that run where it does, and not once a function is called."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.expr | ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from outside_functions(child)


def floor(name: str) -> str:
    """The package of pipelines/ that a module's dotted name belongs to."""
    package = [*name.split("."), ""][1]
    return package if (ROOT / "pipelines" / package).is_dir() and package else "stages"


def module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_rooms_before_it_only(room):
    later = ROOMS[ROOMS.index(room) + 1 :]
    found = [(file, name) for file in FILES if file.is_relative_to(ROOT / room) for name, _ in imports(file)]
    assert found
    assert [(str(file), name) for file, name in found if name.split(".")[0] in later] == []
    if room == "editors":
        solvers = {name for file, name in found if file.stem == "least_change" and name.startswith(("numpy", "scipy"))}
        assert {name.split(".")[0] for _, name in found if name not in solvers} <= {
            *("editors", "torch"),
            *sys.stdlib_module_names,
        }


def test_packages_of_pipelines_import_downwards_only():
    wrong, seen = [], defaultdict(int)
    for file in (file for file in FILES if file.is_relative_to(ROOT / "pipelines")):
        here = floor(module(file))
        seen[here] += 1
        below = ("config", "store", "jobs", "reporting") if here in BESIDE else FLOORS[: FLOORS.index(here)]
        below += BESIDE if here == "stages" else ()
        for name, _ in imports(file):
            there = floor(name) if name.startswith("pipelines.") else here
            if there not in (here, *below):
                wrong.append(f"{module(file)} imports {name}")
    assert wrong == []
    assert set(seen) == {*FLOORS, *BESIDE}


def test_modules_do_not_import_each_other_in_circles():
    known = {module(file): file for file in FILES}
    order = {
        name: {other for other, at_once in imports(file) if at_once and other in known and other != name}
        for name, file in known.items()
        if file.name != "__init__.py"
    }
    assert len(list(graphlib.TopologicalSorter(order).static_order())) > 100


def test_some_packages_are_imported_in_one_place_only():
    found = {(name.split(".")[0], file) for file in FILES for name, _ in imports(file)}
    used = [(name, file) for name, file in found if name in FOREIGN]
    assert {"mlflow", "optuna", "typer"} <= {name for name, _ in used}
    assert [(name, str(file)) for name, file in used if not file.is_relative_to(ROOT / FOREIGN[name])] == []


def test_what_takes_seconds_to_import_is_imported_by_functions_only():
    """Whether something else does, the process that forks all stages of tests looks: tests/pipelines/conftest.py."""
    early = []
    for file in FILES:
        for node in outside_functions(ast.parse(file.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                early += [(str(file), name) for name in names if name.split(".")[0] in LATE]
    assert early == []


def headings(page: Path) -> set[str]:
    """The anchors of a page of Markdown, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_each_room_has_a_page_of_a_screen_or_two_whose_links_lead_somewhere():
    pages = [*ROOT.glob("README.md"), *ROOT.glob("*/README.md"), *(ROOT / "pipelines").glob("*/README.md")]
    assert {page.parent for page in pages} >= {ROOT, *(ROOT / room for room in ROOMS)}
    lost = []
    for page in pages:
        text = page.read_text("utf-8")
        assert len(text.splitlines()) <= 150, page
        for target, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", text):
            found = page.parent / target if target else page
            if not found.exists() or (anchor and found.suffix == ".md" and anchor not in headings(found)):
                lost.append((str(page), target, anchor))
    assert lost == []


def test_files_that_dvc_reads_are_short_and_name_what_there_is():
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) <= 150
    assert len((ROOT / "params.yaml").read_text().splitlines()) <= 80
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    assert list(stages) == ["prepare", "train", "tune", "evaluate", "analyse", "sequences", "joint", "report"]
    for name, stage in stages.items():
        assert re.fullmatch(rf"python -m pipelines\.{name} \$\{{item\.benchmark\}}", stage["cmd"])
        code = [path for path in stage["deps"] if "$" not in path]
        assert [path for path in code if not (ROOT / path).exists()] == []
        assert {"editors", "benchmarks", "baselines", f"pipelines/{name}.py"} <= set(code)
        named, *tracked = stage["params"]
        assert named == {"benchmarks/configs/${item.benchmark}.yaml": None}
        assert set(tracked) <= set(params)
