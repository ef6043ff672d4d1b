"""No descriptors left is a passing state, not the end of the ledger (docs/spec/state.md, section 1)."""

import os
import resource
from pathlib import Path

import pytest

from tallystick.errors import Unavailable
from tallystick.storage.bodies import Bodies


def test_a_segment_without_its_folder_synced_is_not_kept(tmp_path: Path) -> None:
    """Where descriptors run out between a new segment and the sync of its folder, nothing is remembered, and the next call does both."""
    bodies = Bodies(tmp_path / "bodies")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, hard))  # one descriptor: for the segment, not for the folder
        with pytest.raises(Unavailable):
            bodies.put([(b"t" * 16, b"opening")])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert os.open(os.devnull, os.O_RDONLY) == free  # nothing was left open
    os.close(free)
    (slot,) = bodies.put([(b"t" * 16, b"opening")])
    assert bodies.get(slot, b"t" * 16) == b"opening"
    bodies.close()
