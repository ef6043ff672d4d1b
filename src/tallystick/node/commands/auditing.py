"""verify, rebuild: what an auditor does first, and what makes a ledger whole again."""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import apsw

from tallystick.errors import Malformed, Misuse, Refused, TallyError, Unavailable, Unproven
from tallystick.keys.signer import LogKeys
from tallystick.ledger import entry
from tallystick.ledger.audit import Finding
from tallystick.ledger.event import Kind
from tallystick.ledger.evidence import MAX_EVIDENCE_BYTES, Evidence, audit_evidence
from tallystick.node.files import read_file
from tallystick.node.home import Home
from tallystick.node.machine import Machine
from tallystick.node.settings import Settings
from tallystick.node.verifying import judge
from tallystick.node.witnessing import read_policy_file
from tallystick.storage.audit.home import verify_home
from tallystick.storage.audit.log import StoredNote, time_of
from tallystick.storage.audit.published import Published
from tallystick.storage.audit.report import Report
from tallystick.storage.connection import connect
from tallystick.storage.rebuild import NEW, bring_home, clear, differences, forget, from_bundles, swap
from tallystick.storage.rebuild import rebuild as rebuild_database
from tallystick.storage.rows import CheckpointRow
from tallystick.storage.sqlite import Store, hold
from tallystick.tlog.checkpoint import read_checkpoint
from tallystick.tlog.cosignature import verifier
from tallystick.tlog.note import SignatureType, VerifierKey, parse_verifier_key
from tallystick.tlog.policy import Policy
from tallystick.tlog.tile import ENTRIES, TILE_WIDTH
from tallystick.vault import FileVault

Progress = Callable[[str, int, int], None]

MAX_NOTE_FILE: Final = 1_000_000
_SHOWN: Final = 1_000


def verify(
    settings: Settings,
    *,
    target: Path | None,
    keys: Sequence[str],
    witnesses: Sequence[str],
    checkpoints: Sequence[Path],
    policy: Path | None = None,
    full: bool,
    state: Path | None,
    progress: Progress,
) -> dict[str, Any]:
    """Verify this machine's ledger, a copy of one, a folder of published files, or an evidence file. Nothing in it is changed.

    Args: keys, witnesses: verifier keys; the log must be signed by the former, and cosignatures of the latter must hold.
        checkpoints: signed notes from elsewhere.  policy: a file that names logs and witnesses, k of n, among them pairs.
        full: signatures that were verified earlier once more.  state: what was verified earlier; None: in the user's cache.
    """
    began = time.monotonic()
    path = target if target is not None else settings.home
    pinned, known = ([parse_verifier_key(text) for text in texts] for texts in (keys, witnesses))
    named = None if policy is None else read_policy_file(policy)
    counted = list(known)
    if named is not None:
        pinned += [log.key for log in named.logs]
        counted += [witness.key for witness in named.witnesses if witness.key not in known]
    if path.is_file():
        return _verify_evidence(path, pinned, known, named, began)
    if not path.is_dir():
        raise Misuse(f"there is nothing at {path}", "name a house's home, a copy of it, a folder of published files, or an evidence file")
    notes = [StoredNote(file=str(each), note=read_file(each, MAX_NOTE_FILE)) for each in checkpoints]
    memory = state if state is not None else _cache() / "verified.json"
    remembered = _recall(memory).get(str(path.resolve()))
    since = 0
    if remembered is not None:
        notes.append(StoredNote(file=str(memory), note=remembered.encode()))
        since = 0 if full else read_checkpoint(remembered.encode())[0].size
    report = verify_home(
        path,
        judge=judge,
        notes=notes,
        pinned=pinned,
        witnesses=list(map(verifier, counted)),
        since=since,
        progress=progress,
    )
    if report.ok and report.newest_note:
        _remember(memory, str(path.resolve()), report.newest_note)
    elif report.newest is None and report.ok:
        report.remark(
            "nothing was ever signed here: the files agree with each other, and nobody outside can tell that they are the only ones"
        )
    return _result(str(path), report, began, None if named is None else _attested(report, named))


