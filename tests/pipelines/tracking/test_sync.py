"""MLflow shows what the records say, whatever happened before; with the real MLflow throughout."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("mlflow")

from benchmarks.errors import InputError
from pipelines import tracking
from pipelines.tracking import rebuild
from tests.pipelines.conftest import artifacts, client, curve, histories, runs


def everything(experiment="digits") -> list[str]:
    """All that MLflow holds of an experiment's active runs, run ids and timestamps included."""
    return sorted(
        f"{run.to_dictionary()} {histories(run)} {sorted(artifacts(run).rglob('*'))}" for run in runs(experiment)
    )


# What a rebuild writes


def test_a_run_shows_everything_its_record_holds(repository, record):
    assert rebuild("digits", [record]) == tracking.Rebuilt(created=1, kept=0, removed=0)
    (run,) = runs()
    assert run.info.run_name == "plain/rmsprop/chain3"
    assert run.info.status == "FINISHED"
    assert run.data.params == {"lr": "0.001", "max_steps": "10", "editor": "rmsprop"}
    assert run.data.metrics == {"drawdown": 0.25, "success_rate": 1.0, "tuning_error": 0.125}
    assert curve(run, "tuning_error") == [(1, 0.5), (2, 0.25), (3, 0.125)]
    assert run.data.tags["git_commit"] == "abc"
    assert {path.name for path in artifacts(run).iterdir()} == {"figures", "tables", "notes.txt"}
    assert (artifacts(run) / "tables/table1.csv").read_bytes() == b"a,b\n1,2\n"


def test_numbers_that_are_not_finite_are_left_out(repository, record):
    metrics = {"drawdown": math.nan, "success_rate": 0.5, "efficiency": math.inf}
    series = {"tuning_error": [(1, math.nan), (2, 0.25)], "lost": [(1, math.nan)]}
    rebuild("digits", [replace(record, metrics=metrics, series=series)])
    (run,) = runs()
    assert run.data.metrics == {"success_rate": 0.5, "tuning_error": 0.25}
    assert curve(run, "tuning_error") == [(2, 0.25)]


def test_more_numbers_than_one_request_takes(repository, record):
    long = [(step, step / 7) for step in range(2300)]
    many = {f"p{number}": number for number in range(230)}
    rebuild("digits", [replace(record, series={"loss": long}, parameters=many)])
    (run,) = runs()
    assert curve(run, "loss") == long
    assert run.data.params == {name: str(value) for name, value in many.items()}


def test_long_values_are_cut_where_mlflow_ends(repository, record, capfd):
    rebuild("digits", [replace(record, parameters={"note": "x" * 7000}, tags={"command": "y" * 9000})])
    (run,) = runs()
    assert run.data.params["note"] == "x" * 5999 + "…"
    assert run.data.tags["command"] == "y" * 7999 + "…"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["success %", "", "/top", "a//b", "../up", "a\nb", "x" * 251, "suite.key"])
