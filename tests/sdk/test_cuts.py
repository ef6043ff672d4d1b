"""Transfers through sessions that are cut, and through a house that restarts: nothing is lost, nothing is stored twice (docs/sdk.md)."""

import asyncio
import hashlib
import io
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tallystick.errors import Misuse, Refused, Unavailable
from tallystick.ledger.event import Kind
from tallystick.node.house import House
from tallystick.node.remote import HouseClient
from tallystick.node.upload import KEPT_BYTES, Reader, Source
from tests.node.village import Village, village

SIZE = 12_000_000


async def client(found: Village) -> HouseClient:
    return await HouseClient.open(found.member("laptop"), await found.join("laptop"))


def cut(client: HouseClient) -> None:
    """The network goes away: no end, no word."""
    client.session.stream.connection.abort()


@pytest.mark.parametrize("kind", ["bytes", "file", "stream"])
def test_a_put_that_is_cut_goes_on_where_it_stopped(kind: str, tmp_path: Path) -> None:
    """Cut three times on its way, every byte arrives once, and the file appears once."""
    content = os.urandom(SIZE)
    path = tmp_path / "source"
    path.write_bytes(content)

    async def stream() -> AsyncIterator[bytes]:
        for at in range(0, SIZE, 300_000):
            await asyncio.sleep(0)
            yield content[at : at + 300_000]

    async def scene() -> None:
        async with village(tmp_path) as found, await client(found) as attic:
            marks = [2_000_000, 5_000_000, 9_000_000]

            def progress(done: int, total: int | None) -> None:
                if marks and done >= marks[0]:
                    marks.pop(0)
                    asyncio.get_running_loop().call_soon(cut, attic)

            sources: dict[str, Source] = {"bytes": content, "file": path, "stream": stream()}
            source = sources[kind]
            stored = await attic.put("big.raw", source, progress=progress)
            assert not marks
            assert stored["sha256"] == hashlib.sha256(content).hexdigest()
            assert await attic.read("big.raw") == content
            done = [row for row in found.machine.store.entries(kinds=(Kind.EFFECT_DONE,)) if row.event.get("length") == SIZE]
            assert len(done) == 1

    asyncio.run(scene())


def test_a_get_that_is_cut_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """The rest is asked for with a range, checked to be of the same content; the whole is checked against its hash."""
    content = os.urandom(SIZE)

    async def scene() -> None:
        async with village(tmp_path) as found, await client(found) as attic:
            await attic.put("big.raw", content)
            got = bytearray()
            marks = [1_000_000, 4_000_000, 11_999_999]

            def sink(piece: bytes) -> None:
                got.extend(piece)
                if marks and len(got) >= marks[0]:
                    marks.pop(0)
                    asyncio.get_running_loop().call_soon(cut, attic)

            result = await attic.get("big.raw", sink)
            assert bytes(got) == content and not marks
            assert result["sha256"] == hashlib.sha256(content).hexdigest()

    asyncio.run(scene())


def test_a_file_that_changes_under_a_cut_get_is_not_mixed(tmp_path: Path) -> None:
    """Replaced between two sessions of one get: Unavailable, and never a file that is half one and half the other."""

    async def scene() -> None:
        async with village(tmp_path) as found, await client(found) as attic:
            await attic.put("a", os.urandom(SIZE))
            other = await HouseClient.open(found.member("laptop"), found.pair_of("laptop"))
            got = bytearray()
            replaced = asyncio.Event()

            async def replace() -> None:
                await other.put("a", os.urandom(SIZE))
                replaced.set()
                cut(attic)

            def sink(piece: bytes) -> None:
                if not got:
                    asyncio.get_running_loop().create_task(replace())
                got.extend(piece)
                attic.session.stream.connection.pause_reading()

            with pytest.raises(Unavailable):
                await attic.get("a", sink)
            assert replaced.is_set() and len(got) < SIZE
            await other.close()

    asyncio.run(scene())


@pytest.mark.slow
def test_cuts_at_any_moment_never_lose_or_double_a_file(tmp_path: Path) -> None:
    """Thirty puts, each cut at a random moment, before, during or after its commit: each is stored once, or refused as what it is."""
    dice = random.Random(7)
    content = os.urandom(400_000)

    async def scene() -> None:
        async with village(tmp_path) as found, await client(found) as attic:
            for number in range(30):
                stop = asyncio.get_running_loop().call_later(dice.uniform(0, 0.08), cut, attic)
                stored = await attic.put(f"files/{number}", content)
                stop.cancel()
                assert stored["sha256"] == hashlib.sha256(content).hexdigest()
            summary = await attic.summary()
            assert (summary["files"], summary["bytes"], summary["versions"]) == (30, 30 * len(content), 0)
            assert not found.machine.store.open_effects()

    asyncio.run(scene())


