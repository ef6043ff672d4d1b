"""Reading blocks in several processes: hashing and decoding are arithmetic, and a second core halves their time."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from tallystick.errors import TallyError
from tallystick.ledger.block import Block, Sight, read_block
from tallystick.ledger.form import Forms
from tallystick.storage.tiles import TileFiles
from tallystick.tlog.tile import Tile

BLOCKS_IN_TASK: Final = 32
# Entries from which other processes pay: a forked one is there at once, a fresh one costs a third of a second.
PAYS_FORKED: Final = 50_000
PAYS_FRESH: Final = 400_000
_FORMS: Final = Forms()  # of this process


class Task(NamedTuple):
    """A bundle to be read: `data`, or the published one that lies in this folder. One that cannot be had is read as nothing."""

    data: bytes
    width: int
    first: int
    folder: Path | None = None
    tile: Tile | None = None


def _block(task: Task, sight: Sight) -> Block:
    data = task.data
    if task.folder is not None and task.tile is not None:
        with suppress(TallyError):  # whoever looks into it again says why
            data = TileFiles(task.folder).get(task.tile) or b""
    return read_block(data, task.width, task.first, _FORMS, sight)


def _read(tasks: list[Task], sight: Sight) -> list[Block]:
    return [_block(task, sight) for task in tasks]


class Pool:
    """Processes that read; with none of them the reading is done here."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool = ProcessPoolExecutor(workers, mp_context=get_context(_method())) if workers > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def blocks(self, tasks: Iterator[Task], sight: Callable[[], Sight]) -> Iterator[Block]:
        """The blocks in their order; at most a few tasks are under way at once."""
        if self._pool is None:
            for task in tasks:
                yield _block(task, sight())
            return
        under_way: deque[Future[list[Block]]] = deque()
        batch: list[Task] = []
        for task in tasks:
            batch.append(task)
            if len(batch) == BLOCKS_IN_TASK:
                under_way.append(self._pool.submit(_read, batch, sight()))
                batch = []
            if len(under_way) > 2 * self._workers:
                yield from under_way.popleft().result()
        if batch:
            under_way.append(self._pool.submit(_read, batch, sight()))
        while under_way:
            yield from under_way.popleft().result()


def _method() -> str:
    """A process with one thread may be forked; of any other nobody knows who holds which lock."""
    return "fork" if threading.active_count() == 1 else "spawn"


def workers_for(entries: int) -> int:
    """How many processes pay."""
    pays = PAYS_FORKED if _method() == "fork" else PAYS_FRESH
    return 1 if entries < pays else min(8, len(os.sched_getaffinity(0)))
