"""The order of the tests, one thread for each process that runs them, and what hypothesis draws: the same each time."""

import pytest
import torch
from hypothesis import HealthCheck, settings

settings.register_profile(
    "suite",
    database=None,
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("suite")

_LONGEST_FIRST = ("tests/emulated_gpu/test_stages.py", "tests/end_to_end/", "tests/pipelines/", "tests/baselines/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest first: workers take whole files, and at the end none should work on one alone."""

    def place(item: pytest.Item) -> int:
        found = [number for number, start in enumerate(_LONGEST_FIRST) if item.nodeid.startswith(start)]
        return min(found, default=len(_LONGEST_FIRST))

    items.sort(key=place)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)
