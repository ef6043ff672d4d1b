"""A machine made again from one sealed file (docs/spec/restore.md, sections 4 and 8).

Everything is unpacked and checked beside the home's places, the house is closed there, and only then put in place: the vault last, and
without it there is no machine. So a restore that dies leaves nothing that runs, and none that succeeds leaves a house that is open.
"""

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from tallystick.canonical import decode
from tallystick.errors import Malformed, Misuse, Refused, Unavailable
from tallystick.keys import KeyId
from tallystick.node.backup import DATABASE, LOOSE, MANIFEST, MANIFEST_VERSION, Progress
from tallystick.node.closing import closed_event
from tallystick.node.home import Home
from tallystick.pair.pairing import Role
from tallystick.storage.rules.house import RESTORING
from tallystick.storage.sqlite import Store
from tallystick.vault.copying import make_vault
from tallystick.vault.stream import Read, SealedReader

STAGING: Final = ".restoring"
MAX_ITEMS: Final = 1_000_000
MAX_MANIFEST_BYTES: Final = 134_217_728
MAX_VAULT_FILE_BYTES: Final = 131_072
_BLOCK: Final = 1 << 20
_NAME: Final = re.compile(
    r"house\.sqlite|memory|memory\.times|tally\.toml|bodies/(?:keys\.bin|[0-9]{6}\.seg)|vault/[A-Za-z0-9+._/-]{1,220}"
)

