"""The order of the tests."""

import pytest

_LONGEST_FIRST = ("end_to_end", "pipelines", "baselines")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Rooms with long files first: workers take whole files, and at the end none should work on one alone."""

    def place(item: pytest.Item) -> int:
        rooms = [number for number, room in enumerate(_LONGEST_FIRST) if room in item.path.parts]
        return min(rooms, default=len(_LONGEST_FIRST))

    items.sort(key=place)
