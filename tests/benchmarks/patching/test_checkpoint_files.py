import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import safetensors.torch
import torch
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
    torch.save({"epoch": 3, "state_dict": tensors, "note": "x"}, path)


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


def test_every_format_gives_the_same_tensors_and_fingerprint(checkpoint: Path) -> None:
    found = checkpoint_files.read(checkpoint)
    for name, value in weights().items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value)
    assert checkpoint_files.fingerprint(found) == checkpoint_files.fingerprint(weights())


@pytest.mark.parametrize("name", ["matrix", "half", "count", "more_zeros"])
def test_rewriting_changes_one_tensor_and_writing_back_gives_the_same_bytes(
    checkpoint: Path, tmp_path: Path, name: str
) -> None:
    old = checkpoint_files.read(checkpoint)
    changed, restored = (tmp_path / f"{stem}{checkpoint.suffix}" for stem in ("changed", "restored"))
    checkpoint_files.rewrite(checkpoint, changed, {name: old[name] + 1})
    new = checkpoint_files.read(changed)
    shared = {"matrix", "view"} if checkpoint.suffix != ".safetensors" else {"matrix"}
    for other in old:
        same = other not in (shared if name == "matrix" else {name})
        assert torch.equal(new[other], old[other]) == same, other
    assert torch.equal(new[name], old[name] + 1)
    checkpoint_files.rewrite(changed, restored, {name: old[name]})
    assert restored.read_bytes() == checkpoint.read_bytes() != changed.read_bytes()


@pytest.mark.parametrize("kind", ["pth", "pt", "bin"])
def test_rewritten_archives_have_the_right_checksums(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"model.{kind}"
    FORMATS[kind](weights(), path)
    checkpoint_files.rewrite(path, path, {"matrix": torch.ones(5, 3), "zeros": torch.ones(4)})
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None


def test_checksums_that_were_never_computed_stay_as_they_are(tmp_path: Path) -> None:
    path, changed = tmp_path / "model.pth", tmp_path / "changed.pth"
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(weights(), path)
    finally:
        torch.serialization.set_crc32_options(True)
    checkpoint_files.rewrite(path, changed, {"matrix": torch.ones(5, 3)})
    checkpoint_files.rewrite(changed, changed, {"matrix": weights()["matrix"]})
    assert changed.read_bytes() == path.read_bytes()


def test_fingerprint_depends_on_names_types_shapes_and_values() -> None:
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


def broken_files(folder: Path) -> dict[str, tuple[Path, str]]:
    found = {
        "missing": (folder / "none.pth", "is missing"),
        "text": (folder / "text.pth", "is no checkpoint"),
        "broken safetensors": (folder / "broken.safetensors", "is not a readable safetensors file"),
        "runs code": (folder / "code.pth", "is no checkpoint that can be read without running code"),
        "no tensors": (folder / "numbers.pth", "holds no state dict"),
        "truncated": (folder / "short.pth", "is no checkpoint"),
    }
    found["text"][0].write_text("hello")
    found["broken safetensors"][0].write_bytes(b"nonsense")
    found["runs code"][0].write_bytes(pickle.dumps({"a": Malicious()}))
    torch.save({"epoch": 3}, found["no tensors"][0])
    torch.save(weights(), found["truncated"][0])
    found["truncated"][0].write_bytes(found["truncated"][0].read_bytes()[:-300])
    return found


@pytest.mark.parametrize("case", ["missing", "text", "broken safetensors", "runs code", "no tensors", "truncated"])
def test_what_is_no_checkpoint_is_refused_in_one_sentence(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path, words = broken_files(tmp_path)[case]
    with pytest.raises(InputError, match=words) as refusal:
        checkpoint_files.read(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "was-run").exists()


def test_rewriting_refuses_other_shapes_and_writes_nothing(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"zeros is float32 \(4,\), not float64 \(4,\)"):
        checkpoint_files.rewrite(checkpoint, out, {"zeros": torch.zeros(4, dtype=torch.float64)})
    assert not out.exists()


def test_old_files_with_other_storages_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    content = {"state_dict": {"a": torch.zeros(2)}, "optimizer": {"moment": torch.ones(3)}}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    before = path.read_bytes()
    with pytest.raises(InputError, match="holds storages beside those of its state dict"):
        checkpoint_files.rewrite(path, path, {"a": torch.ones(2)})
    assert path.read_bytes() == before
