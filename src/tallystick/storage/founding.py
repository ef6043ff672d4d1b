"""A ledger comes into being whole or not at all.

The empty database is made under another name, closed (which syncs it), and linked to its own: link(2) never replaces anything. So
a database that bears its name has its tables, and a creation that a crash cut short leaves nothing in the way of the next one.
"""

from contextlib import suppress
from pathlib import Path

import apsw

from tallystick.errors import Refused, Unavailable
from tallystick.storage import schema
from tallystick.storage.connection import connect, make_file, unavailable
from tallystick.storage.disk import Disk


def found(path: Path, disk: Disk, vfs: str | None = None) -> None:
    """Make an empty ledger at `path`. The caller holds its lock alone. Raises: Refused when something is there, Unavailable."""
    new = path.with_name(f"{path.name}.new")
    try:
        if path.exists():
            raise Refused(f"{path.name} exists; a ledger is never made anew", "Choose another TALLY_HOME.")
        for left in (new, new.with_name(f"{new.name}-wal"), new.with_name(f"{new.name}-shm")):
            with suppress(FileNotFoundError):
                disk.unlink(left)
        make_file(new)
        db = connect(new, write=True, vfs=vfs)
        try:
            schema.create(db)
        finally:
            db.close()
        disk.link(new, path)
        disk.unlink(new)
        disk.fsync_folder(path.parent)
    except apsw.Error as error:
        raise unavailable(error) from error
    except OSError as error:
        raise Unavailable(f"cannot make {path}: {error.strerror}", "Check the disk and the owner of the state directory.") from error