def test_a_put_goes_on_after_the_house_has_restarted(tmp_path: Path) -> None:
    """Staged bytes survive the house's restart: the put finds it again and sends what is missing."""
    content = os.urandom(SIZE)

    async def scene() -> None:
        async with village(tmp_path) as found, await client(found) as attic:
            restarted = asyncio.Event()

            async def restart() -> None:
                port = found.house.port
                await found.house.stop()
                object.__setattr__(found.machine.settings, "port", port)
                found.house = House(found.machine)
                await found.house.start()
                restarted.set()

            def progress(done: int, total: int | None) -> None:
                if done > 6_000_000 and not progress_seen:
                    progress_seen.append(asyncio.get_running_loop().create_task(restart()))

            progress_seen: list[asyncio.Task[None]] = []
            stored = await attic.put("big.raw", content, progress=progress)
            await restarted.wait()
            assert stored["sha256"] == hashlib.sha256(content).hexdigest()
            assert await attic.read("big.raw") == content

    asyncio.run(scene())


def test_what_changes_something_is_not_repeated(tmp_path: Path) -> None:
    """A remove whose session is gone before it was sent goes out in a new one; a refusal of the house is told as it is."""

    async def scene() -> None:
        async with village(tmp_path) as found, await client(found) as attic:
            await attic.put("a", b"x")
            cut(attic)
            await attic.rm("a")
            with pytest.raises(Refused):
                await attic.rm("a")
            removed = [row for row in found.machine.store.entries(kinds=(Kind.EFFECT_BEGUN,)) if row.event.text("effect") == "archive.rm"]
            assert len(removed) == 2

    asyncio.run(scene())


def test_a_closed_client_is_misuse(tmp_path: Path) -> None:
    """After its end nothing is opened again behind the caller's back."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            attic = await client(found)
            await attic.close()
            with pytest.raises(Misuse):
                await attic.status()

    asyncio.run(scene())


# --- The reader of a put ---------------------------------------------------------------------------------------------------


def read(reader: Reader, offset: int, stop: int | None = None) -> bytes:
    """What a transfer from `offset` on would send, or its first bytes up to a cut."""

    async def collect() -> bytes:
        found = b""
        async for piece in reader.chunks(offset, None):
            found += piece
            if stop is not None and len(found) >= stop:
                break
        return found

    return asyncio.run(collect())


def test_what_is_sent_again_is_hashed_once() -> None:
    """From any offset of what was read before, the same bytes come, and the hash is that of the whole."""
    content = os.urandom(3_000_000)
    for source in (content, io.BytesIO(content)):
        reader = Reader(source)
        assert read(reader, 0, 1) == content[:1_048_576]
        assert read(reader, 1_000) == content[1_000:]
        assert read(reader, 2_999_999) == content[-1:]
        assert read(reader, 3_000_000) == b""
        assert reader.sha256 == hashlib.sha256(content).hexdigest()


def test_a_file_is_read_from_where_it_stands(tmp_path: Path) -> None:
    """An open file at an offset is stored from there on."""
    path = tmp_path / "a"
    path.write_bytes(b"header" + b"body")
    with path.open("rb") as file:
        file.read(6)
        reader = Reader(file)
        assert (reader.size, read(reader, 0)) == (4, b"body")


def test_a_stream_keeps_what_may_be_asked_again() -> None:
    """The last 32 MiB of a stream can be sent again; what lies before cannot, and that is said."""
    piece = os.urandom(1 << 20)
    count = KEPT_BYTES // len(piece) + 3

    async def stream() -> AsyncIterator[bytes]:
        for _ in range(count):
            yield piece

    async def scene() -> None:
        reader = Reader(stream())
        total = 0
        async for part in reader.chunks(0, None):
            total += len(part)
        assert total == reader.size == count * len(piece)
        again = b"".join([part async for part in reader.chunks(total - 1_500_000, None)])
        assert again == (piece + piece)[-1_500_000:]
        with pytest.raises(Unavailable):
            _ = [part async for part in reader.chunks(0, None)]

    asyncio.run(scene())


def test_a_stream_that_is_cut_while_it_waits_loses_nothing() -> None:
    """A transfer that is cancelled in the middle of the stream's next piece leaves that piece to the one after it."""
    gate = asyncio.Event()

    async def stream() -> AsyncIterator[bytes]:
        yield b"one"
        await gate.wait()
        yield b"two"

    async def scene() -> None:
        reader = Reader(stream())
        got: list[bytes] = []

        async def first() -> None:
            async for part in reader.chunks(0, None):
                got.append(part)

        task = asyncio.create_task(first())
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert got == [b"one"]
        gate.set()
        assert b"".join([part async for part in reader.chunks(3, None)]) == b"two"
        assert reader.sha256 == hashlib.sha256(b"onetwo").hexdigest()

    asyncio.run(scene())