def _attested(report: Report, policy: Policy) -> int:
    """Up to which entry the policy's quorum has witnessed this history: by cosigning its checkpoints, each one of its own."""
    sizes = {witness.name: report.cosigned.get(witness.key.public, 0) for witness in policy.witnesses}
    if report.newest is not None:
        # Its lines were checked with the rest of the note; one that does not hold is a finding.
        lines = {(line.name, line.key_id) for line in read_checkpoint(report.newest_note)[1].signatures}
        seen = [witness.name for witness in policy.witnesses if (witness.key.name, witness.key.key_id) in lines]
        sizes |= dict.fromkeys(seen, report.newest.size)
    return _reached(report, policy, sizes)


def _reached(report: Report, policy: Policy, sizes: Mapping[str, int]) -> int:
    reached = policy.reached(sizes)
    if policy.needed and not reached:
        each = ", ".join(f"{name} {size}" for name, size in sizes.items())
        report.add([Finding(file="policy", meaning=f"its quorum has witnessed nothing of this history (entries seen: {each})")])
    return reached


def _result(path: str, report: Report, began: float, attested: int | None) -> dict[str, Any]:
    seconds = time.monotonic() - began
    return {
        "ok": report.ok,
        "path": path,
        "origin": report.origin,
        "entries": report.size,
        "root": report.root.hex(),
        "checkpoint": None if report.newest is None else report.newest.size,
        "attested": attested,
        "since": report.since,
        "seconds": seconds,
        "counts": report.counts,
        "findings": [_finding(each) for each in report.findings[:_SHOWN]],
        "remarks": report.remarks[:_SHOWN],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "file": finding.file,
        "row": finding.row,
        "offset": finding.offset,
        "entry": finding.entry,
        "last": finding.last,
        "meaning": finding.meaning,
        "text": str(finding),
    }


def _verify_evidence(
    path: Path, pinned: Sequence[VerifierKey], known: Sequence[VerifierKey], policy: Policy | None, began: float
) -> dict[str, Any]:
    report, attested = Report(), None
    evidence, found = audit_evidence(path.name, read_file(path, MAX_EVIDENCE_BYTES))
    report.add(found)
    if evidence is not None:
        report.add(_openings(path.name, evidence))
        signers = {(key.type, key.public) for key in evidence.log}
        for key in pinned:
            if (key.type, key.public) not in signers:
                report.add([Finding(file=path.name, meaning=f"this evidence is not of the log {key}")])
        if not pinned:
            report.remark("no key was named: the evidence agrees with itself; name the log's key with --key")
        for key in known:
            if key not in evidence.witnesses:
                report.add([Finding(file=path.name, meaning=f"{key.name} has not seen this checkpoint")])
        report.size = len(evidence.leaves)
        report.counts = {"entries": len(evidence.leaves), "openings": len(evidence.openings), "witnesses": len(evidence.witnesses)}
        if not found:
            report.newest, _ = read_checkpoint(evidence.checkpoint)
            report.root, report.origin = report.newest.root, report.newest.origin
        if policy is not None:
            size = 0 if report.newest is None else report.newest.size
            attested = _reached(report, policy, {each.name: size * (each.key in evidence.witnesses) for each in policy.witnesses})
    return _result(str(path), report, began, attested)


def _openings(file: str, evidence: Evidence) -> list[Finding]:
    found = []
    for index, opening in evidence.openings.items():
        try:
            wrong = judge(entry.decode(evidence.leaves[index]), opening) if index in evidence.leaves else ""
        except TallyError:
            continue  # the entry itself is a finding
        if wrong:
            found.append(Finding(file=file, entry=index, meaning=f"the opening of this entry is not the one that was signed: {wrong}"))
    return found


# --- What was verified before --------------------------------------------------------------------------------------------------------


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "tallystick"


def _recall(path: Path) -> dict[str, str]:
    try:
        found = json.loads(read_file(path, 1 << 24)) if path.exists() else {}
        for note in found.values():
            read_checkpoint(str(note).encode())
        return {str(name): str(note) for name, note in found.items()}
    except (ValueError, AttributeError, Malformed):
        raise Unproven(f"{path} is not what `tally verify` wrote", "remove it: the next run then verifies everything") from None


def _remember(path: Path, name: str, note: bytes) -> None:
    """Convenience only: when it cannot be written, the next run verifies everything."""
    try:
        known = _recall(path) | {name: note.decode()}
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = path.with_name(path.name + ".new")
        beside.write_text(json.dumps(known, indent=1), encoding="utf-8")
        os.replace(beside, path)
    except (OSError, Unproven):
        return


