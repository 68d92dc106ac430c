"""Results carried from one machine to another, and files that claim to be such results."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from benchmarks.errors import InputError
from benchmarks.files import write_atomically
from pipelines import bundle as bundles
from pipelines import command
from pipelines.bundle import bundle, merge
from pipelines.jobs.cells import PROTOCOL
from pipelines.store.layout import Layout

BUNDLE = "digits.bundle.zip"
RESULTS = Path("results/digits")
PARAMS = ("--params", Path(__file__).parents[2] / "params.yaml")
RUN = {
    "protocol": PROTOCOL,
    "seed": 0,
    "data": {"source": "somewhere", "fingerprint": "d1"},
    "hardware": {"cpu": "a processor", "cores": 2, "gpu": "a faster machine"},
    "git_commit": "0123456789abcdef",
    "machine": "an EPYC, 2 cores",
    "parameters": {"benchmark": {"note": ""}},
    "training_seeds": [0],
    "edit_seeds": [0],
}
NAMED = {"benchmark": "digits", "training": "plain", "editor": "gd", "layers": "all", "fingerprint": "f1"}
TUNED = NAMED | {"hyperparameters": {"lr": 0.1}, "max_steps": 10, "feasible": True, "min_success": 95.0, "tuning": None}
MADE = {"commit": "0123456789abcdef", "machine": "a faster machine"}
CELL = TUNED | {"dataset": "d1", "protocol": PROTOCOL, "edits": 1, "made": MADE}
RECORDS = "edit,trivial,succeeded,steps,loss,control_size,wrong_before,wrong_after,note\n0,False,True,3,0.0,60,5,7,{}\n"
HEAD = "training,editor,layers,edits,error\n"


@pytest.fixture
def run(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    """The command with arguments, in this process: exit code, output, errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pipelines.bundle", *map(str, (*arguments, *PARAMS))])
        with pytest.raises(SystemExit) as end:
            command.run(bundle, merge)
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return run


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with results, as another machine reported them."""
    monkeypatch.chdir(tmp_path)
    put("run.json", RUN)
    for name in ("gd/plain-all", "rmsprop/plain-chain4"):
        for kind in ("", ".mistakes"):
            put(f"edits/{name}{kind}.json", CELL)
            put(f"edits/{name}{kind}.csv", RECORDS.format(f"{name}{kind}"))
            put(f"edits/{name}{kind}.timing.csv", "edit,milliseconds\n0,1.5\n")
        put(f"tuned/{name}.json", TUNED)
    put("tuned/gd/timing.json", {"seconds": 1.0})
    put("models/plain/model.json", {"training": "plain", "epoch": 3, "epochs": 4})
    put("models/plain/history.csv", "epoch,loss\n1,0.5\n")
    put("tuned/gd/plain-0.1-all.json", TUNED)
    put("tuned/gd/plain-0.1-all.csv", "number,success_rate,drawdown,rescored,feasible,chosen\n0,100,1.5,,True,True\n")
    put("sequences/similar/rmsprop-plain-chain4.csv", "edit\n0\n")
    put("requests/drawn.jsonl", '{"a": 1}\n{"a": 2}\n')
    put("sequences.csv", HEAD + "plain,gd,all,0,2.0\n")
    put("table1.csv", "made,by,the,report\n")
    put("figures/table1.png", "a picture")
    return tmp_path


def put(name: str, content: object) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (RESULTS / name).parent.mkdir(parents=True, exist_ok=True)
    (RESULTS / name).write_text(text)


def contents() -> dict[str, bytes]:
    return {str(path.relative_to(RESULTS)): path.read_bytes() for path in RESULTS.rglob("*") if path.is_file()}


def refused(ended: tuple[int, str, str], *words: str) -> None:
    code, _, errors = ended
    assert code == 2
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1, errors
    for word in words:
        assert word in errors


def test_what_was_packed_is_merged_where_nothing_is_without_what_a_report_makes(run) -> None:
    packed = contents()
    code, said, _ = run("digits")
    assert code == 0
    assert f"{len(packed) - 2} files in {BUNDLE}" in said
    shutil.rmtree("results")
    code, said, _ = run("merge", BUNDLE)
    assert code == 0
    assert "cells made on a faster machine at commit 0123456789ab" in said
    assert contents() == {name: packed[name] for name in packed if name not in ("table1.csv", "figures/table1.png")}


def test_only_what_is_missing_is_taken_unless_all_shall_be_replaced(run) -> None:
    run("digits")
    whole = contents()
    for name in ("gd/plain-all.json", "gd/plain-all.csv", "gd/plain-all.timing.csv"):
        (RESULTS / "edits" / name).unlink()
    put("edits/rmsprop/plain-chain4.json", CELL | {"fingerprint": "made here"})
    put("run.json", RUN | {"git_commit": "made here"})
    code, said, _ = run("merge", BUNDLE)
    assert code == 0
    assert "took 1 results" in said
    assert "kept 1 that are here and differ (edits/rmsprop/plain-chain4)" in said
    assert "took 1 results" in run("merge", BUNDLE, "--replace")[1]
    assert json.loads((RESULTS / "run.json").read_text())["git_commit"] == "made here"
    assert contents() | {"run.json": b""} == whole | {"run.json": b""}


def test_a_merge_that_was_killed_goes_on_and_half_a_cell_is_not_taken_for_one(
    run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("digits")
    whole = contents()
    shutil.rmtree("results")
    written: list[str] = []

    def killed(path: str, content: bytes) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        write_atomically(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(bundles, "write_atomically", killed)
        assert run("merge", BUNDLE)[0] != 0
    assert written == [f"{RESULTS}/edits/gd/plain-all.{kind}" for kind in ("csv", "timing.csv")]
    code, said, _ = run("merge", BUNDLE)
    assert code == 0
    assert "kept" not in said
    found = contents()
    assert all(found[name] == whole[name] for name in found)


def test_a_model_that_is_here_keeps_the_description_of_its_weights(run) -> None:
    run("digits")
    Path("models/digits/plain").mkdir(parents=True)
    Path("models/digits/plain/model.safetensors").write_text("weights")
    put("models/plain/history.csv", "of the weights that are here")
    code, said, _ = run("merge", BUNDLE, "--replace")
    assert code == 0
    assert "kept the description of 1 models whose weights are here (models/plain)" in said
    assert (RESULTS / "models/plain/history.csv").read_text() == "of the weights that are here"


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("name", ["sequences", "joint", "timings-joint", "figure2/variance"])
def test_tables_of_several_cells_are_merged_row_by_row(run, replace: bool, name: str) -> None:
    put(f"{name}.csv", f"{HEAD}plain,gd,all,0,2.0\nplain,gd,all,1,2.5\nplain,adam,all,0,3.10\n")
    run("digits")
    put(f"{name}.csv", f"{HEAD}plain,rprop,all,0,1.5\nplain,gd,all,0,2.0\nplain,gd,all,1,9.0\n")
    said = run("merge", BUNDLE, *(["--replace"] if replace else []))[1]
    assert (f"kept 1 that are here and differ ({name}.csv)" in said) == (not replace)
    rows = set((RESULTS / f"{name}.csv").read_text().removeprefix(HEAD).splitlines())
    ours = "plain,gd,all,1,2.5" if replace else "plain,gd,all,1,9.0"
    assert rows == {"plain,rprop,all,0,1.5", "plain,gd,all,0,2.0", ours, "plain,adam,all,0,3.10"}


def test_the_same_results_are_the_same_bytes(run) -> None:
    run("digits")
    run("digits", "--out", "again.zip")
    assert Path(BUNDLE).read_bytes() == Path("again.zip").read_bytes()


def test_results_of_other_data_than_those_here_are_refused(run) -> None:
    run("digits")
    Path("data/digits").mkdir(parents=True)
    Path("data/digits/dataset.json").write_text('{"fingerprint": "d2"}')
    refused(run("merge", BUNDLE), "measured on other data than data/digits/dataset.json")
    shutil.rmtree("data")
    Path("data/toy_translation").mkdir(parents=True)
    Path("data/toy_translation/corpus.json").write_text('{"fingerprint": "d2"}')
    shutil.copytree(RESULTS, "results/toy_translation")
    for path in Path("results/toy_translation").rglob("*.json"):
        path.write_text(path.read_text().replace('"digits"', '"toy_translation"'))
    run("toy_translation")
    shutil.rmtree("results/toy_translation")
    refused(run("merge", "toy_translation.bundle.zip"), "other data than data/toy_translation/corpus.json")
    put("edits/gd/plain-all.json", CELL | {"dataset": "d2"})
    refused(run("merge", BUNDLE), f"measured on other data than {RESULTS}/edits/gd/plain-all.json")


def test_results_of_another_seed_which_are_of_other_edits_are_refused(run) -> None:
    put("run.json", RUN | {"seed": 7})
    run("digits")
    shutil.rmtree("results")
    refused(run("merge", BUNDLE), "was made with seed 7, but", "has 0: its edits are other edits")
    assert not RESULTS.exists()


def test_packing_needs_a_report_and_merging_a_bundle(run) -> None:
    refused(run("merge", "nothing.zip"), "nothing.zip is missing")
    put("run.json", "{}")
    refused(run("digits"), "results/digits cannot be packed: results/digits/run.json is broken: it says of protocol")
    (RESULTS / "run.json").unlink()
    refused(run("digits"), "results/digits/run.json is missing", "pipelines.report digits")
    refused(run("mnist"), "mnist")
    assert not Path(BUNDLE).exists()


# Bundles that somebody else made


def with_entry(name: str, content: bytes = b"{}", **attributes: int) -> None:
    """Add a file to the bundle, or one more of the same name."""
    info = zipfile.ZipInfo(name)
    for key, value in attributes.items():
        setattr(info, key, value)
    with zipfile.ZipFile(BUNDLE, "a") as archive:
        archive.writestr(info, content)


def with_other(name: str, content: object) -> None:
    """Replace a file of the bundle."""
    with zipfile.ZipFile(BUNDLE) as archive:
        files = {one: archive.read(one) for one in archive.namelist()}
    assert name in files
    with zipfile.ZipFile(BUNDLE, "w") as archive:
        for one, old in files.items():
            archive.writestr(one, json.dumps(content) if one == name else old)


def with_text(name: str, old: str, new: str) -> None:
    """Replace a part of a file of the bundle."""
    with zipfile.ZipFile(BUNDLE) as archive:
        files = {one: archive.read(one) for one in archive.namelist()}
    assert old.encode() in files[f"{RESULTS}/{name}"]
    files[f"{RESULTS}/{name}"] = files[f"{RESULTS}/{name}"].replace(old.encode(), new.encode())
    with zipfile.ZipFile(BUNDLE, "w") as archive:
        for one, content in files.items():
            archive.writestr(one, content)


def with_byte(place: int, value: int) -> None:
    """Overwrite a byte of the first entry in the archive's central directory, counted from the entry's begin."""
    whole = bytearray(Path(BUNDLE).read_bytes())
    whole[whole.index(b"PK\1\2") + place] = value
    Path(BUNDLE).write_bytes(whole)


def with_half() -> None:
    Path(BUNDLE).write_bytes(Path(BUNDLE).read_bytes()[:-1000])


def with_flipped_content() -> None:
    whole = bytearray(Path(BUNDLE).read_bytes())
    whole[30 + len("manifest.json")] ^= 0xFF
    Path(BUNDLE).write_bytes(whole)


SPOILED = {
    "no archive": (lambda: Path(BUNDLE).write_bytes(b"hello"), "is not a whole bundle"),
    "half": (with_half, "is not a whole bundle"),
    "flipped content": (with_flipped_content, "is not a whole bundle"),
    "version": (lambda: with_other("manifest.json", {"bundle": 1, "benchmark": "digits"}), "version 1, this suite 2"),
    "benchmark": (lambda: with_other("manifest.json", {"bundle": 2, "benchmark": "mnist"}), "is no result of 'mnist'"),
    "protocol": (lambda: with_other(f"{RESULTS}/run.json", RUN | {"protocol": 99}), f"this suite {PROTOCOL}"),
    "protocol of a cell": (
        lambda: with_other(f"{RESULTS}/edits/gd/plain-all.json", CELL | {"protocol": 99}),
        "plain-all.json has protocol 99",
    ),
    "data of a cell": (
        lambda: with_other(f"{RESULTS}/edits/gd/plain-all.json", CELL | {"dataset": "d2"}),
        "plain-all.json was measured on other data than its run.json",
    ),
    "no machine": (lambda: with_other(f"{RESULTS}/run.json", RUN | {"hardware": {}}), "says of hardware.cpu"),
    "no table": (
        lambda: with_entry(f"{RESULTS}/curves.csv", b"a,b\n1,2\n"),
        "it has no column training",
    ),
    "path outside": (lambda: with_entry(f"{RESULTS}/../outside.json"), "is no result of 'digits'"),
    "absolute path": (lambda: with_entry("/results/digits/edits/gd/a.json"), "is no result of 'digits'"),
    "backslashes": (lambda: with_entry(f"{RESULTS}/edits\\gd.json"), "is no result of 'digits'"),
    "hidden file": (lambda: with_entry(f"{RESULTS}/edits/gd/.a.json"), "is no result of 'digits'"),
    "code": (lambda: with_entry(f"{RESULTS}/edits/gd/a.py"), "is no result of 'digits'"),
    "weights": (lambda: with_entry("models/digits/plain/model.safetensors"), "is no result of 'digits'"),
    "a page": (lambda: with_entry(f"{RESULTS}/index.html"), "is no result of 'digits'"),
    "folder": (lambda: with_entry(f"{RESULTS}/edits/"), "is no plain file"),
    "link": (lambda: with_entry(f"{RESULTS}/edits/gd/a.json", external_attr=0o120777 << 16), "is no plain file"),
    "twice": (lambda: with_entry(f"{RESULTS}/run.json"), "files, "),
    "broken JSON": (lambda: with_entry(f"{RESULTS}/edits/gd/a.json", b"{"), "a.json is broken"),
    "deep JSON": (
        lambda: with_entry(f"{RESULTS}/edits/gd/a.json", b"[" * 10**6),
        "a.json is broken",
    ),
    "broken CSV": (
        lambda: with_entry(f"{RESULTS}/edits/gd/a.csv", b"a\n1,2,3\n1,2,3,4\n"),
        "a.csv is broken",
    ),
    "many columns": (lambda: with_entry(f"{RESULTS}/figure2/a.csv", b"," * 2**20 + b"\n"), "it has 1048576 columns"),
    "another editor's benchmark": (
        lambda: with_other(f"{RESULTS}/edits/gd/plain-all.json", CELL | {"benchmark": "mnist"}),
        "plain-all.json is of 'mnist', not of 'digits'",
    ),
    "fewer records": (
        lambda: with_other(f"{RESULTS}/edits/gd/plain-all.json", CELL | {"edits": 2}),
        "plain-all.json speaks of 2 edits, results/digits/edits/gd/plain-all.csv has 1",
    ),
    "infinite values": (
        lambda: with_other(f"{RESULTS}/tuned/gd/plain-all.json", TUNED | {"hyperparameters": {"lr": float("inf")}}),
        "tuned/gd/plain-all.json is broken: it says of hyperparameters.lr",
    ),
    "negative count": (
        lambda: with_text("edits/gd/plain-all.csv", ",5,7,", ",-5,7,"),
        "plain-all.csv is broken: it has -5 as wrong_before in row 1, which is not a whole number >= 0",
    ),
    "more wrong than there are": (
        lambda: with_text("edits/gd/plain-all.csv", ",5,7,", ",5,77,"),
        "it has 77 as wrong_after in row 1, which is not at most control_size",
    ),
    "maybe": (lambda: with_text("edits/gd/plain-all.csv", ",True,", ",maybe,"), "maybe as succeeded in row 1"),
    "endless time": (lambda: with_text("edits/gd/plain-all.timing.csv", "1.5", "inf"), "inf as milliseconds in row 1"),
    "encrypted": (lambda: with_byte(8, 1), "is no plain file"),
    "other packing": (lambda: with_byte(10, zipfile.ZIP_LZMA), "is no plain file"),
    "smaller than it says": (lambda: with_byte(24, 1), "is not a whole bundle"),
    "large file": (lambda: with_byte(27, 0x7F), "more than 33554432"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("case", SPOILED)
def test_what_does_not_fit_is_refused_in_a_sentence_and_nothing_is_written(case: str, here: Path, run) -> None:
    run("digits")
    shutil.rmtree("results")
    spoil, words = SPOILED[case]
    spoil()
    refused(run("merge", BUNDLE), BUNDLE, words)
    assert [path.name for path in here.iterdir()] == [BUNDLE]


def test_no_more_is_unpacked_than_all_files_together_may_have(run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("digits")
    monkeypatch.setattr(bundles, "LARGEST_BUNDLE", 500)
    refused(run("merge", BUNDLE), "its files have", "more than 500")


@given(place=some.floats(0, 1), content=some.binary(min_size=1, max_size=40))
def test_a_damaged_bundle_is_whole_or_refused_by_name(tmp_path_factory, place, content):
    folder = tmp_path_factory.mktemp("damaged")
    file = folder / BUNDLE
    bundles.pack(Layout("digits"), file)
    whole, at = file.read_bytes(), int(place * file.stat().st_size)
    file.write_bytes(whole[:at] + content + whole[at + len(content) :])
    try:
        found = bundles.read(file).files
    except InputError as error:
        found = str(error)
    if isinstance(found, str):
        assert found.startswith(f"{file} is not a whole bundle")
        assert "\n" not in found
    else:  # what was hit is no content, such as a date
        assert found == {name: Path(name).read_bytes() for name in found}
