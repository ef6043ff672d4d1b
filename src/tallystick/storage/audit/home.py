"""A whole house: its log, its live rows and its bodies; or of these what there is."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from tallystick.errors import Misuse
from tallystick.ledger.audit import Finding
from tallystick.storage.audit.bodies import BodyAudit, Judge
from tallystick.storage.audit.database import FILE, Database, open_database
from tallystick.storage.audit.log import LogAudit, StoredNote
from tallystick.storage.audit.pool import Pool, workers_for
from tallystick.storage.audit.published import Published
from tallystick.storage.audit.report import Report
from tallystick.storage.audit.rows import compare_rows, replayed
from tallystick.tlog.note import Verifier, VerifierKey
from tallystick.tlog.tile import TILE_WIDTH

Progress = Callable[[str, int, int], None]
"""What is being done, how many entries of it, and of how many."""

ENTRIES, ROWS = "entries", "rows"
_COSIGNED: Final = "SELECT witness_key, max(cosigned_size) FROM pairs WHERE cosigned_size IS NOT NULL GROUP BY witness_key"
_NO_PROGRESS: Final[Progress] = lambda what, done, total: None  # noqa: E731


def verify_home(
    home: Path,
    *,
    judge: Judge,
    notes: Sequence[StoredNote] = (),
    pinned: Sequence[VerifierKey] = (),
    witnesses: Sequence[Verifier] = (),
    since: int = 0,
    workers: int | None = None,
    progress: Progress = _NO_PROGRESS,
) -> Report:
    """Verify what lies in a folder: a house's home or a copy of one, or published files alone. Nothing in it is changed.

    Args: judge: see storage/audit/bodies.py.  notes: signed checkpoints from elsewhere.  pinned: keys that must be the log's.
        witnesses: keys whose cosignatures must hold.  since: signatures in earlier entries were verified before.
        workers: processes; None: as many as pay.
    Raises: Misuse: there is nothing to verify.
    """
    folder, prefix = (home / "tiles", "tiles/") if (home / "tiles").is_dir() else (home, "")
    published = Published(folder, prefix) if prefix or (home / "tile").is_dir() or (home / "checkpoint").is_file() else None
    if published is None and not (home / FILE).exists():
        raise Misuse(f"there is no ledger in {home}", "name a house's home, a copy of it, or a folder of published files")
    report = Report(since=since)
    database, why = (None, list[Finding]()) if not prefix and published is not None else open_database(home / FILE)
    report.add(why)
    try:
        log = LogAudit(
            report=report,
            database=database,
            published=published,
            notes=notes,
            pinned=pinned,
            witnesses=witnesses,
            since=since,
            progress=lambda done, total: progress(ENTRIES, done, total),
        )
        blocks = published.blocks() if published is not None else 0
        size = max(database.size() if database is not None else 0, blocks * TILE_WIDTH)
        with Pool(workers_for(size) if workers is None else workers) as pool:
            log.run(pool)
        _verify_state(home, log, report, judge, progress)
        if database is not None:
            report.add(database.structure())
    finally:
        if database is not None:
            database.db.close()
    return report


def _verify_state(home: Path, log: LogAudit, report: Report, judge: Judge, progress: Progress) -> None:
    """The rules over all entries; and where there is a database, its rows and bodies."""
    with tempfile.TemporaryDirectory(prefix="tally-verify-") as folder:
        leaves = _leaves(log)
        right, broken = replayed(leaves, report.size, Path(folder) / FILE, lambda done, total: progress(ROWS, done, total))
        try:
            if not broken and not log.lost:
                report.cosigned = dict(right.execute(_COSIGNED))
            if log.database is None:
                report.add([Finding(file="entries", entry=found.entry, meaning=found.meaning) for found in broken])
                return
            if log.lost:
                first = min(log.lost)
                report.remark(f"the live rows were not compared: entry {first} is lost, and they follow from it")
                return
            report.add(broken)
            if not broken:
                report.add(compare_rows(log.database, right))
                BodyAudit(home / "bodies", log.database, right, report, judge).run()
        finally:
            right.close()


def _leaves(log: LogAudit) -> Iterator[bytes]:
    """Every leaf as it was signed, up to the first that is lost."""
    for n in range(-(-log.report.size // TILE_WIDTH)):
        width = min(TILE_WIDTH, log.report.size - n * TILE_WIDTH)
        here: Database | Published | None = log.database or log.published
        found = here.leaves(n) if here is not None else {}
        for index in range(n * TILE_WIDTH, n * TILE_WIDTH + width):
            leaf = log.overrides.get(index, found.get(index))
            if leaf is None or index in log.lost:
                return
            yield leaf
