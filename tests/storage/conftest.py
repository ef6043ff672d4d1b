"""Fixtures of the storage tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.storage.sqlite import Store
from tests.storage.house import found


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Store]:
    """A ledger without entries."""
    with Store.open(tmp_path / "house.sqlite", create=True) as store:
        yield store


@pytest.fixture
def store(empty: Store) -> Store:
    """A house with its owner."""
    found(empty)
    return empty
