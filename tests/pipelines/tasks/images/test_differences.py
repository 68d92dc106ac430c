"""Every option that baselines/DIFFERENCES.md names exists, takes that value, and has another one by default."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

import editors
from benchmarks import models
from benchmarks.errors import InputError
from pipelines.config.blocks import Training
from pipelines.tasks.images.settings import ImageTraining

PAGE = Path(__file__).parents[4] / "baselines" / "DIFFERENCES.md"
LENGTH = {"epochs": 10, "batch_size": 64, "lr": 1e-3, "schedule": "constant"}
EDITS = {"c_edit": 0.01, "c_loc": 0.01}
BLOCKS: list[dict[str, Any]] = [
    {"recipe": "editable", "editor": "rmsprop", "layers": "chain3", **EDITS, **LENGTH},
    {"recipe": "cnp", **EDITS, **LENGTH},
    {"recipe": "cnp", "start": "plain", "front": "frozen", **EDITS, **LENGTH},
    {"recipe": "plain", "start": "plain", **LENGTH},
    {"recipe": "dknn", "network": "plain", "k": 10},
]


def named_options() -> list[tuple[str, str]]:
    """Code in the last cell of every row, and the words behind it."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    cells = [re.split(r"(?<!\\)\|", row)[-2].strip() for row in rows]
    found = []
    for cell in cells:
        assert cell in ("–", "option") or "`" in cell, cell
        place = re.search(r"(in|of) `(options|editors)`", cell)
        where = place.group(2) if place else "block"
        found += [(code, where) for code in re.findall(r"`([^`]+)`", cell) if code not in ("options", "editors")]
    return found


def block_with(option: dict[str, Any], base: dict[str, Any]) -> Training | None:
    try:
        return TypeAdapter(ImageTraining).validate_python(base | option)
    except (ValidationError, InputError):
        return None


@pytest.mark.parametrize(("code", "where"), named_options())
def test_option_exists_and_takes_that_value(code: str, where: str) -> None:
    if where == "editors":
        names = {one.name for editor in editors.available() for one in editors.describe(editor).hyperparameters}
        assert code in names
        return
    ((name, value),) = yaml.safe_load(code).items()
    if where == "options":
        takes = [one for one in ("cnp_resnet18", "resnet18_extra") if makes(one, {"width": 2, name: value})]
        assert takes
        assert not any(makes(one, {"width": 2, name: "nonsense"}) for one in takes)
        return
    made = [(base, block) for base in BLOCKS if (block := block_with({name: value}, base))]
    assert made, f"no recipe takes {code}"
    assert all(getattr(block, name) != type(block).model_fields[name].default for _, block in made), "it is the default"
    assert not any(block_with({name: object()}, base) for base, _ in made)


def makes(architecture: str, options: dict[str, Any]) -> bool:
    try:
        models.make(architecture, channels=1, classes=4, **options)
    except InputError:
        return False
    return True


def test_an_option_that_does_not_exist_is_found_out() -> None:
    assert not any(block_with({"edited_picture": "of_batch"}, base) for base in BLOCKS)
    assert not makes("cnp_resnet18", {"width": 2, "coder": "pooled"})


def test_every_choice_of_the_objective_is_on_the_page() -> None:
    """An option of Editable Training that is added later has a row too."""
    named = {code.split(":")[0] for code, _ in named_options()}
    fields = TypeAdapter(ImageTraining).validate_python(BLOCKS[0]).terms.__dataclass_fields__
    ordinary = {"c_loc", "editor", "layers", "max_steps", "hyperparameters"}
    assert set(fields) - ordinary <= named
