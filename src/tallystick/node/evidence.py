"""Taking evidence out of a machine's own ledger: entries, what proves them, and the openings that were not erased."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tallystick.errors import Misuse, TallyError, Unavailable
from tallystick.keys import KeyId
from tallystick.keys.cose import parse_sign1
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.evidence import Evidence
from tallystick.ledger.meaning import Meaning
from tallystick.node.machine import Machine, log_name_of
from tallystick.storage.rows import CheckpointRow, EntryRow
from tallystick.tlog.checkpoint import read_checkpoint
from tallystick.tlog.multiproof import multiproof
from tallystick.tlog.note import Signature, SignatureType, VerifierKey, parse_signature
from tallystick.tlog.prooffile import ProofFile
from tallystick.tlog.tree import leaf_hash
from tallystick.tlog.witness import with_cosignatures

MAX_ENTRIES = 1_000_000
PAGE = 10_000
# Entries without which nobody can tell whose key signed what, or under which name and keys the log stands.
_TURNS = (Kind.KEY_ROTATED, Kind.RESTORED, Kind.MIGRATED, Kind.ARRIVED)
_BRINGS = (Kind.KEY_INTRODUCED, Kind.PAIRING_PROPOSED, Kind.ADMINS_REPLACED)


def _all(machine: Machine, start: int = 0, stop: int | None = None, **filters: Any) -> Iterator[EntryRow]:
    at = start
    while page := machine.store.entries(at, stop, limit=PAGE, **filters):
        yield from page
        at = page[-1].index + 1


def export(machine: Machine, newest: CheckpointRow, *, start: int, stop: int, filters: dict[str, Any], words: Sequence[str]) -> Evidence:
    """The evidence for these entries.

    Args: newest: a checkpoint that covers them.  start, stop: the first entry, and the one behind the last.  filters: of
        `Store.entries`.  words: how the selection is written into the file.
    Raises: Misuse: no entry agrees, or more than a million.  Unavailable.
    """
    chosen: dict[int, bytes] = {}
    for row in _all(machine, start, min(stop, newest.size), **filters):
        chosen[row.index] = row.leaf
        if len(chosen) > MAX_ENTRIES:
            raise Misuse(f"evidence has at most {MAX_ENTRIES} entries", "take fewer: --from, --to, --kind, --pair")
    if not chosen:
        raise Misuse("no entry agrees with all of that", "`tally log` takes the same filters")
    return _evidence(machine, newest, chosen, words)


def export_these(machine: Machine, newest: CheckpointRow, indices: Iterable[int], *, words: Sequence[str]) -> Evidence:
    """The evidence for exactly these entries, below the checkpoint's size. Raises: Misuse: one of them is not there.  Unavailable."""
    chosen: dict[int, bytes] = {}
    for index in sorted(set(indices)):
        row = machine.store.entry(index) if index < newest.size else None
        if row is None:
            raise Misuse(f"there is no entry {index} under the newest checkpoint", f"it covers {newest.size} entries, counted from 0")
        chosen[index] = row.leaf
    return _evidence(machine, newest, chosen, words)


def _evidence(machine: Machine, newest: CheckpointRow, chosen: dict[int, bytes], words: Sequence[str]) -> Evidence:
    store = machine.store
    asked = [EntryRow(index, leaf).event for index, leaf in chosen.items()]
    checkpoint, witnesses = _cosigned(machine, newest, max(chosen))
    size = read_checkpoint(checkpoint)[0].size
    support = {row.index: row.leaf for row in _support(machine, size, asked, set(witnesses)) if row.index not in chosen}
    leaves = dict(sorted((chosen | support).items()))
    openings = {index: opening for index in leaves if (opening := _opening(machine, index)) is not None}
    return Evidence(
        checkpoint=checkpoint,
        log=tuple(_log_keys(machine, leaves)),
        witnesses=tuple(witnesses.values()),
        selection=tuple(words),
        support=tuple(sorted(support)),
        leaves=leaves,
        hashes=tuple(map(leaf_hash, leaves.values())),
        proof=multiproof(list(leaves), size, store.subtree),
        openings=openings,
    )


