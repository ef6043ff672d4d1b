"""Passphrases of the machines in these tests are stretched cheaply."""

from collections.abc import Iterator

import pytest

from tests.e2e.support import cheap_passphrases


@pytest.fixture(scope="package", autouse=True)
def _cheap() -> Iterator[None]:
    """For this folder only: what a passphrase costs is tested elsewhere."""
    with cheap_passphrases():
        yield
