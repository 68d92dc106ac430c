"""Rows of results, reckoned again from the written records by another route; what is broken is refused."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.errors import InputError
from benchmarks.translation.metrics import TRANSLATIONS
from pipelines.jobs.cells import PROTOCOL
from pipelines.reporting.tables import results
from pipelines.reporting.tables.results import rows_of
from pipelines.tasks.images import CLASSIFIERS
from tests.pipelines.reporting.cells import image_cell, translator_cell, write_cell, write_project

GD, RMSPROP = "plain/gd/all", "editable-0.1-rmsprop-chain3/rmsprop/chain3"


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_project(tmp_path, image_cell(GD, failures=12), image_cell(RMSPROP, -9, lr=1.333e-3))


def read(settings):
    return CLASSIFIERS.read(settings, "digits")


def wilson(hits: int, count: int) -> tuple[float, float]:
    z, share = 1.959963984540054, hits / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count**2)) / (1 + z * z / count)
    return 100 * (centre - half), 100 * (centre + half)


def test_a_row_is_what_its_records_say(project):
    rows = rows_of(read(project)).to_dict("records")
    assert len(rows) == 2
    for row in rows:
        path = f"results/digits/edits/{row['editor']}/{row['training']}-{row['layers']}"
        with open(f"{path}.csv", newline="") as file:
            records = list(csv.DictReader(file))
        assert row["edits"] == len(records) == 100
        signed = [100 * (int(r["wrong_after"]) - int(r["wrong_before"])) / int(r["control_size"]) for r in records]
        succeeded = sum(r["succeeded"] == "True" for r in records)
        assert row["success_rate"] == pytest.approx(succeeded)
        assert (row["success_rate_low"], row["success_rate_high"]) == pytest.approx(wilson(succeeded, 100), abs=1e-6)
        assert row["drawdown"] == pytest.approx(sum(map(abs, signed)) / 100)
        assert row["drawdown_signed"] == pytest.approx(sum(signed) / 100)
        assert row["num_steps"] == 3
        assert row["flip_rate"] == pytest.approx(10)
        assert row["generality"] == pytest.approx(60)
        assert row["test_error"] == pytest.approx(5)
        assert (row["test_error_low"], row["test_error_high"]) == pytest.approx(wilson(50, 1000), abs=1e-6)
        asked = [value for value, r in zip(signed, records, strict=True) if r["trivial"] == "False"]
        assert row["drawdown_nontrivial"] == pytest.approx(sum(asked) / len(asked))
        assert row["drawdown_low"] < row["drawdown"] < row["drawdown_high"]


def test_small_drawdowns_of_earlier_samples_are_said_to_be_at_most_what_they_show(tmp_path, monkeypatch):
    """As many edits mend as break: the drawdown of 1,000 images may be anything between nothing and what 50 show."""
    monkeypatch.chdir(tmp_path)
    cell = image_cell(GD)
    signs = np.tile([1, -1], len(cell.records) // 2)
    records = cell.records.drop(columns="control_images")
    records = records.assign(control_size=50, wrong_before=5, wrong_after=5 + signs, flips=2)
    (row,) = rows_of(read(write_project(tmp_path, replace(cell, records=records)))).to_dict("records")
    assert row["note"].startswith("drawdown at most that large")
    assert (row["drawdown"], row["drawdown_high"], row["drawdown_low"]) == (2.0, 2.0, 0.0)
    (row,) = rows_of([cell]).to_dict("records")
    assert "at most" not in row["note"]


def test_hyperparameters_stand_after_the_layers_and_notes_say_what_is_special(project):
    first, second = rows_of(read(project)).to_dict("records")
    assert list(first)[:4] == ["training", "editor", "layers", "lr"]
    assert (first["lr"], second["lr"]) == (1e-3, 1.333e-3)
    assert first["note"] == "tuned to 96.0 % success on the tuning split, clearly below 95 % on the test split"
    assert second["note"] == "trained with clip_norm 10"
    mixed = rows_of([image_cell(GD), image_cell(RMSPROP, hyperparameters={"beta": 0.5})])
    assert list(mixed)[2:5] == ["layers", "lr", "beta"]
    assert mixed["beta"].isna().tolist() == [True, False]


def test_a_row_of_given_hyperparameters_that_misses_the_success_says_no_word_of_tuning():
    failing = [True, False] * 20
    row = translator_cell("plain/rmsprop_1e-3/last_decoder_layer", 0.4, succeeded=failing).row
    assert row["note"] == "50.0 % success, clearly below 95 % on the test split"


def test_what_is_no_gradient_step_is_not_shown_as_one():
    for name, steps in (("plain/gd/all", True), ("plain/lookup_cache/all", False)):
        found = [value for key, value in image_cell(name).row.items() if key.startswith("num_steps")]
        assert len(found) == 6
        assert all(math.isfinite(value) == steps for value in found)


def test_rows_that_were_made_elsewhere_than_most_say_so(project, tmp_path):
    here, there = {"machine": "a", "commit": "0" * 40}, {"machine": "NVIDIA H200", "commit": "1" * 40}
    found = [image_cell(GD, made=here), image_cell(RMSPROP, made=there), image_cell("plain/adam/all", made=here)]
    marked = results.with_origins(found)
    assert [result.notes for result in marked] == [(), ("made on NVIDIA H200 at commit 111111111111",), ()]
    assert results.made_elsewhere(found) == {"NVIDIA H200 at commit 111111111111": 1}
    assert results.made_elsewhere(found[:1]) == {}
    assert results.machine_of(found) == "a"


def test_a_row_whose_model_was_trained_elsewhere_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = {"machine": "a", "commit": "0" * 40}
    settings = write_project(tmp_path, image_cell(GD, made=here), image_cell(RMSPROP, made=here))
    for name, machine in (("plain", "a"), ("editable-0.1-rmsprop-chain3", "NVIDIA H200")):
        folder = tmp_path / "results/digits/models" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "made.json").write_text(json.dumps(here | {"machine": machine}))
    notes = {result.cell.training: result.notes for result in read(settings)}
    assert not any("trained on" in note for note in notes["plain"])
    assert "trained on NVIDIA H200" in notes["editable-0.1-rmsprop-chain3"]


def test_other_seeds_of_training_and_edits_show_in_the_spread_and_not_in_the_interval(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = [
        image_cell(GD),
        image_cell(GD, 40, seed=1),
        image_cell(GD, 10, edit_seed=1),
        image_cell(GD, 90, seed=1, edit_seed=1),
    ]
    settings = write_project(tmp_path, *cells, training_seeds=[0, 1], edit_seeds=[0, 1])
    (result,) = read(settings)
    assert result.row["drawdown"] == image_cell(GD).row["drawdown"]
    means = [cell.measures.per_edit("drawdown", cell.records).mean() for cell in cells]
    assert (result.row["seeds"], result.row["edit_seeds"]) == (2, 2)
    assert result.row["drawdown_seeds_mean"] == pytest.approx((means[0] + means[1]) / 2)
    assert result.row["drawdown_seeds_std"] == pytest.approx(abs(means[0] - means[1]) / 2**0.5)
    assert result.row["drawdown_edit_seeds_std"] == pytest.approx(abs(means[0] - means[2]) / 2**0.5)
    assert result.row["test_error_seeds_std"] == 0
    labels = {
        column.label for column in CLASSIFIERS.columns(CLASSIFIERS.leaderboard.columns, rows_of([result])).values()
    }
    assert {"Drawdown, sd over trainings", "Drawdown, sd over sets of edits"} <= labels


def test_learned_hyperparameters_have_columns_of_their_own(project, tmp_path):
    path = write_cell(tmp_path, image_cell(GD, learned={"lr": 1.0}))
    image_cell(GD, 20, failures=3).records.to_csv(path.with_suffix(".learned.csv"), index=False)
    row = read(project)[0].row
    assert row["success_rate_learned"] == 97
    assert row["drawdown_learned"] == pytest.approx(image_cell(GD, 20).row["drawdown"])


def test_a_text_may_be_empty_or_null_and_a_number_missing(tmp_path):
    cell = translator_cell("plain/rmsprop/last_decoder_layer", 0.4)
    path = write_cell(tmp_path, replace(cell, records=cell.records.assign(kl=[math.nan] + [0.5] * 39, target="12")))
    records = results.read_records(path.with_suffix(".csv"), TRANSLATIONS, cell.description, "")
    assert (records["before"] == "").all()
    assert (records["after"] == "null").all()
    assert (records["target"] == "12").all()
    assert records["kl"].isna().sum() == 1
    assert TRANSLATIONS.summarise(records)["kl"].value == 0.5


def test_times_are_those_of_the_shards_and_of_what_was_measured_with_the_quality():
    table = results.timings([image_cell(GD), translator_cell("plain/rmsprop/last_decoder_layer", 0.4)])
    assert table["milliseconds"].tolist() == [2, 1]
    assert table["milliseconds_max"].tolist() == [3, 1]
    assert table["decoding_seconds"].tolist()[1:] == [1.5]
    assert table["test_sentences"].tolist()[1:] == [200]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"protocol": 99}, f"was made with protocol 99, this is {PROTOCOL}"),
        ({"edits": 13}, r"plain-all.timing.csv has 100 rows, not 13: remove it and run `python -m"),
        (
            {"hyperparameters": {"lr": "1"}},
            r"plain-all.json says of hyperparameters.lr: input should be a valid number",
        ),
        ({"wrong_before_editing": 3}, "are broken"),
        ({"test_images": None}, None),
    ],
)
def test_a_description_that_does_not_fit_is_refused(project, change, sentence):
    path = Path("results/digits/edits/gd/plain-all.json")
    content = {key: value for key, value in (json.loads(path.read_text()) | change).items() if value is not None}
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=sentence or "are broken .'test_images'"):
        read(project)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("plain-all.json", None, "plain-all.json is missing: run `python -m pipelines.evaluate digits gd`"),
        ("plain-all.csv", None, "plain-all.csv is missing"),
        ("plain-all.timing.csv", None, "plain-all.timing.csv is missing"),
        ("plain-all.json", "{", "plain-all.json cannot be read"),
        ("plain-all.csv", "", "plain-all.csv cannot be read"),
        ("plain-all.timing.csv", "edit\n0\n", "plain-all.timing.csv has no column milliseconds"),
        ("plain-all.csv", "edit,steps\n0,1\n", "plain-all.csv has no column trivial"),
        ("plain-all.csv", "edit,trivial,succeeded,steps,loss\n0,True,True,1,0\n", "plain-all.csv has 1 rows, not 100"),
    ],
)
def test_a_missing_or_broken_file_is_refused_by_name(project, name, content, sentence):
    path = Path("results/digits/edits/gd") / name
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(InputError, match=sentence):
        read(project)


def test_rows_in_a_file_are_those_in_memory(project):
    pd.testing.assert_frame_equal(
        rows_of(read(project)).drop(columns="note"),
        rows_of([image_cell(GD, failures=12), image_cell(RMSPROP, -9, lr=1.333e-3)]).drop(columns="note"),
    )