def test_a_name_that_mlflow_refuses_is_told_before_anything_is_written(record, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = {"parameters": 1, "metrics": 1.0, "series": [(1, 1.0)], "tags": "1"}
    for field, value in values.items():
        with pytest.raises(InputError, match="plain/rmsprop/chain3: .* cannot name a parameter, metric or tag"):
            rebuild("digits", [record, replace(record, **{field: {name: value}})])
    assert not Path("mlflow").exists()


def test_a_name_that_we_allow_is_one_that_mlflow_allows(repository, record):
    values = dict.fromkeys(["drawdown_95-low", "a/b", "test error", "top.1", "größe"], 1)
    texts = dict.fromkeys(values, "1")
    rebuild("digits", [replace(record, parameters=values, metrics=values, tags=texts, series={})])
    (run,) = runs()
    assert run.data.metrics == values
    assert run.data.params == texts
    assert run.data.tags.items() >= texts.items()


def test_records_that_contradict_each_other_are_refused(repository, record):
    with pytest.raises(ValueError, match="same key"):
        rebuild("digits", [record, record])
    with pytest.raises(ValueError, match="drawdown is in both metrics and series"):
        rebuild("digits", [replace(record, series={"drawdown": [(1, 1.0)]})])
    with pytest.raises(ValueError, match="two artifacts have the same name"):
        rebuild("digits", [replace(record, artifacts=[record.artifacts[0]] * 2)])


# Doing it again


def test_a_second_rebuild_changes_nothing(repository, record):
    records = [record, replace(record, key="plain/adam/chain3")]
    rebuild("digits", records)
    before = everything()
    assert rebuild("digits", records) == tracking.Rebuilt(created=0, kept=2, removed=0)
    assert everything() == before


def test_only_the_changed_run_is_written_anew(repository, record):
    other = replace(record, key="plain/adam/chain3")
    rebuild("digits", [record, other])
    before = {run.info.run_name: run.info.run_id for run in runs()}
    changed = replace(record, metrics={"drawdown": 0.5})
    assert rebuild("digits", [changed, other]) == tracking.Rebuilt(created=1, kept=1, removed=1)
    after = {run.info.run_name: run.info.run_id for run in runs()}
    assert after.keys() == before.keys()
    assert after[other.key] == before[other.key]
    assert after[record.key] != before[record.key]


@pytest.mark.parametrize("field", ["parameters", "metrics", "series", "tags", "artifacts", "artifact bytes"])
def test_a_change_of_any_part_of_a_record_is_noticed(repository, record, field):
    rebuild("digits", [record])
    if field == "artifact bytes":
        record.artifacts[0].write_bytes(b"another picture")
    else:
        part = getattr(record, field)
        smaller = part[:-1] if field == "artifacts" else dict(list(part.items())[:-1])
        record = replace(record, **{field: smaller})
    assert rebuild("digits", [record]) == tracking.Rebuilt(created=1, kept=0, removed=1)


def test_runs_of_no_record_go_and_runs_of_the_user_stay(repository, record):
    rebuild("digits", [record, replace(record, key="old")])
    own = client().create_run(runs()[0].info.experiment_id, run_name="by hand").info.run_id
    assert rebuild("digits", [record]) == tracking.Rebuilt(created=0, kept=1, removed=1)
    assert {run.info.run_name for run in runs()} == {record.key, "by hand"}
    assert client().get_run(own).info.lifecycle_stage == "active"


def test_an_interrupted_rebuild_heals_in_the_next_one(repository, record):
    rebuild("digits", [])
    experiment_id = client().get_experiment_by_name("digits").experiment_id
    half = client().create_run(experiment_id, tags={tracking.KEY: record.key}, run_name=record.key)
    assert rebuild("digits", [record]) == tracking.Rebuilt(created=1, kept=0, removed=1)
    (run,) = runs()
    assert run.info.run_id != half.info.run_id
    assert run.info.status == "FINISHED"


def test_a_run_whose_artifacts_were_lost_is_written_anew(repository, record):
    rebuild("digits", [record])
    shutil.rmtree("mlflow/artifacts")
    assert rebuild("digits", [record]).created == 1
    assert len(list(Path("mlflow/artifacts").rglob("scatter.png"))) == 1


def test_a_run_or_experiment_deleted_by_the_user_comes_back(repository, record):
    rebuild("digits", [record])
    client().delete_run(runs()[0].info.run_id)
    assert rebuild("digits", [record]).created == 1
    client().delete_experiment(runs()[0].info.experiment_id)
    rebuild("digits", [record])
    assert [run.info.run_name for run in runs()] == [record.key]


def test_more_runs_than_one_page_of_a_search_are_all_seen(repository, record):
    rebuild("digits", [])
    experiment_id = client().get_experiment_by_name("digits").experiment_id
    for number in range(3):
        client().create_run(experiment_id, tags={tracking.KEY: str(number)})
    paged = client()
    whole = paged.search_runs
    paged.search_runs = lambda *arguments, **options: whole(*arguments, **options, max_results=2)
    assert len(tracking._suite_runs(paged, experiment_id)) == 3
