"""The emulated GPU behaves like one where a CPU does not."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

X, Y = torch.randn(3, 4), torch.randn(4, 3)

REFUSED: dict[str, tuple[Callable[[Tensor], object], type[Exception]]] = {
    "a sum with another device": (lambda x: x + X, RuntimeError),
    "a product with another device": (lambda x: x @ Y, RuntimeError),
    "a row beside one of another device": (lambda x: torch.cat([x, X]), RuntimeError),
    "an index from a GPU into a CPU's tensor": (lambda x: X[x[:, 0].long() * 0], RuntimeError),
    "NumPy": (lambda x: x.numpy(), TypeError),
    "a CPU's generator": (lambda x: torch.rand(3, device=x.device, generator=torch.Generator()), RuntimeError),
    "a GPU's generator for a CPU": (lambda x: torch.rand(3, generator=torch.Generator(x.device)), RuntimeError),
    "distances of halves": (lambda x: torch.cdist(x.half(), x.half()), RuntimeError),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_gpu_refuses_is_refused(what, device):
    run, kind = REFUSED[what]
    with pytest.raises(kind):
        run(X.to(device))


def test_tensors_are_where_they_say_and_views_share_their_memory(device):
    x = X.to(device)
    assert x.is_cuda
    assert (x + torch.tensor(2.0)).device == x[torch.tensor([0, 2])].device == x.device
    x.t()[0] = 5
    assert torch.equal(x[:, 0].cpu(), torch.full((3,), 5.0))


def test_a_network_is_trained_to_the_same_weights_as_on_a_cpu(device):
    parts = (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    source = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(6, 3, 9, 9, generator=source), torch.randint(5, (6,), generator=source)
    start, ends = nn.Sequential(*parts), []
    for where in ("cpu", device):
        network = copy.deepcopy(start).to(where)
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01, fused=True)
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs.to(where)), labels.to(where)).backward()
            optimizer.step()
        ends.append(network.cpu().state_dict())
    torch.testing.assert_close(*ends, rtol=0, atol=1e-5)


def test_waits_of_the_host_are_counted(device, counting):
    x, pinned = X.to(device), X.pin_memory()
    with counting() as found:
        (x * 2).sum()
    assert found.counts.synchronised == 0
    assert found.counts.launched == 2
    for wait in (lambda: x.sum().item(), lambda: x[[0, 2]], lambda: x.cpu(), lambda: X.to(device, non_blocking=True)):
        with counting() as found:
            wait()
        assert found.counts.synchronised == 1
    with counting() as found:
        sent = pinned[1:].to(device, non_blocking=True)
    assert found.counts.synchronised == 0
    assert torch.equal(sent.cpu(), X[1:])


def test_it_runs_out_of_memory(device, emulation):
    with emulation.memory_of(10_000):
        with pytest.raises(torch.OutOfMemoryError):
            torch.ones(10_000, device=device)
        assert torch.ones(1000, device=device).sum().item() == 1000
    assert torch.ones(10_000, device=device).sum().item() == 10_000


def test_what_sums_in_any_order_is_counted_and_refused_in_strict_mode(device, counting):
    x, places = torch.rand(8, device=device), torch.zeros(8, dtype=torch.int64, device=device)
    with counting() as found:
        x.cumsum(0)
        torch.zeros(2, device=device).index_add(0, places, x)
    assert set(found.counts.undetermined) == {"aten::cumsum", "aten::index_add"}
    torch.use_deterministic_algorithms(True)
    try:
        with counting() as found:
            torch.zeros(2, device=device).index_add(0, places, x)
        assert found.counts.undetermined == {}
        with pytest.raises(RuntimeError, match="cumsum"):
            x.cumsum(0)
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_forked_child_cannot_use_it(device, emulation):
    child = os.fork()
    if child == 0:
        try:
            torch.ones(2, device=device)
        except RuntimeError as error:
            os._exit(0 if "forked" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
