"""Parameter files as text: YAML as DVC reads it, and files that build on each other."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.errors import InputError
from pipelines.config import params


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "must hold keys and values, found nothing"),
        (b"# nothing but a comment\n", "must hold keys and values, found nothing"),
        (b"- a\n- b\n", "must hold keys and values, found a list"),
        (b"seed: [1\n", "cannot be read as YAML"),
        (b"editors:\n\tgd: 1\n", "cannot be read as YAML"),
        (b"seed: 1\nseed: 2\n", 'found duplicate key "seed"'),
        (b"seed: !!python/object/apply:os.getcwd []\n", "cannot be read as YAML"),
        (b"seed: 2024-13-45\n", "cannot be read as YAML"),
        (b"seed: \xff\xfe\n", "cannot be read as YAML"),
    ],
)
def test_a_file_that_is_not_a_block_of_yaml_is_refused_in_one_sentence(tmp_path: Path, text: bytes, sentence: str):
    (tmp_path / "params.yaml").write_bytes(text)
    with pytest.raises(InputError, match=sentence) as refused:
        params.read_yaml(tmp_path / "params.yaml")
    assert "\n" not in str(refused.value)
    assert "params.yaml" in str(refused.value)


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path: Path):
    with pytest.raises(InputError, match=r"absent\.yaml does not exist; run this in the repository's root"):
        params.read_yaml(tmp_path / "absent.yaml")
    with pytest.raises(InputError, match="cannot be read as YAML"):
        params.read_yaml(tmp_path)


@pytest.mark.parametrize("written", ["1e-4", "1E-4", "1.0e-4", "+1e-4", "0.0001", ".1e-3"])
def test_a_number_may_be_written_in_any_way_that_dvc_takes(tmp_path: Path, written: str):
    (tmp_path / "params.yaml").write_text(f"lr: {written}\n")
    assert params.read_yaml(tmp_path / "params.yaml") == {"lr": 1e-4}


BASE = {
    "data": {"dataset": "digits", "options": {"tuning_size": 3, "test_size": 4}},
    "trainings": {"plain": {"recipe": "plain", "lr": 1, "epochs": 2}, "cnp": {"recipe": "cnp", "edits": 8}},
    "editors": {"gd": {"layers": {"plain": ["all", "head"]}}, "adam": {"trials": 3}},
    "tuning": {"edits": 5},
    "mistakes": {"edits": 3},
}


def extended(folder: Path, **contents: dict[str, Any]) -> dict[str, Any]:
    """What the file ``mine`` says, beside ``base`` and others."""
    for name, content in {"base": BASE, **contents}.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return params.read_extended(folder / "mine.yaml")


def test_blocks_are_merged_key_by_key_and_lists_replaced(tmp_path: Path):
    changes = {"trainings": {"plain": {"epochs": 9}}, "editors": {"gd": {"layers": {"plain": ["head"], "cnp": ["c"]}}}}
    found = extended(tmp_path, mine={"extends": "base", "note": "Mine.", **changes})
    assert found == BASE | {
        "note": "Mine.",
        "trainings": BASE["trainings"] | {"plain": {"recipe": "plain", "lr": 1, "epochs": 9}},
        "editors": {"gd": {"layers": {"plain": ["head"], "cnp": ["c"]}}, "adam": {"trials": 3}},
    }
    assert list(found["trainings"]) == ["plain", "cnp"]


def test_null_takes_an_entry_away_among_trainings_and_editors_and_is_a_value_elsewhere(tmp_path: Path):
    nothing = {"trainings": {"cnp": None}, "editors": {"adam": None}, "mistakes": None, "tuning": {"edits": None}}
    found = extended(tmp_path, mine={"extends": "base", **nothing})
    assert (list(found["trainings"]), list(found["editors"])) == (["plain"], ["gd"])
    assert (found["mistakes"], found["tuning"]) == (None, {"edits": None})


def test_a_training_that_is_taken_away_takes_its_layers_along(tmp_path: Path):
    parent = {"extends": "base", "editors": {"gd": {"layers": {"cnp": ["head"], "plain": ["head"]}}}}
    found = extended(tmp_path, parent=parent, mine={"extends": "parent", "trainings": {"cnp": None}})
    assert found["editors"]["gd"] == {"layers": {"plain": ["head"]}}


def test_another_recipe_or_dataset_replaces_its_block_and_the_same_one_does_not(tmp_path: Path):
    changes = {"data": {"dataset": "cifar10"}, "trainings": {"plain": {"recipe": "dknn", "k": 3}, "cnp": {"edits": 4}}}
    found = extended(tmp_path, mine={"extends": "base", **changes})
    assert found["data"] == {"dataset": "cifar10"}
    assert found["trainings"] == {"plain": {"recipe": "dknn", "k": 3}, "cnp": {"recipe": "cnp", "edits": 4}}
    same = {"data": {"dataset": "digits", "options": {"test_size": 5}}}
    found = extended(tmp_path, mine={"extends": "base", **same})
    assert found["data"] == {"dataset": "digits", "options": {"tuning_size": 3, "test_size": 5}}


def test_what_a_parent_takes_away_a_child_may_bring_back(tmp_path: Path):
    parent = {"extends": "base", "editors": {"adam": None}, "tuning": {"edits": 6}}
    found = extended(tmp_path, parent=parent, mine={"extends": "parent", "editors": {"adam": {"trials": 1}}})
    assert found["editors"]["adam"] == {"trials": 1}
    assert found["tuning"] == {"edits": 6}


@pytest.mark.parametrize(
    ("contents", "sentence"),
    [
        ({"mine": {"extends": "bass"}}, "mine.yaml: extends: unknown 'bass'; did you mean 'base'? there are: base, mi"),
        ({"mine": {"extends": "../base"}}, "extends: unknown '../base'"),
        ({"mine": {"extends": ["base"]}}, "extends: unknown ['base']"),
        ({"mine": {"extends": "mine"}}, "mine.yaml: extends: mine extends this file in turn"),
        ({"mine": {"extends": "b"}, "b": {"extends": "mine"}}, "b.yaml: extends: mine extends this file in turn"),
        ({"mine": {"extends": "b"}, "b": {"extends": "c"}}, "b.yaml: extends: unknown 'c'"),
    ],
)
def test_a_parent_that_is_not_there_or_a_circle_is_one_sentence(tmp_path: Path, contents: dict, sentence: str):
    with pytest.raises(InputError) as refused:
        extended(tmp_path, **contents)
    assert sentence in str(refused.value)
