"""A tape of everything that was written and synced, and a platter that plays it up to a power cut.

What a disk keeps is decided as loosely as POSIX allows. Only what was synced before the cut is sure. Of the rest

- a file keeps any of its sizes since its last sync, and each of its sectors (512 or 4,096 bytes) any of its contents since then,
  one sector independently of the next; a sector may be torn in the middle of a write;
- a folder keeps any of the names made, changed and removed since it was last synced: a rename within one folder whole, one between
  folders as a new name that may stand before the old one is gone.

The journalling file systems of today promise more; nothing here relies on it.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

SECTORS: Final = (512, 4096)
IGNORED: Final = ("-shm", ".lock")  # made anew by whoever opens first; nothing durable


@dataclass(frozen=True, slots=True)
class Mark:
    """Not the disk's: something the world saw at this moment."""

    what: Any


@dataclass(frozen=True, slots=True)
class Write:
    node: int
    at: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Resize:
    node: int
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    node: int


@dataclass(frozen=True, slots=True)
class Names:
    """Names of one folder that change together: to a node, a folder (-1) or nothing (None)."""

    folder: str
    names: tuple[tuple[str, int | None], ...]


@dataclass(frozen=True, slots=True)
class SyncFolder:
    folder: str


Step = Mark | Write | Resize | Sync | Names | SyncFolder
FOLDER: Final = -1


class Tape:
    """Written by the disks of tests/powercut/disks.py while the program runs. Paths are relative to `root`."""

    def __init__(self, root: Path) -> None:
        """What lies in `root` now is durable."""
        self.root = root
        self.steps: list[Step] = []
        self.first: dict[str, int] = {}
        self.contents: list[bytes] = []
        for path in sorted(root.rglob("*")):
            name = str(path.relative_to(root))
            if path.is_dir():
                self.first[name] = FOLDER
            elif not name.endswith(IGNORED):
                self.first[name] = len(self.contents)
                self.contents.append(path.read_bytes())
        self._nodes = len(self.contents)
        self._now = dict(self.first)

    def mark(self, what: Any) -> None:
        self.steps.append(Mark(what))

    def name(self, path: Path | str) -> str:
        return str(Path(path).relative_to(self.root))

    def knows(self, name: str) -> bool:
        return name in self._now

    def node(self, name: str) -> int:
        return self._now[name]

    def create(self, name: str) -> None:
        self._now[name] = self._nodes
        self._names(name, self._nodes)
        self._nodes += 1

    def mkdir(self, name: str) -> None:
        self._now[name] = FOLDER
        self._names(name, FOLDER)

    def link(self, old: str, new: str) -> None:
        self._now[new] = self._now[old]
        self._names(new, self._now[new])

    def unlink(self, name: str) -> None:
        del self._now[name]
        self._names(name, None)

    def rename(self, old: str, new: str) -> None:
        node = self._now.pop(old)
        self._now[new] = node
        (folder, here), (to, there) = _split(old), _split(new)
        if folder == to:
            self.steps.append(Names(folder, ((there, node), (here, None))))
        else:
            self._names(new, node)
            self._names(old, None)

    def write(self, node: int, at: int, data: bytes) -> None:
        self.steps.append(Write(node, at, data))

    def resize(self, node: int, size: int) -> None:
        self.steps.append(Resize(node, size))

    def sync(self, node: int) -> None:
        self.steps.append(Sync(node))

    def sync_folder(self, name: str) -> None:
        self.steps.append(SyncFolder("" if name == "." else name))

    def _names(self, name: str, node: int | None) -> None:
        folder, last = _split(name)
        self.steps.append(Names(folder, ((last, node),)))


def _split(name: str) -> tuple[str, str]:
    folder, _, last = name.rpartition("/")
    return folder, last


@dataclass(slots=True)
class _File:
    durable: bytes = b""
    pending: list[tuple[int, Write | Resize]] = field(default_factory=list)


@dataclass(slots=True)
class _Folder:
    durable: dict[str, int] = field(default_factory=dict)
    pending: list[tuple[int, Names]] = field(default_factory=list)


