"""Results carried from one machine to another."""

from __future__ import annotations

import io
import json
import shutil
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.files import write_atomically
from pipelines import command
from pipelines.bundle import bundle, merge
from pipelines.bundling import merging
from pipelines.config import params
from pipelines.jobs.cells import PROTOCOL
from pipelines.reporting.tables import leaderboard
from pipelines.store import provenance

BUNDLE = "digits.bundle.zip"


@pytest.fixture
def run(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    """The command with arguments, in this process: exit code, output, errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pipelines.bundle", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            command.run(bundle, merge)
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return run


@pytest.fixture
def here(tuned, monkeypatch) -> Path:
    """A project with results, as another machine reported them."""
    monkeypatch.chdir(tuned.folder)
    described = provenance.describe(params.load(), "digits")
    described["hardware"] |= {"gpu": "a faster machine"}
    described["git_commit"] = "0123456789abcdef"
    Path("results/digits/run.json").write_text(json.dumps(described))
    return tuned.folder


def refused(ended: tuple[int, str, str], *words: str) -> None:
    code, _, errors = ended
    assert code == 2
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1, errors
    for word in words:
        assert word in errors


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_was_packed_is_merged_where_nothing_is_and_reported_as_made_elsewhere(here: Path, run) -> None:
    code, said, _ = run("digits")
    assert code == 0
    assert BUNDLE in said
    before = leaderboard.leaderboard(leaderboard.read(params.load(), "digits"))
    results = contents(here / "results")
    for name in ("results", "data", "models", "unfinished"):
        shutil.rmtree(here / name, ignore_errors=True)
    code, said, _ = run("merge", BUNDLE)
    assert code == 0
    assert "of a faster machine at commit 0123456789ab" in said
    kept = contents(here / "results")
    assert set(kept) - set(results) == {"digits/merged.json"}
    assert set(results) - set(kept) == {"digits/run.json", "digits/timing-stages.json"}  # of that machine
    assert all(kept[name] == results[name] for name in kept if name in results)
    assert (here / "models/digits/plain/history.csv").exists()
    assert not list(here.rglob("*.safetensors"))
    after = leaderboard.leaderboard(leaderboard.read(params.load(), "digits"))
    assert all("made on a faster machine at commit 0123456789ab" in note for note in after["note"])
    pd.testing.assert_frame_equal(after.drop(columns="note"), before.drop(columns="note"))
    found = provenance.describe(params.load(), "digits")
    assert found["made_elsewhere"] == {"a faster machine at commit 0123456789ab": len(after)}
    assert found["data"]["source"].startswith("The handwritten digits")


def test_only_what_is_missing_is_taken_unless_all_shall_be_replaced(here: Path, run) -> None:
    run("digits")
    missing, other = (Path(f"results/digits/edits/{name}") for name in ("gd/plain-all", "rmsprop/plain-chain4"))
    whole = {path: path.read_bytes() for one in (missing, other) for path in one.parent.glob(f"{one.name}.*")}
    for path in missing.parent.glob(f"{missing.name}.*"):
        path.unlink()
    description = json.loads(other.with_suffix(".json").read_text()) | {"fingerprint": "made here"}
    other.with_suffix(".json").write_text(json.dumps(description))
    code, said, _ = run("merge", BUNDLE)
    assert code == 0
    assert "took 1 results" in said
    assert "kept 1 that are here and differ (edits/rmsprop/plain-chain4)" in said
    results = {str(one.cell): one for one in leaderboard.read(params.load(), "digits")}
    assert results["digits plain/gd/all"].origin is not None
    assert results["digits plain/rmsprop/chain4"].origin is None
    assert "took 1 results" in run("merge", BUNDLE, "--replace")[1]
    assert {path: path.read_bytes() for path in whole} == whole


def test_a_merge_that_was_killed_goes_on_and_still_says_where_results_come_from(
    here: Path, run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("digits")
    results = contents(here / "results")
    for name in ("results", "models"):
        shutil.rmtree(here / name)
    written: list[Path] = []

    def killed(path: Path | str, content: bytes) -> None:
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(Path(path))
        write_atomically(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(merging, "write_atomically", killed)
        assert run("merge", BUNDLE)[0] != 0
    assert any(path.name.startswith("plain-") for path in written)
    code, said, _ = run("merge", BUNDLE)
    assert code == 0
    assert "kept" not in said
    found = contents(here / "results")
    assert all(found[name] == results[name] for name in found if name in results)
    assert all(one.origin is not None for one in leaderboard.read(params.load(), "digits"))


def test_a_model_that_is_here_keeps_the_description_of_its_weights(here: Path, run) -> None:
    run("digits")
    history = Path("models/digits/plain/history.csv")
    history.write_text("of the weights that are here")
    code, said, _ = run("merge", BUNDLE, "--replace")
    assert code == 0
    assert "kept the description of 1 models whose weights are here (models/digits/plain)" in said
    assert history.read_text() == "of the weights that are here"


@pytest.mark.parametrize("replace", [False, True])
def test_tables_of_several_cells_are_merged_row_by_row(here: Path, run, replace: bool) -> None:
    table, head = Path("results/digits/sequences.csv"), "training,editor,layers,edits,error\n"
    table.write_text(f"{head}plain,gd,all,0,2.0\nplain,gd,all,1,2.5\nplain,adam,all,0,3.10\n")
    run("digits")
    table.write_text(f"{head}plain,rprop,all,0,1.5\nplain,gd,all,0,2.0\nplain,gd,all,1,9.0\n")
    said = run("merge", BUNDLE, *(["--replace"] if replace else []))[1]
    assert ("kept 1 that are here and differ (results/digits/sequences.csv)" in said) == (not replace)
    rows = set(table.read_text().removeprefix(head).splitlines())
    ours = "plain,gd,all,1,2.5" if replace else "plain,gd,all,1,9.0"
    assert rows == {"plain,rprop,all,0,1.5", "plain,gd,all,0,2.0", ours, "plain,adam,all,0,3.10"}


def test_the_same_results_are_the_same_bytes(here: Path, run) -> None:
    run("digits")
    run("digits", "--out", "again.zip")
    assert Path(BUNDLE).read_bytes() == Path("again.zip").read_bytes()


def changed(**values: object) -> None:
    """Replace entries of the bundle's manifest."""
    with zipfile.ZipFile(BUNDLE) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files["manifest.json"] = json.dumps(json.loads(files["manifest.json"]) | values).encode()
    with zipfile.ZipFile(BUNDLE, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def flipped(whole: bytes) -> bytes:
    """The archive with the first byte of compressed data changed."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        one = archive.infolist()[0]
    place = one.header_offset + 30 + len(one.filename)
    return whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]


SPOILED = {
    "no archive": (lambda whole: Path(BUNDLE).write_bytes(b"hello"), "is not a whole bundle"),
    "flipped byte": (lambda whole: Path(BUNDLE).write_bytes(flipped(whole)), "is not a whole bundle"),
    "half": (lambda whole: Path(BUNDLE).write_bytes(whole[: len(whole) // 2]), "is not a whole bundle"),
    "protocol": (
        lambda _: changed(protocol=99),
        f"has version 1 and protocol 99, this suite version 1 and protocol {PROTOCOL}",
    ),
    "benchmark": (lambda _: changed(benchmark="mnist"), "is not what its manifest says"),
    "missing file": (lambda _: changed(files={"results/digits/more.csv": "0"}), "is not a whole bundle"),
    "other data": (
        lambda _: changed(data={"source": "s", "fingerprint": "0"}),
        "measured on other data than data/digits/dataset.json",
    ),
}


@pytest.mark.parametrize("case", SPOILED)
def test_what_does_not_fit_is_refused_and_nothing_is_written(case: str, here: Path, run) -> None:
    run("digits")
    shutil.rmtree("results")
    spoil, words = SPOILED[case]
    spoil(Path(BUNDLE).read_bytes())
    refused(run("merge", BUNDLE), words)
    assert not Path("results").exists()


def test_a_path_that_leads_outside_is_refused_though_its_hash_is_right(here: Path, run) -> None:
    run("digits")
    with zipfile.ZipFile(BUNDLE, "a") as archive:
        archive.writestr("results/digits/../../outside", b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    changed(files={"results/digits/../../outside": empty})
    refused(run("merge", BUNDLE), "results/digits/../../outside is not what its manifest says")


def test_packing_needs_a_report_and_merging_a_bundle(here: Path, run) -> None:
    refused(run("merge", "nothing.zip"), "nothing.zip is missing")
    Path("results/digits/run.json").write_text("{}")
    refused(run("digits"), "results/digits/run.json is broken", "pipelines.report digits")
    Path("results/digits/run.json").unlink()
    refused(run("digits"), "results/digits/run.json is missing")
    refused(run("mnist"), "mnist")
