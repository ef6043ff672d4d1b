"""The log's public files: tiles, entry bundles and the checkpoint, as C2SP tlog-tiles lays them out (docs/spec/tiles.md).

    tiles/checkpoint                    the newest published checkpoint
    tiles/tile/0/x001/234[.p/5]         hashes         (0444 in folders 0755)
    tiles/tile/entries/x001/234[.p/5]   entries

They are a cache of the database: whatever is missing is made again. A file is written beside its place, synced, renamed into it, and its
folder synced, so that under its name there is never half of it. Files of one publication are written together: all of them are synced
before the first is renamed, and all folders before anybody is told. A folder is synced for files that lie there already as well: the
process that put them there may have died before it did.
"""

import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tallystick.errors import Malformed, Unavailable
from tallystick.storage.disk import PASSING, Disk
from tallystick.tlog.bundle import MAX_BUNDLE_BYTES
from tallystick.tlog.note import MAX_NOTE_BYTES
from tallystick.tlog.tile import ENTRIES, TILE_WIDTH, Tile, count_at, parse_path

CHECKPOINT: Final = "checkpoint"
FILE_MODE: Final = 0o444
FOLDER_MODE: Final = 0o755
NEW: Final = ".new-"  # how the name of an unfinished file begins; no path of the log does
BATCH_FILES: Final = 64  # written and synced before the first of them is renamed
BATCH_BYTES: Final = 8 << 20