class Platter:
    """What a disk holds for sure, and what it may hold besides, at a place on the tape."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._at = 0
        self._files = {node: _File(content) for node, content in enumerate(tape.contents)}
        self._folders: dict[str, _Folder] = {"": _Folder()}
        for name, node in tape.first.items():
            folder, last = _split(name)
            self._folder(folder).durable[last] = node
        self.seen: list[Any] = []

    def play(self, stop: int) -> None:
        """Go on to a place on the tape."""
        for at in range(self._at, stop):
            match self._tape.steps[at]:
                case Mark(what):
                    self.seen.append(what)
                case (Write() | Resize()) as change:
                    self._files.setdefault(change.node, _File()).pending.append((at, change))
                case Sync(node):
                    file = self._files.setdefault(node, _File())
                    file.durable = _apply(file.durable, [change for _, change in file.pending])
                    file.pending.clear()
                case Names() as names:
                    self._folder(names.folder).pending.append((at, names))
                case SyncFolder(name):
                    folder = self._folder(name)
                    for _, names in folder.pending:
                        _rename(folder.durable, names)
                    folder.pending.clear()
        self._at = max(self._at, stop)

    def _folder(self, name: str) -> _Folder:
        return self._folders.setdefault(name, _Folder())

    def survivors(self, dice: random.Random) -> dict[str, bytes | None]:
        """The files (and folders: None) of one disk that is possible after a cut here."""
        how = dice.choice(("nothing", "everything", "prefix", "sectors", "sectors", "torn", "torn"))
        grain = dice.choice(SECTORS)
        since = [at for file in self._files.values() for at, _ in file.pending]
        since += [at for folder in self._folders.values() for at, _ in folder.pending]
        last = {"nothing": -1, "everything": self._at}.get(how, dice.choice(since) if since else self._at)
        whole = how in ("nothing", "everything", "prefix")
        found: dict[str, bytes | None] = {}
        for folder, names in self._walk("", dice, last if whole else None):
            for name, node in names.items():
                path = f"{folder}/{name}" if folder else name
                if node == FOLDER:
                    found[path] = None
                    continue
                file = self._files.setdefault(node, _File())
                if whole:
                    found[path] = _apply(file.durable, [change for at, change in file.pending if at <= last])
                else:
                    found[path] = _mixed(file, dice, grain, torn=how == "torn")
        return found

    def _walk(self, name: str, dice: random.Random, last: int | None) -> Iterator[tuple[str, dict[str, int]]]:
        """The folders that are reachable, with the names they kept."""
        folder = self._folder(name)
        names = dict(folder.durable)
        for at, change in folder.pending:
            if at <= last if last is not None else dice.random() < 0.5:
                _rename(names, change)
        yield name, names
        for below, node in names.items():
            if node == FOLDER:
                yield from self._walk(f"{name}/{below}" if name else below, dice, last)


def _rename(names: dict[str, int], change: Names) -> None:
    for name, node in change.names:
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _apply(content: bytes, changes: list[Write | Resize]) -> bytes:
    if not changes:
        return content
    data = bytearray(content)
    for change in changes:
        if isinstance(change, Resize):
            del data[change.size :]
            data.extend(bytes(change.size - len(data)))
        else:
            data.extend(bytes(max(0, change.at - len(data))))
            data[change.at : change.at + len(change.data)] = change.data
    return bytes(data)


def _mixed(file: _File, dice: random.Random, grain: int, *, torn: bool) -> bytes:
    """Every sector as it was at some moment since the last sync, and a size of some moment. A cut-off is whole or has not been."""
    sizes, size = [len(file.durable)], len(file.durable)
    epochs: list[tuple[list[int], dict[int, list[Write | Resize]], dict[int, int]]] = []
    touching: dict[int, list[Write | Resize]] = {}  # by sector, what changed it
    least: dict[int, int] = {}  # by sector, how many of these must have happened
    for _, change in file.pending:
        if isinstance(change, Resize) and change.size < size:
            epochs.append((sizes, {sector: list(changes) for sector, changes in touching.items()}, dict(least)))
            for sector in range(change.size // grain, -(-max(size, *sizes) // grain)):
                touching.setdefault(sector, []).append(change)
                least[sector] = len(touching[sector])
            size = change.size
            sizes = [size]
            continue
        if isinstance(change, Resize):
            size = change.size
        else:
            size = max(size, change.at + len(change.data))
            for sector in range(change.at // grain, -(-(change.at + len(change.data)) // grain)):
                touching.setdefault(sector, []).append(change)
        sizes.append(size)
    epochs.append((sizes, touching, least))
    sizes, touching, least = dice.choice(epochs)
    kept = sizes[-1] if dice.random() < 0.6 else dice.choice(sizes)
    data = bytearray(file.durable[:kept])
    data.extend(bytes(kept - len(data)))
    for sector, changes in touching.items():
        low, high = sector * grain, (sector + 1) * grain
        if low >= kept:
            continue
        version = dice.randint(least.get(sector, 0), len(changes))
        content = _sector(file.durable[low:high].ljust(grain, b"\0"), changes[:version], low)
        if torn and version < len(changes) and dice.random() < 0.5:
            cut = dice.randrange(1, grain)
            content = _sector(content, changes[version : version + 1], low)[:cut] + content[cut:]
        data[low : min(high, kept)] = content[: kept - low]
    return bytes(data)


def _sector(content: bytes, changes: list[Write | Resize], low: int) -> bytes:
    data = bytearray(content)
    for change in changes:
        if isinstance(change, Resize):
            start = max(0, change.size - low)
            data[start:] = bytes(max(0, len(data) - start))
        else:
            first, stop = max(change.at, low), min(change.at + len(change.data), low + len(data))
            data[first - low : stop - low] = change.data[first - change.at : stop - change.at]
    return bytes(data)


def put(files: dict[str, bytes | None], root: Path) -> None:
    """Lay out the files of a disk in an empty folder."""
    for name, content in files.items():
        path = root / name
        if content is None:
            path.mkdir(mode=0o700)
        else:
            path.write_bytes(content)
            path.chmod(0o600)
