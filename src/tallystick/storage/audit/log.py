"""The log itself: database, published files and checkpoints against each other, entry by entry.

An entry may lie in two places (the database, a published bundle), its hash in two more (the database's tile, the published
tile). Where they disagree the majority names the one that was changed, and a tile's hash in the level above decides between
equals; the root that was signed confirms it. So a change is named with its file, byte and entry, and what comes after it is
verified all the same.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from tallystick.errors import Malformed, TallyError
from tallystick.ledger.audit import Finding, TreeAudit, bundle_offsets, check_note
from tallystick.ledger.block import Block, Sight, read_block
from tallystick.ledger.entry import decode
from tallystick.ledger.form import Forms
from tallystick.ledger.meaning import Flaw, Meaning, check
from tallystick.storage.audit.database import FILE, Database
from tallystick.storage.audit.pool import Pool, Task
from tallystick.storage.audit.published import Published, leaves_of
from tallystick.storage.audit.report import Report
from tallystick.tlog.bundle import read_bundle, write_bundle
from tallystick.tlog.checkpoint import Checkpoint, read_checkpoint
from tallystick.tlog.note import Verifier, VerifierKey
from tallystick.tlog.tile import ENTRIES, TILE_WIDTH, Tile
from tallystick.tlog.tree import HASH_BYTES, leaf_hash, perfect_root

LATE_NS: Final = 60 * 10**9
CLAIMS_AT_ONCE: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredNote:
    """A signed checkpoint and where it lies. `size`, `root`, `time_ns`: what the row beside it says, where there is one."""

    file: str
    note: bytes
    row: str = ""
    size: int | None = None
    root: bytes | None = None
    time_ns: int | None = None


@dataclass(slots=True)
class _Place:
    """What is known of a block before it is read."""

    n: int
    width: int
    ours: dict[int, bytes]  # leaves of the database
    theirs: bytes | None  # the widest published bundle
    theirs_width: int
    data: bytes  # what is read
    agree: bool
    late: Tile | None = None  # a published bundle that stands alone: whoever reads the block fetches it


@dataclass(slots=True, kw_only=True)
class LogAudit:
    """One run over a log. `overrides` and `lost` tell the replay which leaves of the database are not the ones that were signed."""

    report: Report
    database: Database | None
    published: Published | None
    notes: Sequence[StoredNote] = ()
    pinned: Sequence[VerifierKey] = ()
    witnesses: Sequence[Verifier] = ()
    since: int = 0
    progress: Callable[[int, int], None] | None = None
    tree: TreeAudit = field(default_factory=TreeAudit)
    meaning: Meaning = field(init=False)
    overrides: dict[int, bytes] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)
    _places: dict[int, _Place] = field(default_factory=dict)
    _waiting: list[tuple[int, StoredNote]] = field(default_factory=list)
    _latest_ns: int = 0
    _total: int = 0

    def __post_init__(self) -> None:
        self.meaning = Meaning(self.tree.root_at)
        self.tree.tiles_of = self._tile

    def run(self, pool: Pool) -> None:
        """Verify everything. Raises nothing but what is our own defect."""
        report = self.report
        size = self.database.size() if self.database is not None else 0
        public = self.published.note if self.published is not None else None
        notes = [*self.notes, *self._rows()]
        if public is not None and self.published is not None:
            notes.append(StoredNote(file=self.published.prefix + "checkpoint", note=public))
        self._queue(notes)
        published = self._published_size(public)
        self._total = total = max(size, published)
        for block in pool.blocks(self._tasks(total), self._sight):
            self._take(block)
            if self.progress is not None:
                self.progress(self.tree.size, total)
        self._settle_claims()
        for tile, data in self.tree.partials():
            self._check_tile(tile, data)
        self._check_notes(final=True)
        if self.published is not None:
            if public is not None:
                report.add(self.published.check_complete(min(published, self.tree.size)))
            elif size:
                report.remark("no checkpoint was published here")
            report.add(self.published.check_levels(max(self.tree.size, published)))
            report.add(self.published.flaws)
            if self.published.unfinished:
                report.remark(f"{self.published.unfinished} unfinished files of a publication that was cut short; they mean nothing")
        if self.tree.size == 0:
            report.add([Finding(file=FILE, meaning="there is no entry here")])
        report.size, report.root = self.tree.size, self.tree.root()
        if self.meaning.eras:
            report.origin = self.meaning.eras[-1].name
        self._check_pins()

    # Reading.

    def _rows(self) -> Iterator[StoredNote]:
        for row in self.database.checkpoints() if self.database is not None else ():
            match row:
                case (int(size), bytes(root), int(time_ns), bytes(note)):
                    yield StoredNote(file=FILE, row=f"checkpoints {size}", note=note, size=size, root=root, time_ns=time_ns)
                case _:
                    self.report.add([Finding(file=FILE, row=f"checkpoints {row[0]}", meaning="this row holds no checkpoint")])

    def _published_size(self, note: bytes | None) -> int:
        if self.published is None:
            return 0
        try:
            size = read_checkpoint(note)[0].size if note is not None else 0
        except Malformed:
            size = 0
        there = 0
        if blocks := self.published.blocks():
            there = (blocks - 1) * TILE_WIDTH + self.published.tiles(ENTRIES, blocks - 1)[0].width
        # With a database, what was published behind the checkpoint counts only where the database has it.
        return there if self.database is None else min(size, there)

    def _tasks(self, total: int) -> Iterator[Task]:
        for n in range(-(-total // TILE_WIDTH)):
            first = n * TILE_WIDTH
            width = min(TILE_WIDTH, total - first)
            self._places[n] = place = self._alone(n, width) or self._place(n, width)
            yield Task(place.data, place.width, first, self.published.folder if place.late and self.published else None, place.late)

    def _alone(self, n: int, width: int) -> _Place | None:
        """Where the bundle has nothing to be compared with before it is read, it is not carried to another process, but read there."""
        there = self.published.tiles(ENTRIES, n) if self.published is not None and self.database is None else []
        if len(there) != 1 or there[0].width != width:
            return None
        return _Place(n, width, {}, None, 0, b"", True, late=there[0])

    def _place(self, n: int, width: int) -> _Place:
        ours = self.database.leaves(n) if self.database is not None else {}
        there = self.published.tiles(ENTRIES, n) if self.published is not None else []
        theirs = self.published.get(there[0]) if there and self.published is not None else None
        theirs_width = min(there[0].width, width) if there else 0
        if theirs is not None and there[0].width > width:
            theirs = b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in leaves_of(theirs)[:width])
        first = n * TILE_WIDTH
        leaves = [ours[index] for index in range(first, first + width) if index in ours]
        data = b"".join([part for leaf in leaves for part in (len(leaf).to_bytes(2, "big"), leaf)])
        whole = len(leaves) == width
        if theirs is None:
            return _Place(n, width, ours, None, 0, data, whole)
        narrower = all(self._begins(tile, data if whole else theirs) for tile in there[1:])
        if not ours:
            return _Place(n, width, ours, theirs, theirs_width, theirs, theirs_width == width and narrower)
        agree = whole and narrower and data.startswith(theirs) and (theirs_width == width) == (len(theirs) == len(data))
        return _Place(n, width, ours, theirs, theirs_width, data if whole else theirs, agree)

    def _begins(self, tile: Tile, data: bytes) -> bool:
        """Whether an older, narrower form of a bundle is its beginning."""
        stored = self.published.get(tile) if self.published is not None else None
        if stored is None:
            return True
        leaves = leaves_of(data)[: tile.width]
        return stored == data[: sum(map(len, leaves)) + 2 * len(leaves)]

    def _sight(self) -> Sight:
        meaning = self.meaning
        houses = frozenset({meaning.house, *meaning.houses} if meaning.house else ())
        return Sight(
            since=self.since,
            houses=houses,
            keys={kid: (key.kind.value, key.raw, meaning.brought[kid]) for kid, key in meaning.keys.items()},
        )

    def _tile(self, n: int) -> bytes | None:
        """The hashes of an old tile, for the root of an old checkpoint; whoever asks checks them."""
        if self.published is not None:
            for tile in self.published.tiles(0, n):
                if tile.full and (data := self.published.get(tile)) is not None:
                    return data
        row = self.database.tile(n) if self.database is not None else None
        return row[0] if row is not None else None

    # Judging.

    def _take(self, block: Block) -> None:
        place = self._places.pop(block.first // TILE_WIDTH)
        tiles = self._stored_tiles(place)
        whole = not block.broken and block.count == place.width and place.agree
        right = whole and all(block.tile[: len(tile)] == tile for _, tile in tiles)
        if place.late is not None and (block.flaws or not right):  # in order to tell where
            place = self._place(place.n, place.width)
            if not right:
                block = read_block(place.data, place.width, block.first, Forms(), self._sight())
        if not right:
            block = self._arbitrate(place, block, tiles)
        self._entry_flaws(place, block.flaws)
        first = self.tree.size
        if block.count == TILE_WIDTH and first % TILE_WIDTH == 0:
            full = self.tree.feed_tile(block.tile, block.root)
        else:
            full = self.tree.feed_hashes([block.tile[at : at + HASH_BYTES] for at in range(0, len(block.tile), HASH_BYTES)])
        for tile, data in full:
            # The stored forms of this tile were compared above, byte for byte.
            self._check_tile(tile, data, seen=tile.level == 0 and tile.n == place.n and right)
        for index, leaf in block.left:
            if index in self.lost:
                continue
            try:
                event = decode(leaf)
            except TallyError:
                continue  # it is among the flaws already
            self._entry_flaws(place, self.meaning.take(index, event))
        self._settle_claims(CLAIMS_AT_ONCE)
        self.report.count("entries", block.count)
        self._check_notes()
        # After the checkpoints inside this block: they say nothing about its later entries.
        self._latest_ns = max(self._latest_ns, block.latest_ns)

    def _stored_tiles(self, place: _Place) -> list[tuple[str, bytes]]:
        """What is stored of this block's hashes, and where."""
        found: list[tuple[str, bytes]] = []
        row = self.database.tile(place.n) if self.database is not None and place.width == TILE_WIDTH else None
        if row is not None:
            found.append((FILE, row[0]))
        if self.published is not None:
            for tile in self.published.tiles(0, place.n):
                if tile.width <= place.width and (data := self.published.get(tile)) is not None:
                    found.append((self.published.file(tile), data))
        return found

    def _arbitrate(self, place: _Place, block: Block, tiles: list[tuple[str, bytes]]) -> Block:
        """Something differs: find for each entry what the others agree on, name what was changed, and read on with what is right."""
        first, width = place.n * TILE_WIDTH, place.width
        theirs: tuple[bytes, ...] = ()
        if place.theirs is not None:
            try:
                theirs = read_bundle(place.theirs, place.theirs_width)
            except Malformed:
                theirs = leaves_of(place.theirs)
        sources: list[list[bytes | None]] = []
        if place.ours or self.database is not None:
            sources.append([leaf_hash(place.ours[at]) if at in place.ours else None for at in range(first, first + width)])
        if place.theirs is not None:
            sources.append([leaf_hash(theirs[at]) if at < len(theirs) else None for at in range(width)])
        sources += [[tile[at * HASH_BYTES :][:HASH_BYTES] or None for at in range(width)] for _, tile in tiles]
        chosen = self._choose(place, sources)
        leaves: list[bytes | None] = []
        for at, digest in enumerate(chosen):
            index = first + at
            own = place.ours.get(index)
            other = theirs[at] if at < len(theirs) else None
            right = (
                own if own is not None and leaf_hash(own) == digest else other if other is not None and leaf_hash(other) == digest else None
            )
            leaves.append(right)
            if right is None:
                self.lost.add(index)
            elif own != right and self.database is not None:
                self.overrides[index] = right
            if self.database is not None and own != right:
                what = "this entry is missing" if own is None else "this entry was changed: it is not the one that was signed"
                self.report.add([Finding(file=FILE, row=f"entries {index}", entry=index, meaning=what)])
            if right is None and place.theirs is not None and other is not None and self.published is not None:
                at_byte = bundle_offsets(theirs)[at]
                file = self.published.file(Tile(ENTRIES, place.n, place.theirs_width))
                self.report.add(
                    [Finding(file=file, offset=at_byte, entry=index, meaning="this entry was changed: it is not the one that was signed")]
                )
        if self.published is not None and place.theirs is not None:
            if all(leaf is not None for leaf in leaves):
                whole = [leaf for leaf in leaves if leaf is not None]
                ends = [start + len(leaf) for start, leaf in zip(bundle_offsets(whole), whole, strict=True)]
                self.report.add(self.published.check_bundle(Tile(ENTRIES, place.n, width), write_bundle(whole), ends))
            elif block.broken or len(theirs) < place.theirs_width:
                file = self.published.file(Tile(ENTRIES, place.n, place.theirs_width))
                cut = first + len(theirs)
                meaning = f"this bundle cannot be read to its end: {block.broken or 'a length in it was changed'}"
                self.report.add([Finding(file=file, entry=cut, last=first + place.theirs_width - 1, meaning=meaning)])
        return self._read_again(place, chosen, leaves)

    def _choose(self, place: _Place, sources: list[list[bytes | None]]) -> list[bytes]:
        columns = [Counter(source[at] for source in sources if source[at] is not None) for at in range(place.width)]
        majority = [column.most_common(1)[0][0] or b"" if column else bytes(HASH_BYTES) for column in columns]
        if place.width < TILE_WIDTH:
            return majority
        above = self._roots_above(place.n)
        complete = [[digest for digest in source if digest is not None] for source in sources]
        for candidate in [majority, *reversed(complete)]:
            if len(candidate) == TILE_WIDTH and perfect_root(candidate) in above:
                return candidate
        return majority

    def _roots_above(self, n: int) -> set[bytes]:
        roots = set()
        if self.database is not None and (row := self.database.tile(n)) is not None:
            roots.add(row[1])
        if self.published is not None:
            at = n % TILE_WIDTH * HASH_BYTES
            for tile in self.published.tiles(1, n // TILE_WIDTH):
                data = self.published.get(tile)
                if data is not None and len(data) >= at + HASH_BYTES:
                    roots.add(data[at : at + HASH_BYTES])
        return roots

    def _read_again(self, place: _Place, chosen: list[bytes], leaves: list[bytes | None]) -> Block:
        """The block of what is right; of entries that are lost only the hash is known."""
        first = place.n * TILE_WIDTH
        result = Block(first, count=place.width, tile=b"".join(chosen))
        result.root = perfect_root(chosen) if place.width == TILE_WIDTH else b""
        forms, sight = Forms(), self._sight()
        for at, leaf in enumerate(leaves):
            if leaf is None:
                continue
            one = read_block(len(leaf).to_bytes(2, "big") + leaf, 1, first + at, forms, sight)
            result.flaws += one.flaws
            result.left += one.left
            result.latest_ns = max(result.latest_ns, one.latest_ns)
        return result

    def _entry_flaws(self, place: _Place | None, flaws: Sequence[Flaw]) -> None:
        for flaw in flaws:
            if not flaw.grave:
                self.report.remark(f"entry {flaw.entry}: {flaw.meaning}")
                continue
            if flaw.entry in self.lost:
                continue
            if self.database is not None:
                self.report.add([Finding(file=FILE, row=f"entries {flaw.entry}", entry=flaw.entry, meaning=flaw.meaning)])
            elif self.published is not None:
                n, at = divmod(flaw.entry, TILE_WIDTH)
                forms = self.published.tiles(ENTRIES, n)
                offset = None
                if place is not None and place.n == n and place.theirs is not None:
                    starts = bundle_offsets(leaves_of(place.theirs))
                    offset = starts[at] if at < len(starts) else None
                file = self.published.file(forms[0]) if forms else "tiles"
                self.report.add([Finding(file=file, offset=offset, entry=flaw.entry, meaning=flaw.meaning)])

    def _settle_claims(self, at_least: int = 1) -> None:
        """Check the signatures that wait."""
        if self.meaning.waiting >= at_least:
            claims = [claim for claim in self.meaning.claims_made() if claim.entry >= self.since]
            self.report.count("statements", len(claims))
            self._entry_flaws(None, check(claims))

    def _check_tile(self, tile: Tile, data: bytes, *, seen: bool = False) -> None:
        if self.published is not None and not seen:
            self.report.add(self.published.check_tile(tile, data))
        self.report.count("tiles")

    # Checkpoints.

    def _queue(self, notes: Sequence[StoredNote]) -> None:
        for stored in notes:
            try:
                size = read_checkpoint(stored.note)[0].size
            except Malformed as error:
                entry = stored.size - 1 if stored.size else None
                meaning = f"this checkpoint is damaged: {error.message}"
                self.report.add([Finding(file=stored.file, row=stored.row, entry=entry, meaning=meaning)])
                continue
            self._waiting.append((size, stored))
        self._waiting.sort(key=lambda pair: -pair[0])

    def _check_notes(self, *, final: bool = False) -> None:
        while self._waiting and (final or self._waiting[-1][0] <= self.tree.size):
            self._check_note(*self._waiting.pop())

    def _check_note(self, size: int, stored: StoredNote) -> None:
        found: list[Finding] = []
        checkpoint: Checkpoint | None = None
        eras = self.meaning.eras_of(min(size, self.tree.size + 1)) or self.meaning.eras[:1]
        if not eras:
            found = [Finding(file=stored.file, row=stored.row, meaning="there is no origin that names the keys of this checkpoint")]
        for era in eras:
            witnesses = list({each.key: each for each in (*self.witnesses, *self.meaning.witnesses_known())}.values())
            checkpoint, found = check_note(
                stored.file,
                stored.note,
                log=era.log,
                witnesses=witnesses,
                origin=era.name,
                root_at=self.tree.root_at,
                size=self.tree.size,
                row=stored.row,
            )
            if checkpoint is not None:
                break
        if checkpoint is not None:
            found += self._beside(stored, checkpoint)
            self.report.count("checkpoints")
            if self.report.newest is None or checkpoint.size >= self.report.newest.size:
                self.report.newest, self.report.newest_note = checkpoint, stored.note
        self.report.add(found)

    def _beside(self, stored: StoredNote, checkpoint: Checkpoint) -> Iterator[Finding]:
        """The row of a checkpoint against its note."""
        if stored.size is None:
            return
        if (stored.size, stored.root) != (checkpoint.size, checkpoint.root):
            yield Finding(
                file=stored.file, row=stored.row, entry=stored.size - 1, meaning="this row names another size or root than its note"
            )
        signed_s = time_of(stored.note)
        if signed_s is not None and stored.time_ns is not None and stored.time_ns // 10**9 != signed_s:
            yield Finding(
                file=stored.file,
                row=stored.row,
                entry=checkpoint.size - 1,
                meaning="this row names another time than its note was signed at",
            )
        if signed_s is not None and self._latest_ns > (signed_s * 10**9) + LATE_NS:
            self.report.remark(
                f"an entry before {checkpoint.size} names a later time than the checkpoint of {checkpoint.size} entries was signed at"
            )

    def _check_pins(self) -> None:
        log = {(verifier.key.type, verifier.key.public) for era in self.meaning.eras for verifier in era.log}
        for key in self.pinned:
            if (key.type, key.public) not in log:
                self.report.add(
                    [Finding(file=FILE if self.database is not None else "checkpoint", entry=0, meaning=f"this log is not signed by {key}")]
                )


def time_of(note: bytes) -> int | None:
    """When a checkpoint was signed, by its own word: the time in the log's cosignature (0x06), in seconds."""
    try:
        checkpoint, unproven = read_checkpoint(note)
    except Malformed:
        return None
    for line in unproven.signatures:
        if line.name == checkpoint.origin and len(line.signature) == 8 + 2420:
            return int.from_bytes(line.signature[:8], "big")
    return None
