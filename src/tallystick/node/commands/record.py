"""log prove, log check, log export: what an auditor takes away."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tallystick.errors import Misuse, Refused, Unavailable, Unproven
from tallystick.ledger.event import Kind
from tallystick.node.commands.here import ask_house, is_running
from tallystick.node.evidence import export, prove
from tallystick.node.files import read_file, write_new
from tallystick.node.machine import Machine
from tallystick.node.publisher import Publisher
from tallystick.node.records import filters_of
from tallystick.node.settings import Settings
from tallystick.pair.pairing import Role
from tallystick.primitives import sha256
from tallystick.storage.rows import CheckpointRow
from tallystick.tlog.checkpoint import SignedCheckpoint, read_checkpoint, verify_checkpoint
from tallystick.tlog.cosignature import verifier
from tallystick.tlog.note import SignatureType, VerifierKey, parse_verifier_key
from tallystick.tlog.proof import verify_inclusion
from tallystick.tlog.prooffile import SUFFIX, read_proof
from tallystick.tlog.tree import leaf_hash

Progress = Callable[[str, int, int], None]

MAX_NOTE_FILE: Final = 1_000_000


def newest_checkpoint(settings: Settings, machine: Machine) -> CheckpointRow:
    """A checkpoint of the ledger as it is now."""
    if machine.role is not Role.HOUSE:
        raise Misuse("only a house's log is signed", "give the command at the house, or ask its owner for the evidence")
    if machine.store.house().is_open:
        if is_running(settings):
            ask_house(settings, "checkpoint")
        else:
            with machine.home.lock():
                publisher = Publisher(machine)
                try:
                    publisher.publish()
                finally:
                    publisher.stop()
    found = machine.store.latest_checkpoint()
    if found is None:
        raise Unavailable("this log has never signed a checkpoint", "start the house once")
    return found


def log_prove(settings: Settings, *, index: int, target: Path | None) -> dict[str, Any]:
    """Write the proof that an entry is in the log."""
    with Machine.open(settings) as machine:
        proof = prove(machine, index, newest_checkpoint(settings, machine))
        leaf = machine.store.entry(index)
    if leaf is None:
        raise AssertionError("an entry that is proven is there")
    path = target if target is not None else Path(f"entry-{index}{SUFFIX}")
    write_new(path, proof.to_bytes())
    return {"file": str(path), "entry": index, "size": read_checkpoint(proof.note)[0].size, "leaf_hash": leaf_hash(leaf.leaf).hex()}


def log_check(settings: Settings, *, source: Path, keys: Sequence[str], leaf: str | None) -> dict[str, Any]:
    """Check a proof against the log's keys: those named, else those that this machine's own log has ever had.

    What was not signed with them is in `unchecked`: anybody can write a line with any name.
    """
    proof = read_proof(read_file(source, MAX_NOTE_FILE))
    checkpoint, _ = read_checkpoint(proof.note)
    log = [parse_verifier_key(text) for text in keys]
    digest = b""
    if leaf is not None:
        try:
            digest = bytes.fromhex(leaf)
        except ValueError:
            raise Misuse("a leaf's hash is 64 hexadecimal digits") from None
    if not log or not digest:
        with Machine.open(settings) as machine:
            row = machine.store.entry(proof.index)
            if not digest:
                digest = b"" if row is None else leaf_hash(row.leaf)
            sets = [log] if log else [_named(keys, checkpoint.origin) for keys in machine.log_keys_ever()]
    else:
        sets = [log]
    signed = _verified(proof.note, sets, checkpoint.origin)
    verify_inclusion(index=proof.index, size=checkpoint.size, leaf=digest, root=checkpoint.root, proof=proof.hashes)
    return {
        "ok": True,
        "entry": proof.index,
        "size": checkpoint.size,
        "origin": checkpoint.origin,
        "leaf_hash": digest.hex(),
        "unchecked": [line.name for line in signed.note.unknown],
    }


def _named(keys: Iterable[tuple[int, bytes]], name: str) -> list[VerifierKey]:
    return [VerifierKey(name=name, type=SignatureType(kind), public=public) for kind, public in keys]


def _verified(note: bytes, sets: Sequence[Sequence[VerifierKey]], origin: str) -> SignedCheckpoint:
    """By the first set of keys that have signed it. Raises: Malformed, Unproven: by the first set, why it does not hold."""
    failure: Unproven | None = None
    for log in sets:
        try:
            return verify_checkpoint(note, log=[verifier(key) for key in log], origin=origin)
        except Unproven as error:
            failure = failure or error
    raise failure or Unproven("no key of the log is known")


def log_export(settings: Settings, *, target: Path, start: int, stop: int | None, query: Mapping[str, Any]) -> dict[str, Any]:
    """Write evidence of the entries that agree with the filters. That it was taken is an entry as well."""
    began = time.monotonic()
    if target.exists():
        raise Refused(f"{target} exists", "choose another name; evidence is never written over")
    with Machine.open(settings) as machine:
        filters = filters_of(machine.store, query)
        newest = newest_checkpoint(settings, machine)
        words = [f"from {start}", *([f"to {stop}"] if stop is not None else [])]
        words += [f"{name} {value}" for name, value in sorted(query.items())]
        if not all(word.isascii() and word.isprintable() for word in words):
            raise Misuse("a filter is not plain ASCII", "name the pair by its pairing id")
        evidence = export(machine, newest, start=start, stop=2**62 if stop is None else stop + 1, filters=filters, words=words)
        data = evidence.to_bytes()
        write_new(target, data)
        chosen = [index for index in evidence.leaves if index not in evidence.support]
        receipt = machine.record_local(Kind.EXPORTED, first=chosen[0], count=len(chosen), digest=sha256(data), what="evidence")
    return {
        "file": str(target),
        "bytes": len(data),
        "sha256": sha256(data).hex(),
        "entries": len(chosen),
        "openings": len(evidence.openings),
        "size": read_checkpoint(evidence.checkpoint)[0].size,
        "witnesses": [key.name for key in evidence.witnesses],
        "vkeys": [str(key) for key in evidence.log],
        "entry": receipt.index,
        "seconds": time.monotonic() - began,
    }