def prove(machine: Machine, index: int, newest: CheckpointRow) -> ProofFile:
    """The proof that an entry is in the log. Raises: Misuse: there is no such entry."""
    if not 0 <= index < newest.size:
        raise Misuse(f"there is no entry {index}", f"this ledger has {newest.size} entries, counted from 0")
    note, _ = _cosigned(machine, newest, index)
    size = read_checkpoint(note)[0].size
    return ProofFile(index=index, hashes=machine.store.inclusion(index, size), note=note)


def _opening(machine: Machine, index: int) -> bytes | None:
    try:
        return machine.store.opening(index)
    except Unavailable:
        return None  # erased between two questions


def _support(machine: Machine, size: int, asked: Iterable[Event], pairs: set[bytes]) -> Iterator[EntryRow]:
    """The origin, what changed the log's name and keys, and the entries that brought in whoever signed or cosigned."""
    keys: set[bytes] = set()
    for event in asked:
        keys |= _signer(event)
        if event.kind is Kind.CHECKPOINT_COSIGNED and event.get("pair") is not None:
            pairs.add(event.blob("pair"))
    origin = machine.store.entry(0)
    if origin is not None:
        yield origin
    yield from _all(machine, 0, size, kinds=_TURNS)
    waiting = [(row, row.event) for row in _all(machine, 0, size, kinds=_BRINGS)]
    while True:  # who signed in a source key was signed in as well
        chosen = [at for at in waiting if at[1].blob("subject") in keys or at[1].blob("pair") in pairs or at[1].get("admin_keys")]
        if not chosen:
            return
        for row, event in chosen:
            keys |= _signer(event)
            yield row
        done = {row.index for row, _ in chosen}
        waiting = [at for at in waiting if at[0].index not in done]


def _signer(event: Event) -> set[bytes]:
    try:
        return {bytes(parse_sign1(event.blob("signal")).kid)} if event.get("signal") is not None else set()
    except TallyError:
        return set()


def _log_keys(machine: Machine, leaves: dict[int, bytes]) -> list[VerifierKey]:
    meaning = Meaning(lambda _: None, whole=False)
    for index, leaf in leaves.items():
        event = EntryRow(index, leaf).event
        if event.kind is Kind.ORIGIN or event.kind in _TURNS:
            meaning.take(index, event)
    return [each.key for each in meaning.eras[-1].log]


def _cosigned(machine: Machine, newest: CheckpointRow, last: int) -> tuple[bytes, dict[bytes, VerifierKey]]:
    """The newest checkpoint behind entry `last` that pairs cosigned, with their lines; else the newest."""
    best, lines, keys = newest.note, list[Signature](), dict[bytes, VerifierKey]()
    rows = machine.store.entries(last, kinds=(Kind.CHECKPOINT_COSIGNED,), newest_first=True, limit=200)
    wanted: int | None = None
    for row in rows:
        event = row.event
        size, ext = event.number("size"), event.get("ext")
        pair = machine.store.pair(event.blob("pair"))
        if event.text("by") != "peer" or size <= last or wanted not in (None, size) or pair is None:
            continue
        if not isinstance(ext, dict) or "cosignature" not in ext:
            continue
        kept = machine.store.checkpoint_of(size)
        if kept is None or not kept.note.startswith(machine.log_name.encode() + b"\n"):
            continue
        line = parse_signature(ext["cosignature"].decode().removesuffix("\n"))
        key = VerifierKey(name=log_name_of(KeyId(pair.subject)), type=SignatureType.COSIGNATURE, public=pair.witness_key)
        if (line.name, line.key_id) != (key.name, key.key_id):
            continue
        wanted, best = size, kept.note
        lines.append(line)
        keys[pair.pairing] = key
    return (with_cosignatures(best, lines) if lines else best), keys
