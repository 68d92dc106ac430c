"""The engines of one machine share out the same work and give the same results; each GPU goes to its own workers."""

from __future__ import annotations

import os
from collections import Counter

import pytest
import torch

from benchmarks.errors import InputError
from pipelines.config.params import Settings
from pipelines.jobs.engine import gpus, share_out
from pipelines.jobs.parallel_map import parallel_map
from tests.pipelines.conftest import PARAMS


def settings(**changes: object) -> Settings:
    return Settings.model_validate(PARAMS | changes)


def cube(piece: int) -> tuple[int, int]:
    return piece**3, torch.get_num_threads()


def process(piece: int) -> int:
    return os.getpid()


def gpu(piece: int) -> tuple[str, int]:
    torch.rand(200, 200) @ torch.rand(200, 200)
    return os.environ["CUDA_VISIBLE_DEVICES"], os.getpid()


@pytest.fixture(autouse=True)
def _same_threads_afterwards():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("engine", "processes"), [("here", 3), ("cores", 1), ("cores", 3), ("cores", "auto")])
def test_an_engine_changes_no_result(engine: str, processes: object):
    told = []
    found = share_out(settings(engine=engine, processes=processes), cube, range(5), lambda *one: told.append(one))
    assert found == [(piece**3, 1) for piece in range(5)]
    assert sorted(told) == list(enumerate(found))


def test_here_is_this_process_and_so_is_work_with_threads_of_its_own():
    assert share_out(settings(engine="here", processes=2), process, [0, 1]) == [os.getpid()] * 2
    assert share_out(settings(processes=2), process, [0, 1], threads=2) == [os.getpid()] * 2
    assert os.getpid() not in share_out(settings(processes=2), process, [0, 1])


def test_auto_is_a_process_for_each_core_that_this_one_may_use():
    assert settings(processes="auto").processes == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"processes": "many"}, "must be auto or a number, not 'many'"),
        ({"processes": 0}, "greater than or equal to 1"),
        ({"engine": "cluster"}, "'here', 'cores', 'gpus' or 'ray'"),
        ({"gpu_share": 1.5}, "less than or equal to 1"),
        ({"gpu_share": 0.0}, "greater than 0"),
        ({"ray_address": ""}, "at least 1 character"),
    ],
)
def test_an_engine_that_cannot_be_is_refused(change: dict, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        settings(**change)


def test_gpus_need_gpus_and_all_of_them():
    with pytest.raises(InputError, match="engine: gpus needs GPUs and `device: auto` or `cuda`, not cpu; use cores"):
        share_out(settings(engine="gpus"), cube, range(3))
    with pytest.raises(InputError, match="not cuda:1"):
        gpus(torch.device("cuda", 1), 1.0)


def test_a_gpu_has_as_many_workers_as_their_share_allows(monkeypatch):
    cuda = torch.device("cuda")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert gpus(cuda, 1.0) == ["3", "5"]
    assert gpus(cuda, 0.25) == ["3", "5"] * 4
    assert gpus(cuda, 0.1) == ["3", "5"] * 10
    assert gpus(cuda, 0.4) == ["3", "5"] * 2
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert gpus(cuda, 0.6) == ["0", "1", "2"]


@pytest.mark.slow
def test_each_worker_sees_the_gpu_that_is_its_own():
    """No GPU is needed to see what workers are told; four of them start, which takes seconds."""
    found = parallel_map(gpu, range(60), 1, torch.device("cuda"), visible=["0", "GPU-1", "0", "GPU-1"])
    seen = {worker: name for name, worker in found}
    assert len(found) == 60
    assert all(seen[worker] == name for name, worker in found)
    assert os.getpid() not in seen
    assert set(Counter(seen.values())) <= {"0", "GPU-1"}
    assert all(count <= 2 for count in Counter(seen.values()).values())
