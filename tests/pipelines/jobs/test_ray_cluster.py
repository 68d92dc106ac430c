"""On a Ray cluster that loses nodes and workers, results are those of one process, byte for byte."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.errors import InputError
from pipelines.config.params import Settings
from pipelines.evaluate import evaluate
from pipelines.jobs import ray_cluster
from pipelines.jobs.engine import share_out
from pipelines.train import train
from pipelines.tune import tune
from tests.pipelines.conftest import PARAMS, ROOT

os.environ |= ray_cluster.ENVIRONMENT | {"RAY_AUTH_TOKEN": "0" * 32}  # Ray reads them when it is imported
os.environ |= {"RAY_agent_register_timeout_ms": "300000", "RAY_raylet_start_wait_time_s": "300"}  # on a busy machine
ray = pytest.importorskip("ray")
psutil = pytest.importorskip("psutil")
cluster_utils = pytest.importorskip("ray.cluster_utils")

pytestmark = pytest.mark.slow  # a cluster takes ten seconds to start, and every worker imports torch

DEADLINE = 300.0


@pytest.fixture
def cluster_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Makes a head without CPUs, with Ray's own settings, and nothing else; the working directory is the test's own."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    before, made = torch.get_num_threads(), []

    def make(**system: object) -> Any:
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": system}
        made.append(cluster_utils.Cluster(initialize_head=True, head_node_args=head))
        return made[0]

    yield make
    ray.shutdown()
    made[0].shutdown()
    torch.set_num_threads(before)


@pytest.fixture
def cluster(cluster_of: Callable[..., Any]) -> Any:
    return cluster_of()


def settings(cluster: Any, **changes: object) -> Settings:
    return Settings.model_validate(PARAMS | {"engine": "ray", "ray_address": cluster.address} | changes)


def cube(piece: int) -> tuple[int, int, str]:
    return piece**3, torch.get_num_threads(), os.environ["CUDA_VISIBLE_DEVICES"]


def killed_at_first(piece: int) -> int:
    """Kills its worker the first time that it meets an odd piece."""
    seen = Path(f"seen-{piece}")
    if piece % 2 and not seen.exists():
        seen.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return piece


def always_killed(piece: int) -> int:
    with Path(f"tried-{piece}").open("a") as tries:
        tries.write("x")
    os.kill(os.getpid(), signal.SIGKILL)
    return piece


def hungry_at_first(piece: int) -> int:
    """Takes 4 GB the first time, until it is killed for that."""
    seen = Path(f"hungry-{piece}")
    if not seen.exists():
        seen.touch()
        taken = [np.ones(2**25) for _ in range(16)]
        time.sleep(DEADLINE)
        return len(taken)
    return piece


def refused(piece: int) -> int:
    raise InputError(f"{piece} is not allowed")


def endless(piece: int) -> int:
    Path(f"begun-{piece}").touch()
    time.sleep(DEADLINE)
    return piece


def test_pieces_come_in_order_and_lost_workers_are_replaced_but_bad_input_is_not_tried_again(cluster, tmp_path):
    cluster.add_node(num_cpus=2)
    asked = settings(cluster)
    told = []
    assert share_out(asked, cube, range(5), lambda *one: told.append(one)) == [(n**3, 1, "") for n in range(5)]
    assert sorted(piece for piece, _ in told) == list(range(5))
    assert share_out(asked, killed_at_first, range(4)) == [0, 1, 2, 3]
    with pytest.raises(
        InputError, match=r"^7 was lost with its worker or node .*, 4 times in all; run the command again"
    ):
        share_out(asked, always_killed, [7])
    assert (tmp_path / "tried-7").read_text() == "x" * (1 + ray_cluster.TRIES)
    with pytest.raises(InputError, match=r"^3 is not allowed$"):
        share_out(asked, refused, [3])
    assert not list((tmp_path / "unfinished").iterdir())


def test_a_worker_that_is_killed_for_memory_is_replaced(cluster_of, capsys):
    memory = psutil.virtual_memory()
    enough = (memory.total - memory.available + 2.5e9) / memory.total  # of which Ray's own processes take a part
    cluster = cluster_of(memory_usage_threshold=enough, memory_monitor_refresh_ms=100)
    cluster.add_node(num_cpus=1)
    assert share_out(settings(cluster), hungry_at_first, range(2)) == [0, 1]
    told = [line for line in capsys.readouterr().err.splitlines() if "it goes on elsewhere" in line]
    assert len(told) == 2
    assert all("memory" in line for line in told)


def test_what_a_cluster_must_have_is_said_at_the_start(cluster, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no node of the Ray cluster has 1 CPUs"):
        share_out(settings(cluster), cube, [1])
    cluster.add_node(num_cpus=1)
    with pytest.raises(InputError, match="no node of the Ray cluster has 2 CPUs"):
        share_out(settings(cluster), cube, [1], threads=2)
    with pytest.raises(InputError, match="device 'cuda' was asked for, but no node"):
        share_out(settings(cluster, device="cuda"), cube, [1])

    def mixed() -> set[str]:
        return {"another processor", "B"}

    with pytest.raises(InputError, match=r"mixed_hardware: .* computed with .*B and with .*another processor, whose"):
        share_out(settings(cluster), cube, [1], beside=mixed)
    assert share_out(settings(cluster, mixed_hardware=True), cube, [1], beside=mixed) == [(1, 1, "")]
    elsewhere = tmp_path / "elsewhere" / "unfinished" / "marker"  # as on a machine that does not share the folder
    monkeypatch.setattr(ray_cluster, "_marked", lambda root: nullcontext(elsewhere))
    with pytest.raises(InputError, match=r"does not see .*elsewhere: the repository, .* a folder that all nodes share"):
        share_out(settings(cluster), cube, [1])


def test_an_interruption_cancels_what_runs(cluster, tmp_path):
    cluster.add_node(num_cpus=1)
    when(lambda: (tmp_path / "begun-0").exists(), lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        share_out(settings(cluster), endless, range(3))
    until = time.monotonic() + DEADLINE
    while ray.available_resources().get("CPU", 0) < 1:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert not (tmp_path / "begun-1").exists()


def when(condition: Callable[[], bool], act: Callable[[], object]) -> threading.Thread:
    """Do something as soon as a condition holds, in a thread."""

    def wait() -> None:
        until = time.monotonic() + DEADLINE
        while not condition() and time.monotonic() < until:
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_records_of_another_processor_are_not_added_to_unless_told_to(cluster, tuned, monkeypatch):
    cluster.add_node(num_cpus=1)
    monkeypatch.chdir(tuned.folder)
    stay, again = ([*(tuned.folder / "results/digits/edits" / name).glob("*.json")] for name in ("gd", "rmsprop"))
    for path in stay:
        described = json.loads(path.read_text())
        path.write_text(json.dumps(described | {"made": described["made"] | {"machine": "Abacus, 9 cores"}}))
    for path in again:
        path.unlink()
    tuned.choose(engine="ray", ray_address=cluster.address)
    with pytest.raises(InputError, match="mixed_hardware: .* with Abacus"):
        evaluate("digits", ["rmsprop"], Path("params.yaml"))
    assert not any(path.exists() for path in again)
    tuned.choose(mixed_hardware=True)
    evaluate("digits", ["rmsprop"], Path("params.yaml"))
    assert all(path.exists() for path in again)


@pytest.mark.parametrize("stage", ["train", "tune", "evaluate"])
def test_a_node_that_is_lost_in_the_middle_changes_no_byte(cluster, tuned, monkeypatch, capsys, stage):
    """The only node begins; as soon as it has kept something, it is removed and another one comes."""
    tuned.change(trainings__plain__epochs=6, editors__rmsprop={"trials": 8, "layers": {"plain": ["all"]}})
    tuned.change(evaluation={"edits": 40, "shard": 4})
    if stage != "train":
        tuned.succeed("train", "digits", "plain")
    if stage == "evaluate":
        tuned.succeed("tune", "digits", "rmsprop")
        times = tuned.folder / "results/digits/tuned/rmsprop/timing.json"
        times.write_text(json.dumps({"plain-all": 180.0}))  # so that its shards are three pieces
    here = tuned.copy(tuned.folder.with_name("here"))
    here.choose(engine="here")
    here.succeed(stage, "digits", "plain" if stage == "train" else "rmsprop")
    tuned.choose(engine="ray", ray_address=cluster.address)
    kept, below, run = {
        "train": ("training/plain/checkpoint.pt", ("models", "results/digits/models"), train),
        "tune": ("studies/rmsprop/*.journal", ("results/digits/tuned",), tune),
        "evaluate": ("shards/rmsprop/*/00001.csv", ("results/digits/edits",), evaluate),
    }[stage]
    before = {name: tuned.files(name) for name in below}
    monkeypatch.chdir(tuned.folder)
    first = cluster.add_node(num_cpus=1)
    unfinished = tuned.folder / "unfinished" / "digits"
    with ThreadPoolExecutor(1) as other:  # nodes come and go in the main thread only
        ended = other.submit(run, "digits", ["plain"] if stage == "train" else ["rmsprop"], Path("params.yaml"))
        until = time.monotonic() + DEADLINE
        while not any(path.stat().st_size for path in unfinished.glob(kept)):
            assert not ended.done()
            assert time.monotonic() < until
            time.sleep(0.01)
        cluster.remove_node(first, allow_graceful=False)  # at once: on a busy machine, a node takes a minute to come
        cluster.add_node(num_cpus=1)
        ended.result()
    assert "was lost with its worker or node" in capsys.readouterr().err
    for name in below:
        assert tuned.files(name) == here.files(name) != before[name]
    assert not tuned.files("unfinished")
