"""Where trials live, and a writer that tidies up within a short life."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.storage import writer


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: the real syncs of thousands of trials would wear a disk, and prove nothing here."""
    shared = Path("/dev/shm")
    folder = shared / f"tally-trials-{os.getpid()}" if os.access(shared, os.W_OK) else tmp_path / "trials"
    folder.mkdir(mode=0o700)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def short_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer settles bodies and brings its log home often enough for a short life to see it."""
    monkeypatch.setattr(writer, "SETTLE_BYTES", 4_096)
    monkeypatch.setattr(writer, "CHECKPOINT_PAGES", 40)
