"""MLflow shows what the records say, whatever happened before; with the real MLflow throughout."""

import math
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

pytest.importorskip("mlflow")

from benchmarks.errors import InputError
from pipelines import tracking
from pipelines.tracking import rebuild
from pipelines.tracking.records import DataRecord, NetworkRecord, RunRecord, fingerprint
from pipelines.tracking.runs import suite_networks, suite_runs
from tests.pipelines.tracking.conftest import artifacts, client, curve, histories, runs

DATA = {
    name: DataRecord(f"digits {name}", "5f6215f0635c", "data/digits", "Handwritten digits.", rows)
    for name, rows in (("training", 1097), ("tuning", 300), ("test", 400))
}
NETWORK = NetworkRecord("plain-0_1", "resnet18", 2, {"lr": 0.01}, {"weights": "models/digits/plain"})
BEGAN, ENDED = datetime(2026, 11, 30, 12, 0, tzinfo=UTC), datetime(2026, 11, 30, 12, 5, 30, tzinfo=UTC)


def everything(experiment="digits") -> list[str]:
    """All that MLflow holds of an experiment's active runs, run ids and timestamps included."""
    models = [str(model.to_dictionary()) for model in networks(experiment)]
    return models + sorted(
        f"{run.to_dictionary()} {histories(run)} {sorted(artifacts(run).rglob('*'))}" for run in runs(experiment)
    )


def networks(experiment="digits") -> list:
    return suite_networks(client(), client().get_experiment_by_name(experiment).experiment_id)


@pytest.fixture
def training(record) -> RunRecord:
    """The record of a training, whose network :func:`edited` takes."""
    series = {"training/loss": [(1, 0.5), (2, 0.25), (3, 0.125)], "edit/loss": [(1, 1.0), (2, 2.0), (3, 3.0)]}
    metrics = {"test/error": 2.5}
    return replace(
        record, key="training/plain", metrics=metrics, series=series, data=DATA, network=NETWORK, artifacts=[]
    )


@pytest.fixture
def edited(record) -> RunRecord:
    table = pd.DataFrame({"edit": [0, 1], "flips": [3, None], "text": ["a", "b"]})
    test = {"test": DATA["test"]}
    return replace(
        record, tables={"edits.json": table}, data=test, takes=["training/plain"], span=(BEGAN, ENDED), artifacts=[]
    )


# What a rebuild writes


def test_a_run_shows_everything_its_record_holds(repository, record):
    assert rebuild("digits", [record]) == {"created": 1, "kept": 0, "removed": 0}
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
            rebuild("digits", [replace(record, key="other"), replace(record, **{field: {name: value}})])
    assert not Path("mlflow").exists()


def test_a_name_that_we_allow_is_one_that_mlflow_allows(repository, record):
    values = dict.fromkeys(["drawdown_95-low", "a/b", "test error", "top.1", "größe"], 1)
    texts = dict.fromkeys(values, "1")
    rebuild("digits", [replace(record, parameters=values, metrics=values, tags=texts, series={})])
    (run,) = runs()
    assert run.data.metrics == values
    assert run.data.params == texts
    assert run.data.tags.items() >= texts.items()


def test_data_are_inputs_with_their_digest_and_context(repository, training):
    rebuild("digits", [training])
    (run,) = runs()
    found = {one.tags[0].value: one.dataset for one in run.inputs.dataset_inputs}
    assert {one.tags[0].key for one in run.inputs.dataset_inputs} == {"mlflow.data.context"}
    assert {context: (one.name, one.digest) for context, one in found.items()} == {
        context: (f"digits {context}", "5f6215f0635c") for context in DATA
    }
    assert found["test"].profile == '{"num_rows": 400}'
    assert "Handwritten digits." in found["test"].source


def test_a_network_is_a_model_with_the_numbers_of_the_epoch_that_was_kept(repository, training):
    rebuild("digits", [training])
    (run,), (model,) = runs(), networks()
    assert (model.name, model.model_type, model.source_run_id) == ("plain-0_1", "resnet18", run.info.run_id)
    assert (model.params, model.tags["weights"]) == ({"lr": "0.01"}, "models/digits/plain")
    linked = {(one.key, one.step): (one.value, one.dataset_name) for one in model.metrics}
    assert linked == {
        ("test/error", 0): (2.5, "digits test"),
        ("training/loss", 2): (0.25, "digits training"),
        ("edit/loss", 2): (2.0, None),
    }
    outputs = client().get_run(run.info.run_id).outputs.model_outputs
    assert [(one.model_id, one.step) for one in outputs] == [(model.model_id, 2)]
    assert curve(run, "training/loss") == [(1, 0.5), (2, 0.25), (3, 0.125)]


