"""The body store: every record and every sealed byte has one form, each opening is the one of its entry (docs/spec/state.md, 4).

A record's place follows from the records before it, a living one decrypts under its own key and tag, an erased one is zeros, and so is
what fills a unit. Whether an opening is what its signal commits to is for the one who knows signals: `judge`.
"""

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import apsw

from tallystick.errors import TallyError, Unproven
from tallystick.ledger import entry
from tallystick.ledger.audit import Finding
from tallystick.ledger.erasure import Spans, covered
from tallystick.ledger.event import Event, Kind
from tallystick.primitives import chacha20poly1305
from tallystick.storage.audit.database import Database
from tallystick.storage.audit.report import Report
from tallystick.storage.bodies import MAX_OPENING_BYTES, RECORD_BYTES, SEAL_BYTES, SEGMENT_UNITS, TAG_BYTES, UNIT_BYTES
from tallystick.storage.clear import OPENED, clear_value
from tallystick.storage.targets import target_in
from tallystick.tlog.tree import leaf_hash

KEYS: Final = "bodies/keys.bin"
_RECORD: Final = struct.Struct(">B3sII4s16s32s")
_LIVE, _ERASED = 1, 2
# The kinds that commit to an opening, and the field that does.
_COMMITTED: Final = {Kind.SIGNAL: "signal", Kind.PROPOSAL: "body", **{kind: field for kind, (field, _) in OPENED.items()}}

Judge = Callable[[Event, bytes], str]
"""What is wrong with the opening of an event; empty when it is what the event's signal commits to."""


