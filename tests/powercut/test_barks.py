"""The simulator barks: each planted mistake in the order of things is found within a few lives."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from tallystick.errors import TallyError
from tallystick.ledger.event import Event, Kind
from tallystick.storage import connection, sqlite
from tallystick.storage.bodies import Bodies
from tallystick.storage.book import Book
from tallystick.storage.tiles import TileFiles
from tests.powercut.fixtures import memory, short_log
from tests.powercut.life import Happened, Life
from tests.powercut.test_powercut import trials
from tests.storage.house import START, severed

__all__ = ["memory", "short_log"]

LIVES = 6


def _without_syncs(patch: pytest.MonkeyPatch) -> None:
    """The database is never synced."""
    honest = connection.connect

    def careless(*args: Any, **kwargs: Any) -> apsw.Connection:
        db = honest(*args, **kwargs)
        db.pragma("synchronous", "off")
        return db

    patch.setattr(sqlite, "connect", careless)


def _bodies_never_synced(patch: pytest.MonkeyPatch) -> None:
    """The files of bodies are taken for durable without a sync."""
    patch.setattr(Bodies, "sync", lambda *_: None)


def _bodies_only_in_files(patch: pytest.MonkeyPatch) -> None:
    """A body is acknowledged while only its file has it."""
    honest = Book._store_bodies

    def careless(self: Book) -> None:
        honest(self)
        self.db.execute("DELETE FROM fresh")

    patch.setattr(Book, "_store_bodies", careless)


def _erasure_forgotten_first(patch: pytest.MonkeyPatch) -> None:
    """What is still to be destroyed is forgotten before it is destroyed."""
    honest = Bodies.erase

    def careless(self: Book) -> None:
        slots = [slot for (slot,) in self.db.execute("SELECT slot FROM erasing")]
        self.db.execute("DELETE FROM erasing")
        if self.bodies is not None:
            honest(self.bodies, slots)

    patch.setattr(Book, "destroy_erased", careless)
    patch.setattr(Life, "ACTS", ("bodies", "erase"))


def _keys_erased_without_a_sync(patch: pytest.MonkeyPatch) -> None:
    """An erased key is overwritten, and nobody waits for the disk."""
    honest = Bodies.erase

    def careless(self: Bodies, slots: Any) -> None:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(type(self._disk), "fdatasync", lambda *_: None)
            honest(self, slots)

    patch.setattr(Bodies, "erase", careless)
    patch.setattr(Life, "ACTS", ("bodies", "erase"))


def _effect_first(patch: pytest.MonkeyPatch) -> None:
    """Something happens outside before its entry is acknowledged."""

    def careless(self: Life) -> None:
        self.tape.mark(Happened(self.store.size()))
        (begun,) = self.offer(Event.of(Kind.EFFECT_BEGUN, START + next(self.n), effect="test")).result(30)
        self.offer(Event.of(Kind.EFFECT_DONE, START + next(self.n), entry=begun.index)).result(30)

    patch.setattr(Life, "effect", careless)


def _secret_destroyed_first(patch: pytest.MonkeyPatch) -> None:
    """A pair's secret goes before its severance is recorded."""

    def careless(self: Life) -> None:
        if self.pairs:
            name = self.pairs.pop()
            self.secrets.delete(name)
            self.offer(severed(bytes.fromhex(name), time_ns=START + next(self.n))).result(30)

    patch.setattr(Life, "sever", careless)


def _checkpoint_before_tiles(patch: pytest.MonkeyPatch) -> None:
    """The checkpoint is published, and its tiles are not synced."""
    honest = TileFiles.put

    def careless(self: TileFiles, files: Any) -> int:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(type(self._disk), "fdatasync", lambda *_: None)
            inner.setattr(type(self._disk), "fsync_folder", lambda *_: None)
            return honest(self, files)

    patch.setattr(TileFiles, "put", careless)
    patch.setattr(Life, "ACTS", ("bodies", "sign"))


PLANTED: list[Callable[[pytest.MonkeyPatch], None]] = [
    _without_syncs,
    _bodies_never_synced,
    _bodies_only_in_files,
    _erasure_forgotten_first,
    _keys_erased_without_a_sync,
    _effect_first,
    _secret_destroyed_first,
    _checkpoint_before_tiles,
]


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__[1:])
def test_a_planted_mistake_is_found(memory: Path, monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None]) -> None:
    """With one thing out of order some power cut breaks a promise, and says which life and which cut."""
    plant(monkeypatch)
    folder = memory / "planted"
    with pytest.raises((AssertionError, TallyError, FileNotFoundError)) as caught:
        for life in range(LIVES):
            os.makedirs(folder / str(life))
            trials(folder / str(life), life, 60)
    assert any(note.startswith("life ") for note in caught.value.__notes__)
