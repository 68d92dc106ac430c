import json
import os
import pickle
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from baselines.checkpointing import load_state, save_state
from baselines.model_files import DESCRIPTION, WEIGHTS, ModelDescription, load_model, load_weights, save_model
from benchmarks.errors import InputError

MakeResNet = Callable[..., nn.Module]
TRAINED = ModelDescription("resnet18", {"width": 2}, 1, 4, "plain", 3, 5, 1.25, "a fingerprint")


def test_model_comes_back_bit_identical_and_in_evaluation_mode(make_resnet, tmp_path):
    model = make_resnet().train()
    model(torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)))  # moves batch statistics
    save_model(tmp_path, model, TRAINED)
    loaded, description = load_model(tmp_path)
    assert description == TRAINED
    assert not any(module.training for module in loaded.modules())
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())
    assert int(loaded.stem.bn.num_batches_tracked) == 1


def test_same_seed_same_bytes(fit, tmp_path):
    for folder in ("first", "second"):
        save_model(tmp_path / folder, fit(folder=f"{folder}/checkpoints").model, TRAINED)
    for name in (WEIGHTS, DESCRIPTION):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_description_is_readable(make_resnet, tmp_path):
    save_model(tmp_path, make_resnet(), TRAINED)
    assert json.loads((tmp_path / DESCRIPTION).read_text()) == asdict(TRAINED)
    assert sorted(path.name for path in tmp_path.iterdir()) == [DESCRIPTION, WEIGHTS]


@pytest.mark.parametrize("name", [WEIGHTS, DESCRIPTION])
def test_missing_file_is_named(make_resnet, tmp_path, name):
    save_model(tmp_path, make_resnet(), TRAINED)
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=f"{name} is missing: train the model first"):
        load_model(tmp_path)


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_truncated_weights_are_named(make_resnet, tmp_path, kept):
    save_model(tmp_path, make_resnet(), TRAINED)
    whole = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(whole[:kept])
    with pytest.raises(InputError, match=r"model\.safetensors is not a readable safetensors file"):
        load_model(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '"text"', '{"architecture": "resnet18"}', '{"unknown": 1}'])
def test_broken_description_is_named(make_resnet, tmp_path, text):
    save_model(tmp_path, make_resnet(), TRAINED)
    (tmp_path / DESCRIPTION).write_text(text)
    with pytest.raises(InputError, match=r"model\.json does not describe a model"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"classes": "ten"},
        {"classes": -1},
        {"options": [1]},
        {"epoch": 1.5},
        {"architecture": {}},
        {"tuning_error": "x"},
    ],
)
def test_a_field_of_another_kind_is_named(make_resnet, tmp_path, change):
    save_model(tmp_path, make_resnet(), TRAINED)
    path = tmp_path / DESCRIPTION
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=rf"model\.json does not describe a model \({next(iter(change))} is "):
        load_model(tmp_path)


def test_weights_of_another_width_name_the_first_tensor(make_resnet, tmp_path):
    save_model(tmp_path, make_resnet(width=3), replace(TRAINED, options={"width": 2}))
    with pytest.raises(
        InputError,
        match=r"model\.safetensors belongs to another architecture: at stem\.conv\.weight it holds "
        r"\(3, 1, 3, 3\), the model needs \(2, 1, 3, 3\)",
    ):
        load_model(tmp_path)


@pytest.mark.parametrize(("name", "holds"), [("head.linear.bias", "nothing"), ("extra", r"\(3,\)")])
def test_missing_and_surplus_tensors_are_named(make_resnet, tmp_path, name, holds):
    model = make_resnet()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    weights = {key: value + 1 for key, value in before.items() if key != name}
    safetensors.torch.save_file(weights | ({"extra": torch.zeros(3)} if name == "extra" else {}), tmp_path / WEIGHTS)
    with pytest.raises(InputError, match=f"at {name} it holds {holds}"):
        load_weights(model, tmp_path / WEIGHTS)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_state_comes_back_and_absent_state_is_none(tmp_path):
    state = {"identity": "x", "history": [{"epoch": 1, "parts": {}}], "best": {"w": torch.tensor([1.0, -0.0])}}
    assert load_state(tmp_path / "state.pt") is None
    save_state(tmp_path / "state.pt", state)
    loaded = load_state(tmp_path / "state.pt")
    assert torch.equal(loaded.pop("best")["w"], state.pop("best")["w"])
    assert loaded == state


class Executed:
    """Unpickling this makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (self.folder,)


def test_nothing_in_a_checkpoint_is_executed(tmp_path):
    torch.save({"identity": Executed(tmp_path / "made")}, tmp_path / "saved.pt")
    (tmp_path / "pickled.pt").write_bytes(pickle.dumps(Executed(tmp_path / "made"), protocol=2))
    for name in ("saved.pt", "pickled.pt"):
        with pytest.raises(InputError, match=f"{name} is not a readable checkpoint"):
            load_state(tmp_path / name)
    assert not (tmp_path / "made").exists()


def test_checkpoint_that_is_no_table_is_refused(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "state.pt")
    with pytest.raises(InputError, match=r"state\.pt is not a readable checkpoint"):
        load_state(tmp_path / "state.pt")
