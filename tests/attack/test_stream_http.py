"""HTTP inside the stream: one request, one signal, one reading (docs/spec/http.md, door.md)."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from tallystick.channel.frame import FrameType
from tallystick.ledger.event import Kind
from tallystick.node.client import HouseSession
from tallystick.pair.pairing import PairType
from tests.attack.rogue import Rogue
from tests.node.village import Village, village

Attack = Callable[[Rogue], bytes]


def _ping(rogue: Rogue, *, body: bytes | None = None, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    return rogue.request("GET", "/v1/ping", verb="pair.ping", body=body, headers=headers)


def _with(extra: bytes, *, where: bytes = b"host: house\r\n") -> Attack:
    return lambda rogue: _ping(rogue).replace(where, where + extra)


def _swapped(old: bytes, new: bytes) -> Attack:
    return lambda rogue: _ping(rogue).replace(old, new)


ATTACKS: dict[str, Attack] = {
    "a second request without a signal": lambda rogue: _ping(rogue) + b"GET /v1/pairs HTTP/1.1\r\nhost: house\r\n\r\n",
    "the same request twice": lambda rogue: 2 * _ping(rogue),
    "two lengths": _with(b"content-length: 0\r\ncontent-length: 5\r\n"),
    "a length and chunks": _with(b"content-length: 0\r\ntransfer-encoding: chunked\r\n"),
    "a body nobody signed": lambda rogue: _with(b"content-length: 4\r\n")(rogue) + b"body",
    "chunks nobody signed": lambda rogue: _with(b"transfer-encoding: chunked\r\n")(rogue) + b"4\r\nbody\r\n0\r\n\r\n",
    "a chunk extension": lambda rogue: _with(b"transfer-encoding: chunked\r\n")(rogue) + b"0;x=y\r\n\r\n",
    "a trailer": lambda rogue: _with(b"transfer-encoding: chunked\r\n")(rogue) + b"0\r\nx: y\r\n\r\n",
    "a coding with a space": _with(b"transfer-encoding : chunked\r\n"),
    "a folded header": _with(b"x-a: b\r\n c\r\n"),
    "a header that was not signed": _with(b"x-a: b\r\n"),
    "a range that was not signed": _with(b"range: bytes=0-1\r\n"),
    "a second host": _with(b"host: other\r\n"),
    "another host": _swapped(b"host: house", b"host: other"),
    "another target": _swapped(b"GET /v1/ping ", b"GET /v1/pairs "),
    "a query that was not signed": _swapped(b"GET /v1/ping ", b"GET /v1/ping? "),
    "another method": _swapped(b"GET /v1/ping ", b"HEAD /v1/ping "),
    "an absolute target": _swapped(b"GET /v1/ping ", b"GET http://house/v1/ping "),
    "an encoded target": _swapped(b"GET /v1/ping ", b"GET /v1/%70ing "),
    "HTTP/1.0": _swapped(b"HTTP/1.1", b"HTTP/1.0"),
    "HTTP/2": lambda _: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an upgrade": _with(b"connection: upgrade\r\nupgrade: websocket\r\n"),
    "a bare line feed": _swapped(b"host: house\r\n", b"host: house\n"),
    "a NUL": _with(b"x-a: \x00\r\n"),
    "another Tally- header": _with(b"tally-entry: 1\r\n"),
    "a header like ours": _with(b"tally_signal: AAAA\r\n"),
    "the signal twice": lambda rogue: _twice(_ping(rogue)),
    "no signal": lambda _: b"GET /v1/ping HTTP/1.1\r\nhost: house\r\n\r\n",
    "a head without end": lambda _: b"GET /v1/ping HTTP/1.1\r\n" + b"x-a: " + 20_000 * b"a",
    "too many headers": lambda _: b"GET /v1/ping HTTP/1.1\r\nhost: house\r\n" + b"".join(b"x%d: y\r\n" % n for n in range(200)) + b"\r\n",
    "noise": lambda _: bytes(range(256)) * 4,
}


def _twice(request: bytes) -> bytes:
    start = request.index(b"Tally-Signal") if b"Tally-Signal" in request else request.index(b"tally-signal")
    line = request[start : request.index(b"\r\n", start) + 2]
    return request.replace(line, 2 * line)


async def _answers(rogue: Rogue) -> list[int]:
    found = []
    with contextlib.suppress(ConnectionResetError):
        while True:
            found.append((await rogue.answer())[0])
    return found


def test_whatever_is_not_one_signed_request_ends_the_session(tmp_path: Path) -> None:
    """Each of these requests is answered 400 or 401 at most once, reaches no handler, ends its session and nobody else's."""

    async def attack(found: Village, other: HouseSession, name: str, make: Attack) -> None:
        rogue = await Rogue.open(found.member("spy"), found.pair_of("spy"))
        await rogue.say(make(rogue))
        answers = await _answers(rogue)
        allowed = 1 if name in ("a second request without a signal", "the same request twice") else 0
        assert answers[:allowed] == allowed * [200], name
        assert len(answers) <= allowed + 1 and all(status in (400, 401) for status in answers[allowed:]), (name, answers)
        assert rogue.closed, name
        await other.get_json("/v1/ping", verb="pair.ping")

    async def scene() -> None:
        async with village(tmp_path) as found:
            await found.join("spy")
            await found.join("laptop")
            async with await HouseSession.open(found.member("laptop"), found.pair_of("laptop")) as other:
                for name, make in ATTACKS.items():
                    await attack(found, other, name, make)

    asyncio.run(scene())


