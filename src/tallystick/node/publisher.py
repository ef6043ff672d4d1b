"""The publisher: the one place that signs a house's checkpoints, and puts its tiles before them (docs/spec/tiles.md).

Order: entries durable in the database -> tiles and bundles written and synced -> nothing signed before contradicts it -> checkpoint
signed -> kept in the database -> cosignatures collected -> `checkpoint` renamed into place. Whoever is shown a checkpoint can rely on
its tiles: from them and the bodies everything up to it comes back.

A thread does it, woken by appends, at most once a second; whoever needs a newer one at once asks `newest(fresh=True)`. It works on what
is durable already and with a connection of its own, so no append waits for it. When it fails, the ledger goes on: on a full disk it
tries again, after any other error it waits for the next start. Either way the house says so (`status`, the metrics, `tally doctor`).
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tallystick.errors import Malformed, Refused, TallyError, Unavailable, Unproven
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.receipt import Grade, Receipt
from tallystick.node.checkpointwire import Show
from tallystick.node.home import Home
from tallystick.node.machine import Machine, log_name_of
from tallystick.node.terms import times_of
from tallystick.storage.disk import PASSING
from tallystick.storage.rows import CheckpointRow, PairRow
from tallystick.storage.tiles import TileFiles
from tallystick.storage.tilesource import TileSource
from tallystick.tlog.checkpoint import Checkpoint, read_checkpoint
from tallystick.tlog.cosignature import log_verifiers, sign_checkpoint, verifier
from tallystick.tlog.note import SignatureType, UnprovenNote, VerifierKey, parse_signature
from tallystick.tlog.tile import growth

FRESH_NS: Final = 10**9
FRESH_S: Final = 1.0
RETRY_S: Final = 5.0  # after an error that may pass

Collect = Callable[[CheckpointRow], bytes]

log = logging.getLogger("tallystick")


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """How publication stands. `size`: of the checkpoint in place.  `lag`: entries that no published checkpoint covers."""

    size: int
    signed: int
    lag: int
    failure: str
    for_good: bool
    """Whether nothing is published any more until the house is started again."""


class Publisher:
    """Signs and publishes one house's checkpoints. Safe from any thread; `start` adds the thread that publishes by itself."""

    def __init__(self, machine: Machine, files: TileFiles | None = None) -> None:
        """Touches no disk. `files`: where to publish; the home's `tiles/` when nothing is said."""
        self._machine = machine
        self._files = files if files is not None else TileFiles(machine.home.tiles)
        self._source = TileSource(machine.store.path)
        self._signing = threading.Lock()  # tiles, signature, database
        self._placing = threading.Lock()  # cosignatures and the file in its place
        self._covered: int | None = None  # the size up to which this process knows the tiles to be on the disk
        self._placed_size = 0
        self._current = b""  # a note that is known to be of the log's name and key
        self._failure: TallyError | None = None
        self._for_good = False
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.collect: Collect = lambda row: row.note
        """Gathers cosignatures: the note with more lines. May take its time; it is asked by the publishing thread alone.

        What it raises keeps the checkpoint from being published (fail-closed), not from being signed."""

    def check(self) -> None:
        """At a start: what lies in `tiles/checkpoint` and was signed by this house, its ledger must continue.

        A file that is not ours, or was changed, proves nothing and is replaced.
        Raises: Refused: the ledger was rolled back or changed.
        """
        store = self._machine.store
        try:
            data = self._files.checkpoint()
            if data is None:
                return
            checkpoint, note = read_checkpoint(data)
        except (Malformed, Unavailable) as error:
            log.warning("the published checkpoint cannot be read; it is made again", extra={"reason": error.message})
            return
        if checkpoint.size <= store.size() and store.root_at(checkpoint.size) == checkpoint.root:
            self._placed_size = checkpoint.size
            return
        house = store.house()
        try:
            # A house that somebody has closed, and one that was restored since, answer for what is older otherwise (docs/spec/restore.md).
            old = not house.is_open or times_of(checkpoint.origin, house.first_name) < house.restored
        except Unproven:
            old = True
        if old or not self._is_ours(checkpoint.origin, note):
            log.warning("the published checkpoint is none of this ledger; it is replaced", extra={"log": checkpoint.origin})
            return
        raise Refused(
            f"this ledger has {store.size()} entries and does not continue the {checkpoint.size} that were published",
            "It was rolled back or changed. See `tally verify` and `tally restore`.",
        )

    def _is_ours(self, origin: str, note: UnprovenNote) -> bool:
        """Whether a key that this house's log ever had has signed."""
        for keys in self._machine.log_keys_ever():
            try:
                note.verify(log_verifiers(origin, keys))
            except Unproven:
                continue
            return True
        return False

    # --- The thread ---------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """From now on publish by itself. Raises: Unavailable: the ledger is closed."""
        self._thread = threading.Thread(target=self._run, name="tally-publisher", daemon=True)
        self._machine.store.when_grown(self._wake.set)
        self._wake.set()
        self._thread.start()

    def wake(self) -> None:
        """Publish what is new within a second."""
        self._wake.set()

    def stop(self) -> None:
        """Publish what is new, then end the thread. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stop.set()
            self._wake.set()
            thread.join()
        with self._signing:
            self._source.close()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            last = self._stop.is_set()
            self._turn()
            if last:
                return
            failing = self._failure is not None
            self._stop.wait(RETRY_S if failing else FRESH_S)
            if failing and not self._for_good:
                self._wake.set()

    def _turn(self) -> None:
        if self._machine.store.failure is not None:
            return  # the ledger has stopped, and the house is about to
        try:
            self.publish()
        except TallyError:
            pass  # said and shown, see _failed
        except Exception as error:
            log.error("a defect of ours", exc_info=error)
            self._failed(Unavailable("publication stopped: an internal error"))
            self._for_good = True

    # --- Publication --------------------------------------------------------------------------------------------------------------

    def publish(self) -> CheckpointRow:
        """Publish the ledger as it is now; a closed house leaves what is there. Returns: its checkpoint. Raises: Unavailable, Refused."""
        if self._for_good and self._failure is not None:
            raise self._failure  # nobody knows what the disk holds
        row = self._newest(fresh=True)
        if self._machine.store.house().state == "closed":
            return row
        with self._placing:
            try:
                self._place(row)
            except TallyError as error:
                self._failed(error)
                raise
        self._failure = None
        return row

    def newest(self, *, fresh: bool = False) -> CheckpointRow:
        """The newest signed checkpoint, at most a second behind the ledger; with `fresh`, of the ledger as it is now.

        Raises: Unavailable, Refused; without `fresh` only when none was ever signed: else the last one is shown while publication fails.
        """
        if not fresh and self._is_busy():
            latest = self._machine.store.latest_checkpoint()
            if latest is not None and self._is_current(latest):
                return latest
        row = self._newest(fresh=fresh)
        if row.size != self._placed_size:
            self._wake.set()
        return row

    def _is_busy(self) -> bool:
        """Whether a long publication is under way, the first one of a large ledger: nobody waits for it who can do without."""
        if not self._signing.acquire(timeout=FRESH_S):
            return True
        self._signing.release()
        return False

    def newest_there_is(self) -> CheckpointRow:
        """A checkpoint of now; while publication fails, the newest that was signed. Raises: Unavailable, Refused: there is none."""
        try:
            return self.newest(fresh=True)
        except TallyError:
            return self.newest()

    def _newest(self, *, fresh: bool) -> CheckpointRow:
        store = self._machine.store
        with self._signing:
            latest = store.latest_checkpoint()
            size, root = store.head()
            now_ns = time.time_ns()
            closed = store.house().state == "closed"  # one that has moved still signs its last entry
            # After a restore, or with new keys, the newest is of another name or hand, and is no answer any more.
            current = latest is not None and self._is_current(latest)
            if latest is not None:
                young = 0 <= now_ns - latest.time_ns < FRESH_NS
                if closed or (current and ((latest.size == size and self._covered == size) or (young and not fresh))):
                    return latest
            elif closed:
                raise Unavailable("this house is closed, and has never signed a checkpoint")
            try:
                self._cover(size)
                return latest if latest is not None and current and latest.size == size else self._sign(latest, size, root, now_ns)
            except TallyError as error:
                self._failed(error)
                if fresh or latest is None:
                    raise
                return latest

    def _is_current(self, row: CheckpointRow) -> bool:
        """Whether it was signed under the name that the log has now, by the key that it has now."""
        name = self._machine.log_name
        if not row.note.startswith(name.encode() + b"\n"):
            return False
        if row.note != self._current:
            public = self._machine.vault.log.ed25519.public.raw
            key = VerifierKey(name=name, type=SignatureType.ED25519, public=public)
            if all(line.key_id != key.key_id for line in read_checkpoint(row.note)[1].signatures):
                return False
            self._current = row.note
        return True

    def _cover(self, size: int) -> None:
        """Every tile and bundle of a tree of this size is on the disk."""
        if self._for_good and self._failure is not None:
            raise self._failure  # nobody knows what the disk holds
        if self._covered == size:
            return
        with self._files.alone():
            if self._covered is None:
                # The first time: what an earlier process left unfinished goes away, and what is missing is made again. What a ledger
                # published that was restored since goes away too.
                self.check()
                self._files.mend(size)
                start = self._last_published(size)
                self._files.put(self._source.files(self._files.lacks(growth(0, start))))
            else:
                start = self._covered
            self._files.put(self._source.files(growth(start, size)))
        self._covered = size

    def _last_published(self, size: int) -> int:
        """The size of the checkpoint in place, if it is one of this tree; else 0."""
        try:
            note = self._files.checkpoint()
            checkpoint = None if note is None else read_checkpoint(note)[0]
        except Malformed:
            return 0
        if checkpoint is None or not 0 < checkpoint.size <= size:
            return 0
        return checkpoint.size if self._machine.store.root_at(checkpoint.size) == checkpoint.root else 0

    def _sign(self, latest: CheckpointRow | None, size: int, root: bytes, now_ns: int) -> CheckpointRow:
        """Sign, and keep it before anybody sees it. The caller holds the lock."""
        store = self._machine.store
        if latest is not None and (latest.size > size or store.root_at(latest.size) != latest.root):
            raise Refused(f"this ledger does not continue the checkpoint of {latest.size} entries that it signed", "Run `tally verify`.")
        keys = self._machine.vault.log
        note = sign_checkpoint(
            Checkpoint(origin=self._machine.log_name, size=size, root=root),
            ed25519=(keys.ed25519.public.raw, keys.ed25519.sign),
            ml_dsa_44=(keys.ml_dsa_44.public.raw, keys.ml_dsa_44.sign),
            time_s=now_ns // 10**9,
        )
        store.put_checkpoint(size, root, note, now_ns)
        return CheckpointRow(size=size, root=root, time_ns=now_ns, note=note)

    def _place(self, row: CheckpointRow) -> None:
        """Collect cosignatures and put the checkpoint into its place; then partials that nobody needs any more go."""
        if row.size == self._placed_size:
            return
        note = self.collect(row)
        if note != row.note:
            self._machine.store.put_checkpoint(row.size, row.root, note, row.time_ns)
        with self._files.alone():
            before = self._last_published(row.size)
            self._files.put_checkpoint(note)
            self._placed_size = row.size
            self._files.tidy(growth(before, row.size))

    def _failed(self, error: TallyError) -> None:
        """Publication failed: say so once, and for good unless it may pass."""
        cause = error.__cause__
        passing = isinstance(cause, OSError) and cause.errno in PASSING
        if self._failure is None or self._failure.message != error.message:
            log.error("publication failed; the ledger goes on", extra={"reason": error.message})
        self._failure = error
        self._for_good = self._for_good or (isinstance(cause, OSError) and not passing)

    # --- What others ask --------------------------------------------------------------------------------------------------------

    def state(self) -> Published:
        """How publication stands. Raises: Unavailable."""
        store = self._machine.store
        latest = store.latest_checkpoint()
        failure = self._failure
        return Published(
            size=self._placed_size,
            signed=0 if latest is None else latest.size,
            lag=store.size() - self._placed_size,
            failure="" if failure is None else failure.message,
            for_good=self._for_good,
        )

    def figures(self) -> dict[str, float]:
        """For the metrics port. Raises: Unavailable."""
        state = self.state()
        return {"ledger_published": state.size, "ledger_unpublished": state.lag, "publication_failing": float(bool(state.failure))}

    def included(self, receipt: Receipt) -> Receipt:
        """The same entry under a signed checkpoint: grade *included*. Raises: Unavailable, Refused."""
        row = self._machine.store.latest_checkpoint()
        if row is None or row.size <= receipt.index:
            row = self.newest(fresh=True)
        return Receipt(receipt.index, receipt.leaf_hash, Grade.INCLUDED, row.size)

    def show(self, seen: int) -> Show:
        """The newest checkpoint, and its proof from `seen`; none where the client saw more than there ever was. Raises: Unavailable."""
        newest = self.newest()
        if seen > newest.size:
            # It saw more than was ever signed here: either end was rolled back, and only it can prove it. No reason to sign anew.
            return Show(newest.note, ())
        return Show(newest.note, self._machine.store.consistency(seen, newest.size) if 0 < seen < newest.size else ())

    def cosigned(self, pair: PairRow, shown: bytes, line: str, now_ns: int) -> Event:
        """The event of a pair's cosignature over the note that its session was shown. Raises: Malformed, Unproven."""
        signature = parse_signature(line.removesuffix("\n"))
        if signature.line() != line:
            raise Malformed("a cosignature is one line with its newline")
        key = VerifierKey(name=log_name_of(pair.subject), type=SignatureType.COSIGNATURE, public=pair.witness_key)
        if signature.name != key.name or signature.key_id != key.key_id:
            raise Unproven("the cosignature is not by this pair's witness key")
        checkpoint, note = read_checkpoint(shown)
        verifier(key).verify(note.text.encode(), signature.signature)
        return Event.of(
            Kind.CHECKPOINT_COSIGNED,
            now_ns,
            "pair",
            pairing=pair.pairing,
            pair=pair.pairing,
            origin_hash=checkpoint.origin_hash,
            size=checkpoint.size,
            root=checkpoint.root,
            cosigner=signature.name,
            by="peer",
            ext={"cosignature": line.encode()},
        )


def published_json(state: Published) -> dict[str, object]:
    """How publication stands, as `status` shows it."""
    return {"published": state.size, "publication": state.failure or None}


def published_size(home: Home) -> int:
    """The size of the checkpoint that lies in a house's `tiles/`, 0 when there is none that can be read."""
    try:
        note = TileFiles(home.tiles).checkpoint()
        return 0 if note is None else read_checkpoint(note)[0].size
    except (Malformed, Unavailable):
        return 0
