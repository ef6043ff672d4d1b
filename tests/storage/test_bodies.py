"""Bodies: what was put is found again, what was erased is nowhere, and a crash leaves neither too much nor too little."""

import os
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick.errors import Misuse, Refused, Unavailable, Unproven
from tallystick.ledger.event import Event, Kind
from tallystick.primitives import sha256
from tallystick.storage.bodies import MAX_OPENING_BYTES, RECORD_BYTES, SEGMENT_UNITS, UNIT_BYTES, Bodies
from tallystick.storage.connection import connect
from tallystick.storage.rebuild import differences, rebuild
from tallystick.storage.sqlite import Store
from tests.storage.house import OTHER, START, answer, found, origin, signal

TAG = b"t" * 16
PLANTED = b"the planted text that must not be found again"


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def erased(entry: int) -> Event:
    return Event.of(Kind.BODY_ERASED, START, "local", entry=entry, reason="asked")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=3000), min_size=1, max_size=12))
def test_what_is_put_is_found(tmp_path: Path, openings: list[bytes]) -> None:
    """Each opening comes back under its slot and tag, also after closing, and the sealed file does not show it."""
    bodies = Bodies(tmp_path / "bodies")
    slots = bodies.put([(sha256(bytes([n]))[:16], opening) for n, opening in enumerate(openings)])
    bodies.close()
    again = Bodies(tmp_path / "bodies")
    for n, (slot, opening) in enumerate(zip(slots, openings, strict=True)):
        assert again.get(slot, sha256(bytes([n]))[:16]) == opening
        with pytest.raises(Unavailable):
            again.get(slot, b"another entry...")
    again.close()


def test_openings_do_not_cross_segments(tmp_path: Path) -> None:
    """Large openings fill a segment and go on in the next; every one is whole."""
    bodies = Bodies(tmp_path)
    openings = [bytes([n]) * (MAX_OPENING_BYTES - n * 1000) for n in range(9)]
    slots = bodies.put([(TAG, opening) for opening in openings])
    assert len(list(tmp_path.glob("*.seg"))) == 3
    assert all(path.stat().st_size <= SEGMENT_UNITS * UNIT_BYTES for path in tmp_path.glob("*.seg"))
    assert [bodies.get(slot, TAG) for slot in slots] == openings
    bodies.close()


def test_what_is_no_opening_is_misuse(tmp_path: Path) -> None:
    """Empty and oversized openings and tags of another length are refused."""
    bodies = Bodies(tmp_path)
    for tag, opening in ((TAG, b""), (TAG, bytes(MAX_OPENING_BYTES + 1)), (b"short", b"x")):
        with pytest.raises(Misuse):
            bodies.put([(tag, opening)])
    assert bodies.count() == 0
    bodies.close()


def test_what_is_erased_is_gone(tmp_path: Path) -> None:
    """Key and sealed bytes are overwritten in place; erasing again, and erasing what never was, does no harm."""
    bodies = Bodies(tmp_path)
    first, second = bodies.put([(TAG, PLANTED), (TAG, b"other")])
    with open(tmp_path / "keys.bin", "rb") as file:
        record = file.read(RECORD_BYTES)
    with open(tmp_path / "000000.seg", "rb") as file:
        sealed = file.read(len(PLANTED))
    bodies.erase([first])
    left = everything(tmp_path)
    assert record[-32:] not in left and sealed not in left
    with pytest.raises(Unavailable, match="erased"):
        bodies.get(first, TAG)
    assert bodies.tag_of(first) is None and bodies.tag_of(second) == TAG
    assert bodies.get(second, TAG) == b"other"
    bodies.erase([first, 99])
    bodies.close()


def test_a_changed_body_is_not_believed(tmp_path: Path) -> None:
    """A flipped bit in the sealed bytes is Unproven, a damaged record is no body."""
    bodies = Bodies(tmp_path)
    (slot,) = bodies.put([(TAG, PLANTED)])
    segment = os.open(tmp_path / "000000.seg", os.O_RDWR)
    byte = os.pread(segment, 1, 5)
    os.pwrite(segment, bytes([byte[0] ^ 1]), 5)
    os.close(segment)
    with pytest.raises(Unproven):
        bodies.get(slot, TAG)
    keys = os.open(tmp_path / "keys.bin", os.O_RDWR)
    os.pwrite(keys, b"\xff" * 16, 0)
    os.close(keys)
    with pytest.raises(Unavailable):
        bodies.get(slot, TAG)
    assert bodies.tag_of(slot) is None
    (next_slot,) = bodies.put([(TAG, b"new")])
    assert bodies.get(next_slot, TAG) == b"new"
    bodies.close()


def test_an_erasure_leaves_no_trace_in_the_house(store: Store) -> None:
    """After an erasure neither database, log, nor body files hold the opening or its key; its entry and proofs remain."""
    event = Event.of(Kind.SIGNAL, START, "pair", verdict="allow", signal=signal(OTHER, 0))
    (receipt, _) = store.append(event, answer(1), openings=[PLANTED, b""]).result(10)
    folder = store.path.parent / "bodies"
    key = (folder / "keys.bin").read_bytes()[32:64]
    sealed = (folder / "000000.seg").read_bytes()[: len(PLANTED)]
    assert store.opening(receipt.index) == PLANTED and store.opening(receipt.index + 1) is None
    store.append(erased(receipt.index)).result(10)
    assert store.opening(receipt.index) is None and store.body_slot(receipt.index) is None
    left = everything(store.path.parent)
    assert PLANTED not in left and key not in left and sealed not in left
    row = store.entry(receipt.index)
    assert row is not None and row.event == event
    store.append(erased(receipt.index)).result(10)  # asking twice is no mistake