def test_pipelined_requests_are_answered_in_turn(tmp_path: Path) -> None:
    """A hundred requests in one write: each is recorded and answered, one after the other."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            row = await found.join("laptop")
            rogue = await Rogue.open(found.member("laptop"), row)
            await rogue.say(b"".join(_ping(rogue) for _ in range(100)))
            for _ in range(100):
                assert (await rogue.answer())[0] == 200
            signals = [entry for entry in found.machine.store.entries(kinds=(Kind.SIGNAL,)) if entry.event.blob("pair") == row.pairing]
            assert len(signals) == 100
            rogue.close()

    asyncio.run(scene())


def test_a_head_that_trickles_holds_up_nobody(tmp_path: Path) -> None:
    """Byte after byte in frames of their own, and an end in the middle: the house answers others meanwhile and keeps nothing."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            row = await found.join("spy", PairType.INTERFACE)
            await found.join("laptop")
            rogue = await Rogue.open(found.member("spy"), row)
            request = _ping(rogue)
            for byte in request[:-1]:
                await rogue.say(bytes((byte,)))
            async with await HouseSession.open(found.member("laptop"), found.pair_of("laptop")) as other:
                begun = time.monotonic()
                await other.get_json("/v1/ping", verb="pair.ping")
                assert time.monotonic() - begun < 1
            await rogue.frame(FrameType.END)
            status, _ = await rogue.answer()
            assert status == 400
            assert await rogue.ended()

    asyncio.run(scene())


def test_signals_of_another_session_time_or_house_are_unproven(tmp_path: Path) -> None:
    """A signal of another connection, an old one, one with a gap, one for another house: each ends the session, none is done."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            row = await found.join("laptop")
            machine = found.member("laptop")

            async def refused(request: bytes, rogue: Rogue) -> None:
                await rogue.say(request)
                assert await _answers(rogue) in ([401], [400])
                assert rogue.closed

            first, second = await Rogue.open(machine, row), await Rogue.open(machine, row)
            await refused(_ping(first), second)
            for seconds in (-61, 61, 10**9):
                rogue = await Rogue.open(machine, row)
                await refused(rogue.request("GET", "/v1/ping", verb="pair.ping", now_ns=time.time_ns() + seconds * 10**9), rogue)
            rogue = await Rogue.open(machine, row)
            rogue.n = 1
            await refused(_ping(rogue), rogue)
            rogue = await Rogue.open(machine, row)
            request = _ping(rogue)
            await rogue.say(request)
            assert (await rogue.answer())[0] == 200
            await refused(request, rogue)
            assert found.house.clock() - time.time_ns() < 10**9, "no time of a client moves pair time"
            first.close()

    asyncio.run(scene())
