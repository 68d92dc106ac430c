"""Anybody's checkpoints: read without running code in them, and written again with other values."""

import argparse
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch import Tensor

from benchmarks.errors import InputError
from benchmarks.patching import checkpoint_files
from benchmarks.seeds import generator


def weights() -> dict[str, Tensor]:
    source = generator("checkpoint files")
    matrix = torch.randn(5, 3, generator=source)
    return OrderedDict(
        matrix=matrix,
        view=matrix.T,  # shares the matrix's storage, in another order
        half=torch.randn(7, generator=source).to(torch.bfloat16),
        count=torch.tensor(3),
        zeros=torch.zeros(4),
        more_zeros=torch.zeros(4),
    )


def save_pth(tensors: dict[str, Tensor], path: Path) -> None:
    torch.save(tensors, path)


def save_nested(tensors: dict[str, Tensor], path: Path) -> None:
    optimizer = {"state": {0: {"momentum": torch.ones(3)}}, "param_groups": []}
    torch.save({"epoch": 3, "net": tensors, "optimizer": optimizer, "note": "x"}, path)


def save_safetensors(tensors: dict[str, Tensor], path: Path) -> None:
    separate = {name: value.clone().contiguous() for name, value in tensors.items()}
    safetensors.torch.save_file(separate, path, metadata={"format": "pt", "author": "somebody"})


def save_python_zip(tensors: dict[str, Tensor], path: Path) -> None:
    """As torch.save writes it, packed again by Python, which puts checksums before the records, not behind."""
    torch.save(tensors, path)
    with zipfile.ZipFile(path) as archive:
        records = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, content)


def save_legacy(tensors: dict[str, Tensor], path: Path) -> None:
    state = dict(tensors) | {"zeros": torch.nn.Parameter(tensors["zeros"])}
    torch.save({"model": OrderedDict(state)}, path, _use_new_zipfile_serialization=False)


FORMATS = {
    "pth": save_pth,
    "pt": save_nested,
    "safetensors": save_safetensors,
    "bin": save_python_zip,
    "old": save_legacy,
}


@pytest.fixture(params=FORMATS)
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"model.{request.param}"
    FORMATS[request.param](weights(), path)
    return path


def test_every_format_gives_the_same_tensors_and_fingerprint(checkpoint):
    found = checkpoint_files.read(checkpoint)
    for name, value in weights().items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value)
    assert checkpoint_files.fingerprint(found) == checkpoint_files.fingerprint(weights())


@pytest.mark.parametrize("name", ["matrix", "half", "count", "more_zeros"])
def test_rewriting_changes_one_tensor_and_writing_back_restores_it(checkpoint, tmp_path, name):
    original, old = checkpoint.read_bytes(), checkpoint_files.read(checkpoint)
    changed, restored = (tmp_path / f"{stem}{checkpoint.suffix}" for stem in ("changed", "restored"))
    checkpoint_files.rewrite(checkpoint, changed, {name: old[name] + 1})
    new = checkpoint_files.read(changed)
    shared = {"matrix", "view"} if checkpoint.suffix != ".safetensors" else {"matrix"}
    for other in old:
        same = other not in (shared if name == "matrix" else {name})
        assert torch.equal(new[other], old[other]) == same, other
    assert torch.equal(new[name], old[name] + 1)
    checkpoint_files.rewrite(changed, restored, {name: old[name]})
    found = checkpoint_files.read(restored)
    assert list(found) == list(old)
    assert checkpoint_files.fingerprint(found) == checkpoint_files.fingerprint(old)
    if checkpoint.suffix in (".pth", ".pt", ".safetensors"):  # as this torch or safetensors writes them
        assert restored.read_bytes() == original
    assert checkpoint.read_bytes() == original


def test_a_file_may_be_rewritten_in_place_and_nothing_else_is_left(checkpoint):
    checkpoint_files.rewrite(checkpoint, checkpoint, {"zeros": torch.ones(4)})
    assert torch.equal(checkpoint_files.read(checkpoint)["zeros"], torch.ones(4))
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def test_options_and_numbers_beside_the_weights_are_kept(tmp_path):
    beside = {"args": argparse.Namespace(lr=0.1, name="x"), "best": np.float32(0.5), "epochs": np.int64(3), "on": True}
    torch.save({"model_state_dict": weights(), **beside}, tmp_path / "model.pth")
    checkpoint_files.rewrite(tmp_path / "model.pth", tmp_path / "new.pth", {"zeros": torch.ones(4)})
    found = torch.load(tmp_path / "new.pth", weights_only=False)
    assert torch.equal(found.pop("model_state_dict")["zeros"], torch.ones(4))
    assert found == beside
    assert {name: type(value) for name, value in found.items()} == {name: type(one) for name, one in beside.items()}


def test_fingerprint_depends_on_names_types_shapes_and_values():
    base = {"a": torch.zeros(2, 2), "b": torch.ones(1)}
    others = [
        {"a": base["a"], "c": base["b"]},
        {"a": base["a"], "b": base["b"].double()},
        {"a": base["a"].reshape(4), "b": base["b"]},
        {"a": base["a"], "b": torch.tensor([1.0000001])},
    ]
    found = {checkpoint_files.fingerprint(state) for state in [base, *others]}
    assert len(found) == 5
    assert checkpoint_files.fingerprint(dict(reversed(base.items()))) == checkpoint_files.fingerprint(base)


class Malicious:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path("was-run"),)