def test_an_erasure_waits_for_slow_readers(store: Store) -> None:
    """While a reader holds the old bytes in the log, the erasure is recorded but not told as done; the next one finishes it."""
    store._book.db.set_busy_timeout(50)
    (receipt,) = store.append(answer(1), openings=[PLANTED]).result(10)
    with store.moment():
        store.size()
        with pytest.raises(Unavailable, match="reader"):
            store.append(erased(receipt.index)).result(10)
    assert store.failure is None and store.opening(receipt.index) is None
    store.append(erased(receipt.index)).result(10)
    assert store._book.one("SELECT count(*) FROM erasing") == (0,)


def test_a_crash_in_an_erasure_is_finished_at_the_start(tmp_path: Path) -> None:
    """Recorded but not yet destroyed: the next start destroys it. Written but never recorded: the next start destroys that too."""
    path = tmp_path / "house.sqlite"
    with Store.open(path, create=True) as store:
        found(store)
        (receipt,) = store.append(answer(1), openings=[PLANTED]).result(10)
    key = (tmp_path / "bodies" / "keys.bin").read_bytes()[32:64]
    db = connect(path, write=True)
    db.execute("INSERT INTO erasing SELECT slot FROM bodies")
    db.execute("DELETE FROM bodies")
    db.close()
    bodies = Bodies(tmp_path / "bodies")
    (orphan,) = bodies.put([(TAG, PLANTED)])
    bodies.close()
    with Store.open(path) as store:
        assert store.opening(receipt.index) is None
        assert store._bodies.tag_of(orphan) is None
        (again,) = store.append(answer(2), openings=[b"later"]).result(10)
        assert store.opening(again.index) == b"later"
    assert key not in everything(tmp_path)


def test_a_power_cut_takes_no_body(store: Store, tmp_path: Path) -> None:
    """What was acknowledged is in the database until the files of the bodies are synced: they may lose everything before that."""
    receipts = [store.append(answer(n), openings=[b"opening %d" % n * 50]).result(10)[0] for n in range(4)]
    store.append(erased(receipts[3].index)).result(10)  # an erasure syncs them too
    synced = {file.name: file.stat().st_size for file in (store.path.parent / "bodies").iterdir()}
    receipts += [store.append(answer(n), openings=[b"opening %d" % n * 50]).result(10)[0] for n in range(4, 6)]
    shutil.copytree(store.path.parent, tmp_path / "after", ignore=shutil.ignore_patterns("after"))
    for file in (tmp_path / "after" / "bodies").iterdir():
        os.truncate(file, synced[file.name])
    with Store.open(tmp_path / "after" / "house.sqlite") as again:
        openings = [again.opening(receipt.index) for receipt in receipts]
        assert openings == [None if n == 3 else b"opening %d" % n * 50 for n in range(6)]
        assert again._one("SELECT count(*) FROM fresh") == (0,)
        (receipt,) = again.append(answer(9), openings=[b"later"]).result(10)
        assert again.opening(receipt.index) == b"later"


def test_bodies_leave_the_database_once_their_files_are_synced(store: Store) -> None:
    """The database keeps a quarter of a MiB of them at most; what a failed sync may have taken is written again by the next one."""
    for n in range(2):
        store.append(*(answer(n) for n in range(100)), openings=[b"%d" % n * 2_000] * 100).result(10)
    until = time.monotonic() + 10
    while store._book.fresh_bytes and time.monotonic() < until:
        time.sleep(0.01)
    (receipt,) = store.append(answer(1), openings=[b"last"]).result(10)
    assert store._one("SELECT count(*) FROM fresh") == (1,)
    (store.path.parent / "bodies" / "000000.seg").write_bytes(b"")  # as after a failed sync: the pages are gone
    store._book._unsure = True
    store.close()
    with Store.open(store.path) as again:
        assert again.opening(receipt.index) == b"last"
        assert again._one("SELECT count(*) FROM fresh") == (0,)


def test_a_refused_request_leaves_no_body(store: Store) -> None:
    """The opening of a request that a rule refused is never written."""
    with pytest.raises(Refused):
        store.append(answer(1), origin(), openings=[PLANTED, b""]).result(10)
    assert store._bodies.count() == 0


def test_rebuild_agrees_with_erasures(store: Store, tmp_path: Path) -> None:
    """The rebuilt database knows the same living bodies and no erased one."""
    receipts = [store.append(answer(n), openings=[b"opening %d" % n]).result(10)[0] for n in range(5)]
    store.append(erased(receipts[2].index)).result(10)
    store.close()
    rebuild(store.path, tmp_path / "again.sqlite")
    assert differences(store.path, tmp_path / "again.sqlite") == ()
