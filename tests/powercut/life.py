"""A house's life on tape, and what must be true of it after a power cut, wherever that came.

The life does what a house does, in its order: events with and without openings, several callers in one group, calls that a rule
refuses, secrets kept before their entry and destroyed after it, effects only once their beginning is acknowledged, checkpoints
signed over durable entries, erasures, orderly ends and starts. What the world saw is marked on the tape at the moment it saw it.
"""

import itertools
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from tallystick.errors import Unavailable
from tallystick.ledger import entry
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.receipt import Receipt
from tallystick.primitives import sha256
from tallystick.storage.bodies import Bodies
from tallystick.storage.connection import connect
from tallystick.storage.disk import Disk
from tallystick.storage.rebuild import differences, rebuild
from tallystick.storage.sqlite import Store
from tallystick.storage.tiles import TileFiles
from tallystick.storage.tilesource import TileSource
from tallystick.tlog.tile import growth
from tallystick.vault.private import PrivateDirectory
from tests.powercut.disks import TapeDisk, TapeVault, TapeVFS
from tests.powercut.tape import Tape
from tests.storage.gatehouse import place_of
from tests.storage.house import OWNER, START, Key, answer, approved, found, invite_consumed, invite_created, proposed, severed

DATABASE: Final = "house.sqlite"
_names = itertools.count()


@dataclass(frozen=True)
class Offered:
    """A call was made: all of it may be in the ledger from now on, or nothing."""

    call: int
    leaves: tuple[bytes, ...]
    openings: tuple[bytes, ...]
    erases: tuple[int, ...] = ()


@dataclass(frozen=True)
class Acknowledged:
    """Its receipts were given out."""

    call: int
    receipts: tuple[Receipt, ...]


@dataclass(frozen=True)
class Refused:
    """A rule said no, or a full disk: nothing of it may ever be seen."""

    call: int


@dataclass(frozen=True)
class Happened:
    """An effect outside took place, of the entry that began it."""

    begun: int


@dataclass(frozen=True)
class Signed:
    """A checkpoint left the house."""

    size: int
    root: bytes


@dataclass(frozen=True)
class Destroyed:
    """The secret of a severed pair was said to be gone."""

    name: str


@contextmanager
def recorded(root: Path) -> Iterator[tuple[Tape, str, TapeDisk]]:
    """A tape of what happens below `root`."""
    tape = Tape(root)
    vfs = TapeVFS(f"tape{next(_names)}", tape)
    try:
        yield tape, vfs.vfs_name, TapeDisk(tape)
    finally:
        vfs.unregister()