REFUSED = {
    "text": (lambda: b"hello", "is no checkpoint"),
    "runs code": (lambda: pickle.dumps({"a": Malicious()}), "can be read without running code"),
    "a whole model": (lambda: torch.nn.Conv2d(1, 1, 1), r"\(it holds torch\.nn\.modules\.conv\.Conv2d\): save model"),
    "a script": (lambda: torch.jit.script(torch.nn.Linear(1, 1)), "it holds a TorchScript archive"),
    "no tensors": (lambda: {"epoch": 3}, "holds no state dict"),
    "two models": (lambda: {"model": weights(), "ema": weights()}, "state dicts, under 'model' and 'ema'"),
    "two networks": (lambda: {"critic": weights(), "actor": weights()}, "state dicts, under 'critic' and 'actor'"),
    "quantised": (lambda: {"a": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)}, "a is quantised"),
    "packed": (lambda: {"fc.scale": torch.ones(1), "fc.packed": (torch.ones(1), None)}, "fc.packed is a tuple"),
    "sparse": (lambda: {"a": torch.eye(2).to_sparse()}, "a is sparse"),
    "complex": (lambda: {"a": torch.ones(2, dtype=torch.complex64)}, "a is complex"),
    "nested": (lambda: {"a": torch.nested.nested_tensor([torch.ones(1), torch.ones(2)])}, "a is nested"),
    "numbered": (lambda: {0: torch.ones(2)}, "holds a tensor under 0, not under a name"),
    "meta": (lambda: {"a": torch.ones(2, device="meta")}, "a is without values"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_checkpoint_is_refused_in_one_sentence(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, (make, words) = tmp_path / "model.pth", REFUSED[case]
    content = make()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, torch.jit.ScriptModule):
        content.save(path)
    else:
        torch.save(content, path)
    with pytest.raises(InputError, match=words) as refusal:
        checkpoint_files.read(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == [path]


def test_files_that_are_missing_or_cut_are_refused(tmp_path):
    with pytest.raises(InputError, match="is missing"):
        checkpoint_files.read(tmp_path / "none.pth")
    (tmp_path / "broken.safetensors").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="is not a readable safetensors file"):
        checkpoint_files.read(tmp_path / "broken.safetensors")
    torch.save(weights(), tmp_path / "short.pth")
    (tmp_path / "short.pth").write_bytes((tmp_path / "short.pth").read_bytes()[:-300])
    with pytest.raises(InputError, match="is no checkpoint"):
        checkpoint_files.read(tmp_path / "short.pth")


NAMES = some.text(some.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
DTYPES = some.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool])


@given(
    entries=some.dictionaries(NAMES, some.tuples(DTYPES, some.lists(some.integers(0, 3), max_size=3)), min_size=1),
    key=some.sampled_from([None, *checkpoint_files.USUAL_KEYS, "of_my_own"]),
    beside=some.dictionaries(some.text(), some.integers() | some.text() | some.none()),
)
def test_any_tensors_under_any_names_are_read_and_rewritten(tmp_path, entries, key, beside):
    tensors = {name: torch.randint(2, shape).to(dtype) for name, (dtype, shape) in entries.items()}
    path, new = tmp_path / "any.pth", tmp_path / "new.pth"
    torch.save(tensors if key is None else {**beside, key: tensors}, path)
    found = checkpoint_files.read(path)
    assert list(found) == list(tensors)
    assert checkpoint_files.fingerprint(found) == checkpoint_files.fingerprint(tensors)
    changed = {name: torch.ones_like(value) for name, value in tensors.items()}
    checkpoint_files.rewrite(path, new, changed)
    assert checkpoint_files.fingerprint(checkpoint_files.read(new)) == checkpoint_files.fingerprint(changed)
    kept = torch.load(new, weights_only=True)
    assert key is None or {name: kept[name] for name in kept if name != key} == {
        name: value for name, value in beside.items() if name != key
    }


@given(kind=some.sampled_from(["pth", "safetensors", "old"]), place=some.floats(0, 1), bytes_=some.binary(min_size=1))
def test_a_damaged_file_is_read_or_refused_by_name(tmp_path, kind, place, bytes_):
    path = tmp_path / f"damaged.{kind}"
    FORMATS[kind](weights(), path)
    whole = path.read_bytes()
    at = int(place * len(whole))
    path.write_bytes(whole[:at] + bytes_ + whole[at + len(bytes_) :])
    try:
        found = set(checkpoint_files.read(path))
    except InputError as error:
        found = str(error)
    assert isinstance(found, set) or (str(path) in found and "\n" not in found)


def test_rewriting_refuses_other_shapes_and_names_and_writes_nothing(checkpoint, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"zeros is float32 \(4,\), not float64 \(4,\)"):
        checkpoint_files.rewrite(checkpoint, out, {"zeros": torch.zeros(4, dtype=torch.float64)})
    with pytest.raises(InputError, match=r"ones is missing, not float32 \(4,\)"):
        checkpoint_files.rewrite(checkpoint, out, {"ones": torch.zeros(4)})
    assert not out.exists()


@pytest.mark.parametrize("shared", ["two names", "one place"])
def test_values_that_share_their_place_are_refused_before_anything_is_written(shared, tmp_path):
    one = torch.zeros(4) if shared == "two names" else torch.zeros(1).expand(4)
    torch.save({"a": one, "b": one}, tmp_path / "model.pth")
    wanted = {"a": torch.arange(4.0), "b": torch.ones(4)}
    with pytest.raises(InputError, match="tensors that share their values"):
        checkpoint_files.rewrite(tmp_path / "model.pth", tmp_path / "out.pth", wanted)
    assert not (tmp_path / "out.pth").exists()
