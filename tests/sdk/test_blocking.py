"""The blocking twin: the same house, without an event loop of the caller's (docs/sdk.md)."""

import asyncio
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import tallystick.sdk
from tallystick.errors import Misuse, Refused
from tests.node.village import Village, village


@contextmanager
def running(folder: Path) -> Iterator[Village]:
    """A village whose loop runs in a thread, with a laptop in it."""
    ready, stop = threading.Event(), asyncio.Event()
    found: list[Village] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def live() -> None:
        async with village(folder) as one:
            await one.join("laptop")
            one.machines.pop("laptop").close()
            found.append(one)
            loops.append(asyncio.get_running_loop())
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(live(),))
    thread.start()
    assert ready.wait(30)
    try:
        yield found[0]
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join()


def test_every_call_returns_when_it_is_done(tmp_path: Path) -> None:
    """Files, status, log: what goes in comes out, from any thread of the caller."""
    content = os.urandom(500_000)
    with running(tmp_path):
        with tallystick.sdk.connect_blocking(tmp_path / "laptop") as attic:
            assert attic.name == "attic"
            assert attic.status()["label"] == "laptop"
            assert attic.ping() > 0
            done: list[int] = []
            stored = attic.put("a/b", content, progress=lambda at, total: done.append(at))
            assert stored["sha256"] == hashlib.sha256(content).hexdigest() and done[-1] == len(content)
            assert attic.read("a/b") == content
            assert [file["name"] for file in attic.ls("a")] == ["b"]
            assert attic.summary()["files"] == 1
            attic.mv("a/b", "c")
            got: list[bytes] = []
            threads = [threading.Thread(target=lambda: got.append(attic.read("c"))) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert got == [content] * 4
            target = tmp_path / "copy"
            attic.fetch("c", target)
            assert target.read_bytes() == content
            attic.rm("c")
            with pytest.raises(Refused):
                attic.stat("c")
            assert {entry["kind"] for entry in attic.log(limit=200)} >= {"signal", "session"}
        with pytest.raises(Misuse):
            attic.status()


def test_following_waits_for_each_entry(tmp_path: Path) -> None:
    """Entries come as they are made; a follower that is closed gives its turn back, and one of a closed client ends with an error."""
    with running(tmp_path):
        with tallystick.sdk.connect_blocking(tmp_path / "laptop") as writer, tallystick.sdk.connect_blocking(tmp_path / "laptop") as reader:
            entries = reader.follow(after=writer.status()["entries"], kind="signal")
            later = threading.Timer(0.3, writer.put, ("a", b"1"))
            later.start()
            assert next(entries)["kind"] == "signal"
            later.join()
            entries.close()
            assert reader.ping() > 0
            left = reader.follow(after=0)
            assert next(left)["index"] >= 0
        with pytest.raises(Misuse):
            next(left)


def test_an_error_inside_the_with_closes_in_order(tmp_path: Path) -> None:
    """What goes wrong in the body comes through; a house that is not there is an error and no hanging thread."""
    with running(tmp_path):
        before = threading.active_count()
        with pytest.raises(ZeroDivisionError):
            with tallystick.sdk.connect_blocking(tmp_path / "laptop"):
                raise ZeroDivisionError
        with pytest.raises(Refused):
            with tallystick.sdk.connect_blocking(tmp_path / "laptop", "nobody"):
                raise AssertionError("there is no such house")
        with pytest.raises(Misuse):
            with tallystick.sdk.connect_blocking(tmp_path / "nowhere"):
                raise AssertionError("there is no such machine")
        assert threading.active_count() <= before


def test_a_call_from_a_callback_is_refused_instead_of_waiting_for_itself(tmp_path: Path) -> None:
    """A progress callback that calls the client would wait for ever; it is told so."""
    with running(tmp_path):
        with tallystick.sdk.connect_blocking(tmp_path / "laptop") as attic:
            with pytest.raises(Misuse):
                attic.put("a", b"x", progress=lambda done, total: attic.ping())
            attic.put("a", b"x")


def test_the_public_names_are_those_promised() -> None:
    """`tallystick.sdk.__all__` is the API; everything in it exists and is documented."""
    assert tallystick.sdk.__all__ == sorted(tallystick.sdk.__all__)
    for name in tallystick.sdk.__all__:
        assert getattr(tallystick.sdk, name) is not None
    twin = {name for name in vars(tallystick.sdk.BlockingClient) if not name.startswith("_")}
    real = {name for name in vars(tallystick.sdk.HouseClient) if not name.startswith("_")}
    assert real - twin == {"open", "close", "session", "telemetry"} and not twin - real
