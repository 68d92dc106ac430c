"""Work that is shared out gives what it gives alone, and never ends in silence."""

import os
import signal
import time

import pytest
import torch

from benchmarks.errors import InputError
from pipelines.jobs.parallel_map import parallel_map, tf32

CPU = torch.device("cpu")


def squared(piece: int) -> tuple[int, int]:
    return piece * piece, torch.get_num_threads()


def killed_at_three(piece: int) -> int:
    if piece == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return piece


def refused_at_three(piece: int) -> int:
    if piece == 3:
        raise InputError("3 is not allowed")
    return piece


def process(piece: int) -> int:
    return os.getpid()


def test_results_come_in_order_on_one_thread_each_for_any_number_of_processes():
    expected = [(piece * piece, 1) for piece in range(7)]
    before = torch.get_num_threads()
    try:
        for processes in (1, 2, 3, 20):
            assert parallel_map(squared, range(7), processes, CPU) == expected
    finally:
        torch.set_num_threads(before)


def test_work_leaves_this_process_only_when_more_than_one_is_asked_for():
    before = torch.get_num_threads()
    try:
        assert parallel_map(process, [0, 1], 1, CPU) == [os.getpid()] * 2
        assert os.getpid() not in parallel_map(process, [0, 1], 2, CPU)
        assert parallel_map(process, [0, 1], 2, torch.device("cuda")) == [os.getpid()] * 2
    finally:
        torch.set_num_threads(before)


def test_a_killed_worker_is_one_clear_sentence():
    with pytest.raises(InputError, match="a worker process was killed .*; run the command again to go on"):
        parallel_map(killed_at_three, range(6), 2, CPU)


def test_an_error_in_a_worker_arrives_as_it_was():
    with pytest.raises(InputError, match="^3 is not allowed$"):
        parallel_map(refused_at_three, range(6), 2, CPU)


def test_workers_are_gone_afterwards(tmp_path):
    workers = set(parallel_map(process, range(8), 2, CPU))
    until = time.monotonic() + 300
    while any(os.path.exists(f"/proc/{worker}") for worker in workers):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_tf32_is_allowed_in_its_block_only():
    kinds = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [kind.allow_tf32 for kind in kinds]

    def fail() -> None:
        assert [kind.allow_tf32 for kind in kinds] == [allowed, allowed]
        raise InputError("afterwards")

    for allowed in (True, False):
        with pytest.raises(InputError, match="afterwards"), tf32(allowed):
            fail()
        assert [kind.allow_tf32 for kind in kinds] == before