def test_a_run_takes_the_network_that_another_made_and_follows_it(repository, training, edited):
    rebuild("digits", [edited, training])

    def taken() -> list[str]:
        (run,) = [run for run in runs() if run.info.run_name == edited.key]
        return [one.model_id for one in client().get_run(run.info.run_id).inputs.model_inputs]

    (first,) = networks()
    assert taken() == [first.model_id]
    assert rebuild("digits", [training, edited]) == {"created": 0, "kept": 2, "removed": 0}
    changed = replace(training, metrics={"test/error": 3.0})
    assert rebuild("digits", [changed, edited]) == {"created": 2, "kept": 0, "removed": 2}
    (second,) = networks()
    assert taken() == [second.model_id] != [first.model_id]
    client().delete_logged_model(second.model_id)
    assert rebuild("digits", [changed, edited])["created"] == 2
    assert taken() == [networks()[0].model_id]


def test_tables_are_those_of_log_table(repository, training, edited):
    rebuild("digits", [training, edited])
    (run,) = [run for run in runs() if run.info.run_name == edited.key]
    assert run.data.tags["mlflow.loggedArtifacts"] == '[{"path": "edits.json", "type": "table"}]'
    text = (artifacts(run) / "edits.json").read_text()
    assert text == '{"columns":["edit","flips","text"],"data":[[0,3.0,"a"],[1,null,"b"]]}'


def test_times_are_those_of_the_work(repository, training, edited):
    rebuild("digits", [training, edited])
    (run,) = [run for run in runs() if run.info.run_name == edited.key]
    assert (run.info.start_time, run.info.end_time) == (1796040000000, 1796040330000)
    assert {at for points in histories(run).values() for _, _, at in points} == {1796040330000}


# Doing it again


def test_a_second_rebuild_changes_nothing(repository, record, training, edited):
    records = [edited, training, replace(record, key="plain/adam/chain3")]
    rebuild("digits", records)
    before = everything()
    assert rebuild("digits", records) == {"created": 0, "kept": 3, "removed": 0}
    assert everything() == before


def test_only_the_changed_run_is_written_anew(repository, record):
    other = replace(record, key="plain/adam/chain3")
    rebuild("digits", [record, other])
    before = {run.info.run_name: run.info.run_id for run in runs()}
    changed = replace(record, metrics={"drawdown": 0.5})
    assert rebuild("digits", [changed, other]) == {"created": 1, "kept": 1, "removed": 1}
    after = {run.info.run_name: run.info.run_id for run in runs()}
    assert after.keys() == before.keys()
    assert after[other.key] == before[other.key]
    assert after[record.key] != before[record.key]


FIELDS = ["parameters", "metrics", "series", "tags", "artifacts", "artifact bytes", "tables", "data", "network", "span"]


@pytest.mark.parametrize("field", FIELDS)
def test_a_change_of_any_part_of_a_record_is_noticed(record, field):
    """By the fingerprint, for whose sake alone a run is written anew."""
    table = {"edits.json": pd.DataFrame({"edit": [0]})}
    record = replace(record, tables=table, data=DATA, network=NETWORK, span=(BEGAN, ENDED))
    before, changed = fingerprint(record, []), record
    assert before == fingerprint(record, [])
    if field == "artifact bytes":
        record.artifacts[0].write_bytes(b"another picture")
    elif field == "tables":
        changed = replace(record, tables={"edits.json": pd.DataFrame({"edit": [1]})})
    elif field in ("network", "span"):
        changed = replace(record, **{field: None})
    else:
        part = getattr(record, field)
        smaller = part[:-1] if field == "artifacts" else dict(list(part.items())[:-1])
        changed = replace(record, **{field: smaller})
    assert fingerprint(changed, []) != before


def test_runs_of_no_record_go_and_runs_of_the_user_stay(repository, record):
    rebuild("digits", [record, replace(record, key="old")])
    own = client().create_run(runs()[0].info.experiment_id, run_name="by hand").info.run_id
    assert rebuild("digits", [record]) == {"created": 0, "kept": 1, "removed": 1}
    assert {run.info.run_name for run in runs()} == {record.key, "by hand"}
    assert client().get_run(own).info.lifecycle_stage == "active"


def test_an_interrupted_rebuild_heals_in_the_next_one(repository, record):
    rebuild("digits", [])
    experiment_id = client().get_experiment_by_name("digits").experiment_id
    half = client().create_run(experiment_id, tags={tracking.KEY: record.key}, run_name=record.key)
    assert rebuild("digits", [record]) == {"created": 1, "kept": 0, "removed": 1}
    (run,) = runs()
    assert run.info.run_id != half.info.run_id
    assert run.info.status == "FINISHED"


def test_a_run_whose_artifacts_were_lost_is_written_anew(repository, record):
    rebuild("digits", [record])
    shutil.rmtree("mlflow/artifacts")
    assert rebuild("digits", [record])["created"] == 1
    assert len(list(Path("mlflow/artifacts").rglob("scatter.png"))) == 1


def test_a_run_or_experiment_deleted_by_the_user_comes_back(repository, record):
    rebuild("digits", [record])
    client().delete_run(runs()[0].info.run_id)
    assert rebuild("digits", [record])["created"] == 1
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
    assert len(suite_runs(paged, experiment_id)) == 3
