"""An error at each call: every one of the database's and of the body store's fails once, with EIO and with a full disk.

The house that meets it loses nothing it acknowledged, keeps no half of anything, says so in one of its own errors, and stops where
nobody can know what the disk holds.
"""

import errno
import itertools
import os
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tallystick.errors import TallyError
from tallystick.storage.sqlite import Store
from tests.powercut.fixtures import memory, short_log
from tests.powercut.life import Acknowledged, Life, expect
from tests.powercut.tape import Mark, Tape
from tests.storage.failing import FailingDisk, FailingVFS, Fate

__all__ = ["memory", "short_log"]

ACTS = ("plain", "bodies", "erase", "effect", "crowd", "sign", "bodies", "bodies", "restart", "erase", "bodies", "plain")
ALWAYS = frozenset(("sync", "truncate", "delete", "open", "body open", "body sync", "body folder sync"))
EVERY_NTH = {"write": 3, "body write": 3}
SELDOM = 12  # of the calls that change nothing
_names = itertools.count()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("template") / "home"
    root.mkdir()
    Life.found(root)
    yield root
    shutil.rmtree(root)


def live(root: Path, fate: Fate, acts: Sequence[str] = ACTS) -> tuple[Tape, Store | None]:
    """Drive a house until its acts are done or it has stopped; what the world saw is on the tape."""
    tape = Tape(root)
    vfs = FailingVFS(f"failing{next(_names)}", fate)
    life = None
    try:
        life = Life(root, tape, vfs.vfs_name, FailingDisk(fate), random.Random(3))
        for act in acts:
            try:
                getattr(life, act)()
            except TallyError:
                if life.store.failure is not None:
                    break
    except TallyError:
        pass  # it did not even open
    finally:
        if life is not None:
            life.store.close()
        vfs.unregister()
    return tape, None if life is None else life.store


def calls_of(template: Path, root: Path) -> list[str]:
    shutil.copytree(template, root)
    fate = Fate(-1, errno.EIO)
    tape, store = live(root, fate)
    assert store is not None and sum(isinstance(mark.what, Acknowledged) for mark in tape.steps if hasattr(mark, "what")) > 12
    return fate.calls


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_an_error_at_any_call_loses_nothing(template: Path, memory: Path, code: int) -> None:
    """Each call (of writes each third, of reads some): the next start finds all that was acknowledged, and nothing in part."""
    calls = calls_of(template, memory / "honest")
    tried: set[str] = set()

    def meet(fate: Fate, deep: bool) -> None:
        root = memory / "trial"
        shutil.copytree(template, root)
        tape, _ = live(root, fate)
        tried.add(fate.failed)
        try:
            expect(root, [step.what for step in tape.steps if isinstance(step, Mark)], deep=deep)
        except BaseException as error:
            error.add_note(f"{os.strerror(code)} at call {fate.at} {sorted(fate.kinds)}, {fate.failed}")
            raise
        shutil.rmtree(root)

    for at, call in enumerate(calls):
        if call in ALWAYS or not at % EVERY_NTH.get(call, SELDOM):
            meet(Fate(at, code), at % 40 == 0)
    # Groups form as threads run, so a rare call may have come at another place than it did the first time.
    for call in sorted({*ALWAYS, *EVERY_NTH} - tried):
        meet(Fate(0, code, frozenset((call,))), deep=True)
    assert tried >= {*ALWAYS, *EVERY_NTH}


def test_a_failed_sync_of_anything_stops_the_house(template: Path, memory: Path) -> None:
    """After a failed sync, of the log, the database or the bodies, nobody knows what the disk holds: nothing is written any more."""
    syncs = frozenset(("sync", "body sync"))
    met: list[str] = []
    for at in itertools.count():
        root = memory / "trial"
        shutil.copytree(template, root)
        fate = Fate(at, errno.EIO, syncs)
        live(root, fate, [act for act in ACTS if act not in ("restart", "sign")])
        shutil.rmtree(root)
        if not fate.failed:
            break
        met.append(fate.failed)
        assert not {"write", "body write", *syncs} & set(fate.after), f"it went on after sync {at}: {fate.after}"
    assert met.count("sync") > 10 and met.count("body sync") > 3