class Life:
    """One house, driven by dice."""

    ACTS: ClassVar = ("plain", "bodies", "bodies", "crowd", "erase", "effect", "sign", "pair", "sever", "restart", "sight")

    def __init__(self, root: Path, tape: Tape, vfs: str, disk: Disk, dice: random.Random) -> None:
        self.path = root / DATABASE
        self.tape, self.vfs, self.disk, self.dice = tape, vfs, disk, dice
        self.secrets = PrivateDirectory(root / "secrets", TapeVault(tape))
        self.store = Store.open(self.path, vfs=vfs, disk=disk)
        self.files, self.published = TileFiles(root / "tiles", disk), 0
        self.calls = itertools.count()
        self.n = itertools.count(1)
        self.bodied: list[int] = []
        self.pairs: list[str] = []

    @staticmethod
    def found(root: Path) -> None:
        """The house that every life begins with; durable before the tape runs."""
        (root / "secrets").mkdir(mode=0o700)
        with Store.open(root / DATABASE, create=True) as store:
            found(store)

    def live(self, steps: int) -> None:
        for _ in range(steps):
            getattr(self, self.dice.choice(self.ACTS))()

    def offer(self, *events: Event, openings: Sequence[bytes] = (), erases: tuple[int, ...] = ()) -> Any:
        call = next(self.calls)
        self.tape.mark(Offered(call, tuple(map(entry.encode, events)), tuple(openings) or (b"",) * len(events), erases))
        future = self.store.append(*events, openings=openings)

        def told(done: Any) -> None:
            error = done.exception()
            if error is None:
                self.tape.mark(Acknowledged(call, done.result()))
            elif not isinstance(error, Unavailable) or "nothing of this was recorded" in error.message:
                self.tape.mark(Refused(call))

        future.add_done_callback(told)
        return future

    def text(self) -> bytes:
        return b"opening %d " % next(self.n) * self.dice.choice((1, 3, 40, 200))

    def answers(self, count: int) -> list[Event]:
        return [answer(next(self.n)) for _ in range(count)]

    def plain(self) -> None:
        self.offer(*self.answers(self.dice.randrange(1, 4))).result(30)

    def bodies(self) -> None:
        events = self.answers(self.dice.randrange(1, 5))
        openings = [self.text() if self.dice.random() < 0.8 else b"" for _ in events]
        receipts = self.offer(*events, openings=openings).result(30)
        self.bodied += [receipt.index for receipt, opening in zip(receipts, openings, strict=True) if opening]

    def crowd(self) -> None:
        """Several callers at once, one of whom asks for what may not be."""
        waiting = []
        for _ in range(self.dice.randrange(2, 6)):
            if self.dice.random() < 0.3:
                waiting.append(self.offer(*self.answers(1), Event.of(Kind.EFFECT_DONE, START + next(self.n), entry=1 << 40)))
            else:
                waiting.append(self.offer(*self.answers(2), openings=[self.text(), b""]))
        for future in waiting:
            if future.exception(30) is None:
                self.bodied.append(future.result()[0].index)

    def erase(self) -> None:
        if not self.bodied:
            return
        gone = tuple(self.dice.sample(self.bodied, min(len(self.bodied), self.dice.randrange(1, 4))))
        events = [Event.of(Kind.BODY_ERASED, START + next(self.n), "local", entry=at, reason="asked") for at in gone]
        self.offer(*events, erases=gone).result(30)
        self.bodied = [at for at in self.bodied if at not in gone]

    def sight(self) -> None:
        """Where a key was seen: the place stands in clear beside the state, as long as its opening lives."""
        commitment, opening = place_of(f"place {(n := next(self.n))}", n)
        about = {"subject": bytes(OWNER.id), "observed": START + n, "commitment": commitment}
        (receipt,) = self.offer(Event.of(Kind.SIGHTING, START + n, "gate", **about), openings=[opening]).result(30)
        self.bodied.append(receipt.index)

    def effect(self) -> None:
        (begun,) = self.offer(Event.of(Kind.EFFECT_BEGUN, START + next(self.n), effect="test")).result(30)
        self.tape.mark(Happened(begun.index))
        self.offer(Event.of(Kind.EFFECT_DONE, START + next(self.n), entry=begun.index)).result(30)

    def sign(self) -> None:
        """In the publisher's order: tiles, then the checkpoint in the database, then its file; only then is it seen."""
        (size, root), note = self.store.head(), b""
        with self.files.alone():
            source = TileSource(self.path, self.vfs)
            self.files.put(source.files(growth(self.published, size)))
            source.close()
            note = b"note %d" % size
            self.store.put_checkpoint(size, root, note, START + next(self.n))
            self.files.put_checkpoint(note)
        self.published = size
        self.tape.mark(Signed(size, root))

    def pair(self) -> None:
        name = f"m{next(self.n)}"
        machine, now = Key.named(name), START + next(self.n)
        tag, pairing = sha256(b"invite", name.encode()), sha256(b"pairing", name.encode())
        self.offer(invite_created(tag, time_ns=now, label=name)).result(30)
        self.offer(invite_consumed(tag, time_ns=now + 1)).result(30)
        self.secrets.write(pairing.hex(), sha256(b"secret", pairing))
        self.offer(proposed(machine, pairing, time_ns=now + 2, invite=tag, label=name)).result(30)
        self.offer(approved(pairing, time_ns=now + 3)).result(30)
        self.pairs.append(pairing.hex())

    def sever(self) -> None:
        if not self.pairs:
            return
        name = self.pairs.pop(self.dice.randrange(len(self.pairs)))
        self.offer(severed(bytes.fromhex(name), time_ns=START + next(self.n))).result(30)
        self.secrets.delete(name)
        self.tape.mark(Destroyed(name))

    def restart(self) -> None:
        self.store.close()
        self.store = Store.open(self.path, vfs=self.vfs, disk=self.disk)