class BodyAudit:
    """One run over `bodies/`, with the places from the database and the leaves from the replay."""

    def __init__(self, folder: Path, database: Database, right: apsw.Connection, report: Report, judge: Judge) -> None:
        self._folder = folder
        self._database = database
        self._right = right
        self._report = report
        self._judge = judge
        self._segments: dict[int, bytes] = {}
        self._newest: int | None = None
        self._targets: dict[int, str] = {}  # by entry, of the openings that live
        self._clear: dict[int, bytes] = {}
        self._unread: set[int] = set()  # entries whose opening does not decrypt
        self._ends: dict[int, int] = {}  # by segment: the first byte behind its last body

    def run(self) -> None:
        """Verify everything that lies in the folder, and that nothing is gone without an entry that says so."""
        rows = {slot: at for at, slot in self._database.all("SELECT entry, slot FROM bodies")}
        # A house that runs may have written more since: what the moment we look at does not know is passed over.
        self._newest = None if self._database.immutable else max(rows, default=-1)
        try:
            keys = (self._folder / "keys.bin").read_bytes()
        except FileNotFoundError:
            keys = b""
        except OSError as error:
            self._report.add([Finding(file=KEYS, meaning=f"it cannot be read: {error.strerror}")])
            return
        if len(keys) % RECORD_BYTES:
            self._find(KEYS, len(keys) // RECORD_BYTES * RECORD_BYTES, None, "it ends in the middle of a record")
        erasing = {slot for (slot,) in self._database.all("SELECT slot FROM erasing")}
        pending = {row[0]: row for row in self._database.all("SELECT slot, unit, record, sealed FROM fresh")}
        unit = 0
        for slot in range(len(keys) // RECORD_BYTES):
            raw = keys[slot * RECORD_BYTES : (slot + 1) * RECORD_BYTES]
            unit = self._record(slot, raw, unit, rows.pop(slot, None), slot in erasing)
            self._fresh(slot, raw, pending.pop(slot, None))
        for at in sorted(rows.values(), key=str):
            self._find("house.sqlite", None, at, "its opening was removed from the body store", row=f"bodies {at}")
        for slot in sorted(pending, key=str):
            self._find("house.sqlite", None, None, "no record of the body store belongs to this row", row=f"fresh {slot}")
        for slot in sorted(erasing, key=str):
            if not isinstance(slot, int) or not 0 <= slot < len(keys) // RECORD_BYTES:
                self._find("house.sqlite", None, None, "no record of the body store belongs to this row", row=f"erasing {slot}")
        self._tails()
        self._gone()
        self._index()
        self._filled()

    def _find(self, file: str, offset: int | None, at: int | None, meaning: str, *, row: str = "") -> None:
        self._report.add([Finding(file=file, offset=offset, entry=at, row=row, meaning=meaning)])

    def _record(self, slot: int, raw: bytes, follows: int, at: int | None, erasing: bool) -> int:
        """One record; the unit behind its body."""
        here = slot * RECORD_BYTES
        if raw == bytes(RECORD_BYTES):
            if at is not None:
                self._find(KEYS, here, at, "the record of this entry's opening was wiped, and no entry says so")
            return follows
        state, zero, unit, length, zero_too, tag, key = _unpack(raw)
        if zero != bytes(3) or zero_too != bytes(4):
            offset = here + 1 if zero != bytes(3) else here + 12
            self._find(KEYS, offset, at, "bytes of this record that must be zero are not")
        if state not in (_LIVE, _ERASED):
            self._find(KEYS, here, at, f"this record has a state {state} that there is not")
            return follows
        units = -(-(length + SEAL_BYTES) // UNIT_BYTES)
        if follows % SEGMENT_UNITS + units > SEGMENT_UNITS:
            follows += SEGMENT_UNITS - follows % SEGMENT_UNITS
        if not 0 < length <= MAX_OPENING_BYTES or unit != follows:
            offset = here + 4 if unit != follows else here + 8
            self._find(KEYS, offset, at, "this record names another place or length than its opening has")
            return follows + units if 0 < length <= MAX_OPENING_BYTES else follows
        segment, first = divmod(unit, SEGMENT_UNITS)
        file, offset = f"bodies/{segment:06d}.seg", first * UNIT_BYTES
        stored = self._segment(segment)[offset : offset + units * UNIT_BYTES]
        self._ends[segment] = max(self._ends.get(segment, 0), offset + units * UNIT_BYTES)
        if len(stored) != units * UNIT_BYTES:
            self._find(file, offset + len(stored), at, "it ends in the middle of an opening")
        elif state == _ERASED:
            self._erased(slot, at, tag + key, file, offset, stored)
        else:
            self._living(slot, at, erasing, tag, key, file, offset, stored, length)
        return int(unit) + units

    def _erased(self, slot: int, at: int | None, secret: bytes, file: str, offset: int, stored: bytes) -> None:
        if secret != bytes(len(secret)):
            self._find(KEYS, slot * RECORD_BYTES + 16, at, "an erased record is not wiped")
        if stored != bytes(len(stored)):
            self._find(file, offset + _first_set(stored), at, "the place of an erased opening is not wiped")
        if at is not None:
            self._find(KEYS, slot * RECORD_BYTES, at, "the opening of this entry was destroyed, and no entry says so")

    def _living(
        self, slot: int, at: int | None, erasing: bool, tag: bytes, key: bytes, file: str, offset: int, stored: bytes, length: int
    ) -> None:
        self._report.count("bodies")
        if at is None:
            if not erasing and (self._newest is None or slot <= self._newest):
                self._find(
                    KEYS,
                    slot * RECORD_BYTES,
                    self._by_tag(tag),
                    "this opening lives, and the database does not know it",
                    row=f"slot {slot}",
                )
            return
        leaf = self._leaf(at)
        if leaf is None or leaf_hash(leaf)[:TAG_BYTES] != tag:
            self._find(
                KEYS, slot * RECORD_BYTES + 16, at, "this record is not the one of the entry that the database names", row=f"bodies {at}"
            )
            return
        sealed, fill = stored[: length + SEAL_BYTES], stored[length + SEAL_BYTES :]
        if fill != bytes(len(fill)):
            self._find(file, offset + length + SEAL_BYTES + _first_set(fill), at, "what fills the last unit of this opening is not zero")
        try:
            opening = chacha20poly1305(key).decrypt(bytes(12), sealed, tag)
        except Unproven:
            self._unread.add(at)
            record = f"{KEYS}, byte {slot * RECORD_BYTES}"
            self._find(file, offset, at, f"the opening of this entry was changed, or its key was: it does not decrypt ({record})")
            return
        try:
            event = entry.decode(leaf)
            wrong = self._judge(event, opening)
            if (clear := clear_value(event, opening)) is not None:
                self._clear[at] = clear
        except TallyError as error:
            wrong = error.message
        if (target := target_in(opening)) is not None:
            self._targets[at] = target
        if wrong:
            self._find(file, offset, at, f"the opening of this entry is not the one that was signed: {wrong}")

    def _fresh(self, slot: int, raw: bytes, row: tuple[Any, ...] | None) -> None:
        """A body whose file may not be synced lies in the database as well: the same bytes."""
        if row is None:
            return
        _, _, unit, length, _, _, _ = _unpack(raw)
        segment, first = divmod(unit, SEGMENT_UNITS)
        stored = self._segment(segment)[first * UNIT_BYTES :][: length + SEAL_BYTES]
        if row[1:] != (unit, raw, stored):
            self._find("house.sqlite", None, None, "this row is not what lies in the body store", row=f"fresh {slot}")

    def _segment(self, number: int) -> bytes:
        if number not in self._segments:
            try:
                self._segments = {number: (self._folder / f"{number:06d}.seg").read_bytes()}
            except OSError as error:
                self._find(f"bodies/{number:06d}.seg", None, None, f"it cannot be read: {error.strerror}")
                self._segments = {number: b""}
        return self._segments[number]

    def _tails(self) -> None:
        for name in sorted(os.listdir(self._folder)) if self._folder.is_dir() else ():
            number = name.removesuffix(".seg")
            if name == "keys.bin":
                continue
            if not name.endswith(".seg") or len(number) != 6 or not number.isdigit():
                self._find(f"bodies/{name}", None, None, "the body store has no file of this name; it was put here")
                continue
            size, end = (self._folder / name).stat().st_size, self._ends.get(int(number), 0)
            if size > end:
                self._report.remark(f"bodies/{name}: {size - end} bytes behind the last opening, of a crash or of somebody's hand")

    def _leaf(self, at: int) -> bytes | None:
        row = self._right.execute("SELECT leaf FROM entries WHERE idx = ?", (at,)).fetchone()
        return row[0] if row is not None else None

    def _by_tag(self, tag: bytes) -> int | None:
        found = (at for at, leaf in self._signals() if leaf_hash(leaf)[:TAG_BYTES] == tag)
        return next(found, None)

    def _signals(self) -> Iterator[tuple[int, bytes]]:
        yield from self._right.execute("SELECT idx, leaf FROM entries WHERE kind = ? ORDER BY idx", (int(Kind.SIGNAL),))

    def _gone(self) -> None:
        """A command's opening is there, or an entry says that it was erased."""
        there = {at for (at,) in self._database.all("SELECT entry FROM bodies")}
        erased = Spans(
            span
            for (leaf,) in self._right.execute("SELECT leaf FROM entries WHERE kind = ?", (int(Kind.BODY_ERASED),))
            for span in covered(entry.decode(leaf))
        )
        for at, leaf in self._committed():
            event = entry.decode(leaf)
            field = _COMMITTED[event.kind]
            stated = event.kind is Kind.SIGNAL and "statement" in event.fields  # in clear beside it
            if at not in there and at not in erased and event.get(field) is not None and not stated:
                what = "command" if event.kind is Kind.SIGNAL else event.kind.name.lower().replace("_", "-")
                meaning = f"the opening of this {what} is gone, and no entry says that it was erased"
                self._find("house.sqlite", None, at, meaning, row=f"bodies {at}")

    def _committed(self) -> Iterator[tuple[int, bytes]]:
        """What may have been recorded with an opening."""
        kinds = ", ".join(str(int(kind)) for kind in sorted(_COMMITTED))
        yield from self._right.execute(f"SELECT idx, leaf FROM entries WHERE kind IN ({kinds}) ORDER BY idx")

    def _filled(self) -> None:
        """What stands in clear beside the state is what the openings say: nothing else, and nothing is missing."""
        rows = dict(self._database.all("SELECT entry, value FROM clear"))
        for at in sorted({*rows, *self._clear}, key=str):
            if rows.get(at) != self._clear.get(at) and at not in self._unread:
                meaning = "what stands in clear is not what the opening of this entry says"
                self._find("house.sqlite", None, at, meaning, row=f"clear {at}")

    def _index(self) -> None:
        """The index of targets is a cache of the openings: nothing else stands in it, and nothing is missing where it was filled."""
        rows = dict(self._database.all("SELECT entry, target FROM targets"))
        filled = max((size for (size,) in self._database.all("SELECT size FROM indexed") if isinstance(size, int)), default=0)
        for at in sorted({*rows, *self._targets}, key=str):
            said, right = rows.get(at), self._targets.get(at)
            if said != right and at not in self._unread and not (said is None and at >= filled):
                meaning = "the index of targets does not say what the opening of this entry says"
                self._find("house.sqlite", None, at, meaning, row=f"targets {at}")


def _first_set(data: bytes) -> int:
    return len(data) - len(data.lstrip(b"\0"))


def _unpack(raw: bytes) -> tuple[int, bytes, int, int, bytes, bytes, bytes]:
    state, zero, unit, length, zero_too, tag, key = _RECORD.unpack(raw)
    return int(state), zero, int(unit), int(length), zero_too, tag, key
