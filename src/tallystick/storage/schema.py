"""The schema's versions: how a new database is made and an older one brought up to date (docs/spec/state.md, section 2).

`PRAGMA user_version` holds the version; schema.sql is the newest. Everything but entries' leaves, checkpoints and body places
follows from the leaves, so a step may simply ask for a rebuild: then tables can be reshaped freely and no SQL is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

import apsw

from tallystick.errors import Unavailable

APPLICATION_ID: Final = 0x54414C4C  # "TALL", SQLite's application_id
SCHEMA_VERSION: Final = 2

PROJECTED: Final = (
    *("entries", "postings", "marks", "ids", "tree", "tiles"),
    *("house", "pairs", "keys", "invites", "streams", "signals", "proposals", "effects"),
    *("grants", "facts", "sightings", "scopes", "contexts", "plan", "epoch"),
)
KEPT: Final = ("checkpoints", "bodies", "fresh", "erasing")
FILLED: Final = ("clear",)
"""Filled from the bodies that survive, in the transaction of their entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step to `version`. Without `sql` the database is rebuilt from its leaves under the newest schema."""

    version: int
    sql: str | None = None


MIGRATIONS: Final[tuple[Migration, ...]] = (Migration(version=2),)


def version_of(db: apsw.Connection) -> int:
    """The schema version of a database; 0 when it is empty. Raises: Unavailable when it is no ledger of ours."""
    application, version = db.pragma("application_id"), db.pragma("user_version")
    if not isinstance(version, int):
        raise AssertionError("user_version is a number")
    if application not in (0, APPLICATION_ID) or (application == 0 and version):
        raise Unavailable("this database is not a tallystick ledger")
    return version


def create(db: apsw.Connection) -> None:
    """Make the tables in an empty database, all or nothing."""
    sql = files("tallystick.storage").joinpath("schema.sql").read_text(encoding="utf-8")
    _step(db, sql, SCHEMA_VERSION)


def needs_rebuild(db: apsw.Connection, migrations: Sequence[Migration] = MIGRATIONS, newest: int = SCHEMA_VERSION) -> bool:
    """Bring the database to the newest version, a transaction for each step; True when it must be rebuilt instead.

    Raises: Unavailable when the database is empty or newer than we are.
    """
    version = version_of(db)
    if version == 0:
        raise Unavailable("this ledger was never made", "`tally init` makes one.")
    if version > newest:
        raise Unavailable(f"this ledger has schema {version}, this program knows {newest}", "Use a newer tallystick.")
    steps = [step for step in migrations if step.version > version]
    if any(step.sql is None for step in steps):
        return True
    for step in steps:
        _step(db, step.sql or "", step.version)
    return False


def _step(db: apsw.Connection, sql: str, version: int) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        db.execute(sql)
        db.pragma("application_id", APPLICATION_ID)
        db.pragma("user_version", version)
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