Open = Callable[[Read], SealedReader]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup says it is of."""

    role: Role
    house: bytes
    size: int
    root: bytes
    time_ns: int


@contextlib.contextmanager
def unpacked(
    source: Path, home: Path, opened: Open, progress: Progress, *, waiting: bool = False
) -> Iterator[tuple[Path, Manifest, list[tuple[str, bytes]]]]:
    """Unpack a file beside the places of an empty home. Gives the folder, what it is, and the files of its vault.

    Args: waiting: the home has a vault already, and waits for a house (`tally migrate ticket`).

    Raises: Refused: a machine lives there.  Malformed, Unproven: the file is not whole.  Unavailable.
    """
    place = Home.create(home)
    staging = home / STAGING
    if staging.is_dir():
        os.close(_held(staging))
    if staging.is_dir() and not waiting and not place.vault.exists():
        _take_back(home)  # a restore died here, and the home was empty before it
    if place.vault.exists() != waiting or place.database.exists():
        raise Refused(f"a machine already lives in {home}", "restore into an empty home: choose another --home")
    if not waiting and place.bodies.is_dir() and any(place.bodies.iterdir()):
        raise Refused(f"{home} holds the bodies of another ledger, or of a restore that died", "move them away, or choose another --home")
    held = -1
    try:
        if staging.exists():
            shutil.rmtree(staging)
        staging.mkdir(mode=0o700)
        held = _held(staging)
        (staging / "bodies").mkdir(mode=0o700)
        with source.open("rb") as file:
            total = source.stat().st_size
            reader = opened(file.read)
            manifest, vault = _take(reader, staging, lambda: progress(min(file.tell(), total), total))
        yield staging, manifest, vault
    except FileNotFoundError:
        raise Misuse(f"there is no file {source}") from None
    except OSError as error:
        raise Unavailable(f"cannot restore: {error.strerror or error}", "nothing was put in place") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if held >= 0:
            os.close(held)


def _held(staging: Path) -> int:
    """Nobody else restores into this home until the descriptor is closed. Raises: Unavailable: somebody does."""
    folder = -1
    try:
        folder = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if folder >= 0:
            os.close(folder)
        why = "another restore is at work there" if isinstance(error, BlockingIOError) else str(error.strerror)
        raise Unavailable(f"cannot restore into {staging.parent}: {why}", "wait for it, or choose another --home") from None
    return folder


def _take(reader: SealedReader, staging: Path, step: Callable[[], None]) -> tuple[Manifest, list[tuple[str, bytes]]]:
    """Every item into its file, compared with the manifest at the end. Raises: Malformed, Unproven."""
    found: list[list[Any]] = []
    vault: list[tuple[str, bytes]] = []
    while True:
        if len(found) > MAX_ITEMS:
            raise Malformed("the backup lists too many files")
        name, size = _head(reader)
        if name == MANIFEST:
            if size > MAX_MANIFEST_BYTES:
                raise Malformed("the backup's manifest is too long")
            manifest = _manifest(reader.read(size), found)
            if not reader.at_end():
                raise Malformed("something stands behind the backup's end")
            return manifest, vault
        if not _NAME.fullmatch(name) or ".." in name or name in {row[0] for row in found[-1:]}:
            raise Malformed(f"a backup holds no file {name[:80]!r}")
        digest = sha256()
        if name.startswith("vault/"):
            if size > MAX_VAULT_FILE_BYTES:
                raise Malformed("a file of the vault is too long")
            data = reader.read(size)  # private keys touch no file that is not the vault's
            digest.update(data)
            vault.append((name.removeprefix("vault/"), data))
        else:
            _write(reader, staging / name, size, digest, step)
        found.append([name, size, digest.digest()])
        step()


def _write(reader: SealedReader, path: Path, size: int, digest: Any, step: Callable[[], None]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        while size:
            block = reader.read(min(size, _BLOCK))
            digest.update(block)
            file.write(block)
            size -= len(block)
            step()
        file.flush()
        os.fsync(file.fileno())


def _head(reader: SealedReader) -> tuple[str, int]:
    length = int.from_bytes(reader.read(4), "big")
    if not 0 < length <= 512:
        raise Malformed("the backup is not one of this version")
    match decode(reader.read(length), max_bytes=512, max_depth=1, max_items=4):
        case [str(name), int(size)] if type(size) is int and 0 <= size < 2**62:
            return name, size
    raise Malformed("the backup is not one of this version")


def _manifest(raw: bytes, found: list[list[Any]]) -> Manifest:
    value = decode(raw, max_bytes=MAX_MANIFEST_BYTES, max_depth=4, max_items=4 * MAX_ITEMS)
    match value:
        case [int(version), str(role), bytes(house), int(size), bytes(root), int(time_ns), list(listed)] if version == MANIFEST_VERSION:
            if listed != found or len({row[0] for row in found}) != len(found):
                raise Malformed("the backup does not hold what it lists", "use another copy of it")
            try:
                return Manifest(role=Role(role), house=house, size=size, root=root, time_ns=time_ns)
            except ValueError:
                pass
    raise Malformed("the backup is not one of this version", "a newer tallystick may read it")


def restore(source: Path, home: Path, opened: Open, owner: KeyId | None, progress: Progress) -> dict[str, Any]:
    """Put a backup in place. A house is closed in it; `owner` names the human key that may open it again.

    Raises: Misuse: a house needs an owner, or this is none.  Refused, Malformed, Unproven, Unavailable.
    """
    with unpacked(source, home, opened, progress) as (staging, manifest, vault):
        _check_whole(staging, manifest)
        admins: list[dict[str, Any]] = []
        with Store.open(staging / DATABASE) as store:
            if manifest.role is Role.HOUSE:
                admins = _admins(store)
                _check_owner(admins, owner)
                if store.house().state == "moved":
                    raise Refused("this is the backup of a house that has moved", "use it on the machine that it moved to")
                store.append(closed_event(RESTORING, bytes(owner) if owner is not None else None)).result()
        put_in_place(staging, home, vault)
    return {
        "home": str(home),
        "role": manifest.role.value,
        "house": manifest.house.hex(),
        "entries": manifest.size,
        "time_ns": manifest.time_ns,
        "owner": None if owner is None else str(owner),
    }


def _check_whole(staging: Path, manifest: Manifest) -> None:
    if not (staging / DATABASE).exists():
        raise Malformed("the backup holds no ledger")
    with Store.open(staging / DATABASE) as store:
        if store.head() != (manifest.size, manifest.root):
            raise Malformed("the ledger in the backup is not the one it names", "use another copy of it")


def put_in_place(staging: Path, home: Path, vault: list[tuple[str, bytes]]) -> None:
    """The vault last: a home without it has no machine. All of it or nothing. Raises: OSError, Unavailable, Refused."""
    try:
        move_in(staging, home)
        make_vault(home / "vault", vault)
    except BaseException:
        if not (home / "vault").exists():
            _take_back(home)
        raise


def _take_back(home: Path) -> None:
    """What a restore has put into a home that has no vault yet. Raises: Unavailable."""
    try:
        shutil.rmtree(home / "bodies", ignore_errors=True)
        for name in (*LOOSE, DATABASE):
            (home / name).unlink(missing_ok=True)
    except OSError as error:
        raise Unavailable(f"cannot clear what a restore left in {home}: {error.strerror}", "choose another --home") from error


def move_in(staging: Path, home: Path) -> None:
    """Everything but the vault, the ledger last. Raises: OSError."""
    for ending in ("-wal", "-shm"):
        # Of a ledger that is gone: SQLite would take it for the new one's, and write it in.
        (home / (DATABASE + ending)).unlink(missing_ok=True)
    for name in ("bodies", *LOOSE, DATABASE):
        target = home / name
        if (staging / name).exists():
            if target.is_dir():
                shutil.rmtree(target)
            os.rename(staging / name, target)
    folder = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _admins(store: Store) -> list[dict[str, Any]]:
    known = store.keys()
    rows = [row for row in known if row.kind == "human" and row.stands and "admin" in row.actions]
    return [{"key": str(row.key_id), "label": row.label, "id": bytes(row.key_id)} for row in rows]


def _check_owner(admins: list[dict[str, Any]], owner: KeyId | None) -> None:
    known = "; ".join(f"{row['key']} ({row['label'] or 'no label'})" for row in admins) or "none"
    if owner is None:
        raise Misuse("a house is opened again by one human key, and you say which", f"--owner KEYID; this backup knows: {known}")
    if bytes(owner) not in {row["id"] for row in admins}:
        raise Misuse("this human key was no admin of the house when it was backed up", f"this backup knows: {known}")
