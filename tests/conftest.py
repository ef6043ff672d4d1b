"""Settings of the whole suite: bounded, repeatable property tests and a fixture for foreign vectors."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support import vectors

# CI replays the same examples each time (a red build must be repeatable); by hand each run looks somewhere new.
_CALM = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("local", deadline=None, max_examples=50, suppress_health_check=_CALM)
settings.register_profile("ci", deadline=None, max_examples=100, derandomize=True, suppress_health_check=_CALM)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session")
def vectors_dir() -> Path:
    """The folder of foreign test vectors."""
    return vectors()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test sees no TALLY_* setting of the person who runs it."""
    for name in [name for name in os.environ if name.startswith(("TALLY_", "AUTH_LAYERS_"))]:
        monkeypatch.delenv(name)
    yield
