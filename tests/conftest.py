"""The order of the tests, and one thread for each process that runs them."""

import pytest
import torch

_LONGEST_FIRST = ("end_to_end", "pipelines", "baselines")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Rooms with long files first: workers take whole files, and at the end none should work on one alone."""

    def place(item: pytest.Item) -> int:
        rooms = [number for number, room in enumerate(_LONGEST_FIRST) if room in item.path.parts]
        return min(rooms, default=len(_LONGEST_FIRST))

    items.sort(key=place)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)