# --- Rebuilding ----------------------------------------------------------------------------------------------------------------------


def rebuild(settings: Settings, *, from_tiles: bool, progress: Progress) -> dict[str, Any]:
    """Make the database anew: from its own entries, or from what was published. The house must not run."""
    began = time.monotonic()
    home = Home(settings.home)
    if not home.vault.is_dir():
        raise Misuse(f"there is no machine in {home.path}", "name its home with --home")
    path = home.database
    with home.lock():
        if not from_tiles and not path.exists():
            raise Unavailable("there is no database to rebuild from", "`tally rebuild --from-tiles` takes what was published")
        lock = hold(path, shared=False)
        try:
            clear(path)
            new = path.with_name(path.name + NEW)
            if from_tiles:
                mended, bodies = _from_tiles(home, new, progress)
            else:
                bring_home(path)
                rebuild_database(path, new, lambda done, total: progress("entries", done, total))
                mended, bodies = differences(path, new), 0
                bring_home(new)  # a reader leaves the files beside it that readers share
            before = swap(path)
        finally:
            os.close(lock)
        with Store.open(path, shared=True) as store:
            size, root = store.head()
        with Machine.open(settings) as machine:
            what = "rebuilt-from-tiles" if from_tiles else "rebuilt"
            kept = machine.store.house().state != "moved"
            receipt = machine.record_local(Kind.MAINTAINED, what=what, size=size, root=root, count=len(mended)) if kept else None
        if before is not None and not from_tiles:
            forget(before)
    return {
        "entries": size,
        "root": root.hex(),
        "mended": list(mended),
        "bodies": bodies,
        "kept": str(before) if before is not None and from_tiles else None,
        "entry": None if receipt is None else receipt.index,
        "seconds": time.monotonic() - began,
    }


def _from_tiles(home: Home, new: Path, progress: Progress) -> tuple[tuple[str, ...], int]:
    """What was published, once all of it was verified."""
    folder = home.tiles
    pinned = own_keys(FileVault.open(home.vault).log, "this house")
    report = verify_home(folder, judge=judge, pinned=pinned, progress=progress)
    published = Published(folder, "")
    if not report.ok or report.newest is None or published.note is None:
        why = str(report.findings[0]) if report.findings else "there is no checkpoint"
        raise Unproven(f"what was published cannot be trusted: {why}", "`tally verify` of the folder tiles/ tells everything")
    size = read_checkpoint(published.note)[0].size
    if (more := _readable(home.database) - size) > 0:
        raise Refused(
            f"the database can be read, and its last {more} entries were never published: a severed pair would stand again",
            "`tally rebuild` keeps them; to give them up all the same, move house.sqlite away first",
        )

    def leaves() -> Any:
        for n in range(-(-size // TILE_WIDTH)):
            found = published.leaves(n)
            for index in range(n * TILE_WIDTH, min(size, (n + 1) * TILE_WIDTH)):
                yield found[index]

    if not published.tiles(ENTRIES, 0):
        raise Unproven("there are no published entries")
    checkpoint, _ = read_checkpoint(published.note)
    signed = CheckpointRow(size=size, root=checkpoint.root, time_ns=(time_of(published.note) or 0) * 10**9, note=published.note)
    bodies = from_bundles(leaves(), size, new, home.bodies, signed, lambda done, total: progress("rows", done, total))
    return (), bodies


def _readable(path: Path) -> int:
    """How many entries a database holds that is whole; 0 when it is lost or damaged."""
    try:
        db = connect(path, write=False)
        try:
            whole = db.execute("PRAGMA quick_check(1)").get == "ok"
            size = db.execute("SELECT size FROM tree").get if whole else 0
        finally:
            db.close()
    except (apsw.Error, Unavailable):
        return 0
    return size if isinstance(size, int) else 0


def own_keys(log: LogKeys, name: str) -> list[VerifierKey]:
    """The verifier keys of a log under a name."""
    return [
        VerifierKey(name=name, type=SignatureType.ED25519, public=log.ed25519.public.raw),
        VerifierKey(name=name, type=SignatureType.ML_DSA_44, public=log.ml_dsa_44.public.raw),
    ]