def expect(root: Path, seen: Sequence[Any], *, vfs: str | None = None, disk: TapeDisk | None = None, deep: bool = False) -> None:
    """Open the house that a cut has left, and hold it against what the world saw before."""
    path = root / DATABASE
    offered = {mark.call: mark for mark in seen if isinstance(mark, Offered)}
    PrivateDirectory(root / "secrets", TapeVault(disk.tape) if disk else TapeVault(Tape(root))).sweep()
    anchors = [(mark.size, mark.root) for mark in seen if isinstance(mark, Signed)]
    with Store.open(path, vfs=vfs, disk=disk, anchors=anchors) as store:
        leaves = [row.leaf for row in store.entries(limit=10_000)]
        assert len(leaves) == store.size() >= 2, "the entries and their number differ"
        where = {leaf: at for at, leaf in enumerate(leaves)}
        assert len(where) == len(leaves), "an entry is there twice"
        standing = _calls(offered, where, len(leaves))
        for mark in seen:
            match mark:
                case Acknowledged(call, receipts):
                    assert call in standing, "what was acknowledged is lost"
                    for receipt, leaf in zip(receipts, offered[call].leaves, strict=True):
                        assert where[leaf] == receipt.index, "what was acknowledged is elsewhere"
                case Refused(call):
                    assert call not in standing, "what a rule refused is there"
                case Happened(begun):
                    assert begun < len(leaves) and store.entries(begun, begun + 1)[0].event.kind is Kind.EFFECT_BEGUN, "unrecorded effect"
                case Destroyed(name):
                    assert not (root / "secrets" / name).exists(), "a destroyed secret is back"
        _published(root, store, max((size for size, _ in anchors), default=0))
        _bodies(root, store, [offered[call] for call in sorted(standing)], where)
        for pair in store.pairs():
            secret = root / "secrets" / pair.pairing.hex()
            if pair.state in ("pending", "standing"):
                assert secret.read_bytes() == sha256(b"secret", pair.pairing), "a pair without its secret"
        open_before = {effect.begun for effect in store.open_effects()}
        ended = {_ends(leaf) for leaf in leaves[2:]}
        begun_ever = {at for at, leaf in enumerate(leaves) if _kind(leaf) is Kind.EFFECT_BEGUN}
        assert open_before == begun_ever - ended, "an effect is neither open nor ended"
        assert len(store.settle_open_effects(START)) == len(open_before) and store.open_effects() == ()
        (receipt,) = store.append(answer(1 << 30), openings=[b"afterwards"]).result(30)
        assert store.opening(receipt.index) == b"afterwards"
    if deep:
        _deep(root, path)


def _deep(root: Path, path: Path) -> None:
    """The database is whole, and its state is what the entries say."""
    db = connect(path, write=False)
    assert db.pragma("integrity_check") == "ok"
    db.close()
    again = root / "again.sqlite"
    rebuild(path, again)
    assert differences(path, again) == ()


def _calls(offered: dict[int, Offered], where: dict[bytes, int], size: int) -> set[int]:
    """The calls that are in the ledger, each whole; and nothing else is."""
    standing: set[int] = set()
    accounted = 2
    for call, mark in offered.items():
        places = [where[leaf] for leaf in mark.leaves if leaf in where]
        assert len(places) in (0, len(mark.leaves)), "a call is there in part"
        if places:
            assert places == list(range(places[0], places[0] + len(places))), "a call's events are not together"
            standing.add(call)
            accounted += len(places)
    assert accounted == size, "an entry that nobody offered"
    return standing


def _published(root: Path, store: Store, least: int) -> None:
    """A checkpoint that was seen is there, signed in the database, and every tile under it is there and whole."""
    note = TileFiles(root / "tiles").checkpoint()
    size = 0 if note is None else int(note.removeprefix(b"note "))
    assert least <= size <= store.size(), "a published checkpoint is lost, or runs ahead of the ledger"
    if size:
        signed = store.latest_checkpoint()
        assert signed is not None and signed.size >= size, "what was published is not known to be signed"
        source, files = TileSource(store.path), TileFiles(root / "tiles")
        assert all(files.read(tile) == source.get(tile) for tile in growth(0, size)), "a tile under the checkpoint is not whole"
        source.close()


def _bodies(root: Path, store: Store, standing: Sequence[Offered], where: dict[bytes, int]) -> None:
    gone = {erased for mark in standing for erased in mark.erases}
    living: set[int] = set()
    for mark in standing:
        for leaf, opening in zip(mark.leaves, mark.openings, strict=True):
            index = where[leaf]
            slot = store.body_slot(index)
            if index in gone or not opening:
                assert slot is None and store.opening(index) is None, "an erased body has a place"
            else:
                assert slot is not None and store.opening(index) == opening, "a body does not open"
                living.add(slot)
    bodies = Bodies(root / "bodies")
    try:
        kept = {slot for slot in range(bodies.count()) if bodies.tag_of(slot) is not None}
    finally:
        bodies.close()
    assert kept == living, "a key of no entry"
    assert store._one("SELECT (SELECT count(*) FROM erasing) + (SELECT count(*) FROM fresh)") == (0,), "the start left work undone"


def _kind(leaf: bytes) -> Kind:
    return entry.decode(leaf).kind


def _ends(leaf: bytes) -> int | None:
    event = entry.decode(leaf)
    return event.number("entry") if event.kind in (Kind.EFFECT_DONE, Kind.EFFECT_UNKNOWN, Kind.EFFECT_FAILED) else None