class TileFiles:
    """The public files in one folder. Readers need nothing else; writers hold `alone`."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        """`folder` need not exist to read from."""
        self.folder = folder
        self._disk = disk if disk is not None else Disk()
        self._serial = 0
        self._standing: set[Path] = set()  # folders whose names are on the disk

    # Reading.

    def checkpoint(self) -> bytes | None:
        """The published checkpoint; None when nothing was published. Raises: Unavailable, Malformed: longer than a note is."""
        return self._get(CHECKPOINT, MAX_NOTE_BYTES)

    def read(self, tile: Tile) -> bytes:
        """The file of a tile or bundle; a partial one may be cut from the full one, where it was tidied away.

        Raises: Unavailable: it is not there or cannot be read.  Malformed: it has another length than it can have.
        """
        found = self.get(tile)
        if found is not None:
            return found
        if tile.level != ENTRIES and not tile.full:
            whole = self.get(tile.whole)
            if whole is not None:
                return whole[: tile.hash_bytes]
        raise Unavailable(f"there is no {tile.path}", "Start the house: what is missing it publishes again.")

    def get(self, tile: Tile) -> bytes | None:
        """The file of exactly this tile or bundle, if it is there. Raises: as `read`."""
        data = self._get(tile.path, MAX_BUNDLE_BYTES if tile.level == ENTRIES else tile.hash_bytes)
        if data is not None and tile.level != ENTRIES and len(data) != tile.hash_bytes:
            raise Malformed(f"{tile.path} has {len(data)} bytes, not {tile.hash_bytes}")
        return data

    def _get(self, name: str, limit: int) -> bytes | None:
        try:
            # Not blocking: under this name there could lie a pipe.
            file = os.open(self.folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                found = os.fstat(file)
                if not stat.S_ISREG(found.st_mode):
                    raise Malformed(f"{name} is not a file")
                if found.st_size > limit:
                    raise Malformed(f"{name} has {found.st_size} bytes, more than {limit}")
                data = b""
                # As much as there is and a byte more: a buffer of the whole limit would be made, and given back, for each file.
                while len(data) <= limit and (more := os.read(file, max(found.st_size - len(data), 0) + 1)):
                    data += more
            finally:
                os.close(file)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _unavailable(f"cannot read {name}", error) from error
        if len(data) > limit:
            raise Malformed(f"{name} has more than {limit} bytes")
        return data

    # Writing.

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside, no other process and no other thread writes here. Raises: Unavailable."""
        try:
            self._make_folders(self.folder)
            lock = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise _unavailable("cannot open the published files", error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def put(self, files: Iterable[tuple[Tile, bytes]]) -> int:
        """Publish tiles and bundles; on return they are on the disk, whether they had to be written or lay there already.

        Returns: how many had to be written.  Raises: Unavailable; then any of them may be there, each whole.
        """
        written, pending, folders = 0, 0, set[Path]()
        batch: list[tuple[Path, bytes]] = []
        try:
            for tile, data in files:
                path = self.folder / tile.path
                self._make_folders(path.parent)
                folders.update(self._unsure(path.parent))
                if not self._holds(tile, data):
                    batch.append((path, data))
                    written += 1
                    pending += len(data)
                if len(batch) == BATCH_FILES or pending > BATCH_BYTES:
                    self._write(batch)
                    batch.clear()
                    pending = 0
            self._write(batch)
            for folder in sorted(folders):
                self._disk.fsync_folder(folder)
            self._standing |= {folder for folder in folders if folder.suffix != ".p"} - {self.folder.parent}
        except OSError as error:
            raise _unavailable("cannot publish", error) from error
        return written

    def put_checkpoint(self, note: bytes) -> None:
        """Publish a checkpoint whose tiles were put before. Raises: Unavailable."""
        try:
            self._write([(self.folder / CHECKPOINT, note)])
            for folder in self._unsure(self.folder):
                self._disk.fsync_folder(folder)
        except OSError as error:
            raise _unavailable("cannot publish the checkpoint", error) from error

    def tidy(self, tiles: Iterable[Tile]) -> None:
        """Take away the partial forms of full tiles that are on the disk. Raises: Unavailable."""
        try:
            for tile in tiles:
                if tile.full:
                    self._drop_partials(self.folder / tile.path)
        except OSError as error:
            raise _unavailable("cannot tidy the published files", error) from error

    def mend(self, size: int) -> None:
        """Take away what does not belong to a tree of this size: unfinished files, partials of tiles that are full, tiles beyond it.

        Raises: Unavailable.
        """
        try:
            for base, _, names in os.walk(self.folder, topdown=False, onerror=_raise):
                at = Path(base)
                for name in names:
                    if name.startswith(NEW) or self._beyond(at / name, size):
                        self._disk.unlink(at / name)
                if at.suffix == ".p":
                    whole = at.with_suffix("")
                    if whole.is_file() and not self._beyond(whole, size):
                        self._disk.fsync_folder(at.parent)  # whoever renamed the full tile may have died before it did
                        self._drop_partials(whole)
                    elif not os.listdir(at):
                        self._disk.rmdir(at)
        except OSError as error:
            raise _unavailable("cannot tidy the published files", error) from error

    def _beyond(self, path: Path, size: int) -> bool:
        try:
            tile = parse_path(str(path.relative_to(self.folder)))
        except Malformed:
            return False  # not a file of the log
        return tile.n * TILE_WIDTH + tile.width > count_at(size, tile.level)

    def lacks(self, tiles: Iterable[Tile]) -> Iterator[Tile]:
        """Those of these tiles and bundles that are not there, or cannot be what they are by their length. Raises: Unavailable."""
        for tile in tiles:
            try:
                found = os.stat(self.folder / tile.path, follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):
                yield tile
                continue
            except OSError as error:
                raise _unavailable(f"cannot look at {tile.path}", error) from error
            if not stat.S_ISREG(found.st_mode) or (tile.level != ENTRIES and found.st_size != tile.hash_bytes):
                yield tile

    def _drop_partials(self, whole: Path) -> None:
        partials = whole.with_name(whole.name + ".p")
        with suppress(FileNotFoundError):
            for name in sorted(os.listdir(partials)):
                self._disk.unlink(partials / name)
            self._disk.rmdir(partials)

    def _holds(self, tile: Tile, data: bytes) -> bool:
        try:
            return self.get(tile) == data
        except (Malformed, Unavailable):
            return False  # whatever lies there is replaced

    def _make_folders(self, folder: Path) -> None:
        missing: list[Path] = []
        while not folder.is_dir():
            missing.append(folder)
            if folder == self.folder:
                break
            folder = folder.parent
        for path in reversed(missing):
            with suppress(FileExistsError):
                self._disk.mkdir(path, FOLDER_MODE)
                os.chmod(path, FOLDER_MODE)  # whatever the umask

    def _unsure(self, folder: Path) -> Iterator[Path]:
        """A folder into which something was put, and those above it whose names may not be on the disk yet."""
        yield folder
        while folder not in self._standing and folder != self.folder.parent:
            folder = folder.parent
            yield folder

    def _write(self, batch: Iterable[tuple[Path, bytes]]) -> None:
        new: list[tuple[Path, Path]] = []
        try:
            for path, data in batch:
                self._serial += 1
                beside = path.with_name(f"{NEW}{os.getpid()}-{id(self):x}-{self._serial}")
                new.append((beside, path))
                file = self._disk.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE)
                try:
                    self._disk.chmod(file, FILE_MODE)
                    at = 0
                    while at < len(data):
                        at += self._disk.pwrite(file, data[at:] if at else data, at)
                    self._disk.fdatasync(file)
                finally:
                    os.close(file)
            while new:
                self._disk.replace(*new[0])
                del new[0]
        except OSError:
            for beside, _ in new:
                with suppress(OSError):
                    os.unlink(beside)  # what cannot be taken away now is mended later
            raise


def _raise(error: OSError) -> None:
    raise error


def _unavailable(what: str, error: OSError) -> Unavailable:
    if error.errno in PASSING:
        return Unavailable(f"{what}: {error.strerror}", "Make room: it is tried again.")
    return Unavailable(f"{what}: {error.strerror}", "Check the disk, and the owner and mode of tiles/; then start the house again.")
