"""A request whose signal is not of this key, house, session, number, time or request: refused, recorded, the session cut, nothing done.

docs/spec/door.md, section 3, and docs/spec/signal.md, sections 3 to 6. Every request here asks to delete a file that is there; in the end
it must still be there.
"""

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from tallystick.canonical import b64url, unb64url
from tallystick.keys import Signer
from tallystick.vault import FileVault
from tests.e2e.raw import HOST, Headers, RawSession, Request
from tests.e2e.support import Client, House, until

PATH: Final = "/v1/files/keep.txt"
REMOVE: Final = Request(method="DELETE", target=PATH, verb="archive.rm")
MOVE: Final = Request(
    method="POST",
    target="/v1/move",
    verb="archive.mv",
    headers=(HOST, ("content-type", "application/json")),
    body=b'{"from":"keep.txt","to":"gone.txt"}',
)
MALFORMED: Final = (400, "malformed")
UNPROVEN: Final = (401, "unproven")
NO_HTTP: Final = (400, "")  # ends before the door: docs/spec/http.md; recorded with the session's end
SECOND: Final = 10**9
VIA: Final = (("via", "1"), ("via", "2"))


@dataclass(frozen=True)
class Village:
    """A house, a machine, another machine, and a key that nobody knows."""

    house: House
    client: Client
    other: Client
    stranger: Signer


@pytest.fixture(scope="module")
def village(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Village]:
    """For all tests here: each leaves the file where it is."""
    folder = tmp_path_factory.mktemp("signals")
    with House(folder) as house:
        client, other = house.machine("client"), house.machine("other")
        client.put(b"content", "keep.txt")
        yield Village(house, client, other, FileVault.create(folder / "stranger").machine.signing)


Carried = Callable[[RawSession, Village], Headers]


@dataclass(frozen=True)
class Case:
    """What is wrong, and how the house takes it. `carried` makes the two headers, where they are not simply signed."""

    name: str
    outcome: tuple[int, str]
    request: Request = REMOVE
    carried: Carried | None = None


def claims(name: str, outcome: tuple[int, str], **fields: Any) -> Case:
    """The signal says something else; a callable is asked when the request is made."""

    def carried(raw: RawSession, village: Village) -> Headers:
        found = {key: value() if callable(value) else value for key, value in fields.items()}
        return replace(REMOVE, claims=found).sign(raw)

    return Case(name, outcome, carried=carried)


def said(name: str, request: Request, **fields: Any) -> Case:
    """The signal was made for another request than the one it travels with."""
    return Case(name, MALFORMED, replace(request, said=fields))


def by(name: str, key: Callable[[Village], Signer]) -> Case:
    """Another key signs, under its own name."""
    return Case(name, UNPROVEN, carried=lambda raw, village: REMOVE.sign(raw, signer=key(village)))


def headers(name: str, outcome: tuple[int, str], change: Callable[[list[tuple[str, str]]], Headers]) -> Case:
    """The two headers are changed on their way."""
    return Case(name, outcome, carried=lambda raw, village: change(REMOVE.sign(raw)))


def with_value(index: int, change: Callable[[str], str]) -> Callable[[list[tuple[str, str]]], Headers]:
    """One of the two values is changed."""

    def changed(carried: list[tuple[str, str]]) -> Headers:
        return [(name, change(value) if at == index else value) for at, (name, value) in enumerate(carried)]

    return changed


def flipped(at: int) -> Callable[[str], str]:
    """One bit of a header's bytes is another."""

    def flip(value: str) -> str:
        raw = bytearray(unb64url(value, max_bytes=20_000))
        raw[at % len(raw)] ^= 1
        return b64url(bytes(raw))

    return flip


def other_machine(village: Village) -> Signer:
    """The signing key of a machine that is paired, but not this one."""
    with village.other.open() as machine:
        return machine.vault.machine.signing


def with_another_opening(raw: RawSession, village: Village) -> Headers:
    """Signal and opening of two signatures of one request: they differ in their salts."""
    return [REMOVE.sign(raw)[0], REMOVE.sign(raw)[1]]


CASES: Final = (
    claims("another house", UNPROVEN, aud=lambda: secrets.token_bytes(32)),
    claims("another stream", UNPROVEN, stream=lambda: secrets.token_bytes(16)),
    claims("a gap in n", UNPROVEN, n=1),
    claims("a far n", UNPROVEN, n=2**40),
    claims("too old", UNPROVEN, issued_at_ns=lambda: time.time_ns() - 61 * SECOND),
    claims("from 1970", UNPROVEN, issued_at_ns=0),
    claims("from the future", UNPROVEN, issued_at_ns=lambda: time.time_ns() + 62 * SECOND),
    claims("from 2100", UNPROVEN, issued_at_ns=4_102_444_800 * SECOND),
    claims("expired", UNPROVEN, expires_ns=lambda: time.time_ns() - 1),
    *(claims(f"class {name}", UNPROVEN, signal_class=name) for name in ("human", "sensor", "sensor/camera", "tool", "llm", "feed", "cron")),
    claims("the verb's action is smaller than the verb's", MALFORMED, action="metadata"),
    claims("the verb's action is another", MALFORMED, action="read"),
    claims("the verb of another route", MALFORMED, verb="archive.get", action="read"),
    claims("a weaker verb with its own action", MALFORMED, verb="pair.ping", action="metadata"),
    claims("a verb nobody knows", MALFORMED, verb="archive.burn", action="write"),
    claims("a human statement's verb", MALFORMED, verb="pair.sever", action="admin"),
    by("a key nobody knows", lambda village: village.stranger),
    by("the key of another machine of this house", other_machine),
    said("another path", REMOVE, target="/v1/files/other.txt"),
    said("the path quoted in another way", REMOVE, target="/v1/files/keep%2Etxt"),
    said("a query that was not signed", replace(REMOVE, target=PATH + "?really=1"), target=PATH),
    said("a query that was signed and is missing", REMOVE, target=PATH + "?dry=1"),
    said("another method", REMOVE, method="GET"),
    said("another body of the same length", MOVE, body=b'{"from":"keep.txt","to":"away.txt"}'),
    said("a shorter body", MOVE, body=b"{}"),
    said("a body that was not signed", MOVE, body=None),
    said("a body that was signed and is missing", REMOVE, body=b"{}"),
    said("a header more", replace(REMOVE, headers=(HOST, ("if-match", "*"))), headers=(HOST,)),
    said("a header less", REMOVE, headers=(HOST, ("if-match", "7"))),
    said("a header's value", replace(REMOVE, headers=(HOST, ("if-match", "7"))), headers=(HOST, ("if-match", "8"))),
    said("another host", REMOVE, headers=(("host", "other"),)),
    said(
        "equal headers in another order",
        replace(REMOVE, headers=(HOST, ("via", "1"), ("via", "2"))),
        headers=(HOST, ("via", "2"), ("via", "1")),
    ),
    headers("no signal", MALFORMED, lambda carried: carried[1:]),
    headers("no opening", MALFORMED, lambda carried: carried[:1]),
    headers("neither", MALFORMED, lambda carried: []),
    headers("the signal twice", NO_HTTP, lambda carried: [*carried, carried[0]]),
    headers("the opening twice", NO_HTTP, lambda carried: [*carried, carried[1]]),
    headers("another Tally- header", MALFORMED, lambda carried: [*carried, ("tally-key", "admin")]),
    headers("signal and opening exchanged", MALFORMED, lambda carried: [("tally-signal", carried[1][1]), ("tally-opening", carried[0][1])]),
    headers("an empty signal", MALFORMED, with_value(0, lambda value: "")),
    headers("padding", MALFORMED, with_value(0, lambda value: value + "=")),
    headers("a cut signal", MALFORMED, with_value(0, lambda value: value[:-8])),
    headers("a signal and more", MALFORMED, with_value(0, lambda value: value + "AAAA")),
    headers("a cut opening", MALFORMED, with_value(1, lambda value: value[:-8])),
    headers("a signature with one other bit", UNPROVEN, with_value(0, flipped(-1))),
    headers("a list of signals", MALFORMED, with_value(0, lambda value: value + ", " + value)),
    Case("the opening of another signal of the same request", UNPROVEN, carried=with_another_opening),
)


async def send(village: Village, case: Case) -> tuple[int, bool]:
    """One session: the bad request, and at once a good one behind it. The status of the first, and whether the session was cut."""
    with village.client.open() as machine:
        async with RawSession.open(machine) as raw:
            carried = None if case.carried is None else case.carried(raw, village)
            first = case.request.wire(case.request.sign(raw) if carried is None else carried)
            raw.n = 1
            raw.write(first + REMOVE.wire(REMOVE.sign(raw)))
            answer = await raw.answer()
            await raw.until(lambda: raw.cut)
            assert not raw.data, "more was answered"
            return answer.status, raw.cut


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_request_that_was_not_signed_so(village: Village, case: Case) -> None:
    """The request is refused as its row says, recorded so, and takes the session with it: what was sent behind it is never read."""
    status, word = case.outcome
    house = village.house
    refused, deleted, ended = len(house.log("refused")), len(house.log("effect-begun")), len(house.log("session-ended"))
    assert asyncio.run(send(village, case)) == (status, True)
    entries = house.log("refused")[refused:]
    assert [entry["fields"]["reason"] for entry in entries] == ([word] if word else [])
    assert len(house.log("effect-begun")) == deleted
    assert village.client.names() == ["keep.txt"]
    ends = until(lambda: house.log("session-ended")[ended:], "the session's end is recorded")
    assert ends[0]["fields"]["reason"] == (word or "malformed")


def test_a_signal_counts_once(village: Village) -> None:
    """The same signal again in its session, and in another session, is refused both times."""
    signed: list[Headers] = []

    async def twice() -> list[int]:
        request = Request()
        with village.client.open() as machine:
            async with RawSession.open(machine) as raw:
                signed.append(request.sign(raw))
                await raw.send(request, signed[0])
                found = [(await raw.answer()).status]
                await raw.send(request, signed[0])
                found.append((await raw.answer()).status)
                await raw.until(lambda: raw.cut)
            async with RawSession.open(machine) as raw:
                await raw.send(request, signed[0])
                found.append((await raw.answer()).status)
                await raw.until(lambda: raw.cut)
        return found

    assert asyncio.run(twice()) == [200, 401, 401]


def test_a_signal_of_another_machine_session(village: Village) -> None:
    """A genuine request of one machine, sent in the session of another, is refused there; its own session goes on."""

    async def crossed() -> list[int]:
        with village.client.open() as mine, village.other.open() as theirs:
            async with RawSession.open(mine) as here, RawSession.open(theirs) as there:
                carried = Request().sign(here)
                await there.send(Request(), carried)
                found = [(await there.answer()).status]
                await there.until(lambda: there.cut)
                await here.send(Request(), carried)
                return [*found, (await here.answer()).status]

    assert asyncio.run(crossed()) == [401, 200]


def test_a_house_with_another_house(village: Village, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A signal for one house is nothing at another, though the same key signed and the machine is paired with both."""
    with House(tmp_path_factory.mktemp("second"), "cellar") as cellar:
        client = village.client
        invite = cellar.owner.invite("INPUT", label="client", approve=True, ttl_s=60)
        client.pairing(invite).wait()
        rows = [row for row in client.pairs() if row["state"] == "standing"]
        assert len(rows) == 2

        async def cross() -> list[int]:
            with client.open() as machine:
                attic = bytes(next(row.house or b"" for row in machine.store.pairs()))
                async with RawSession.open(machine, house="cellar") as raw:
                    assert bytes(raw.pair.house or b"") != attic
                    good = (await raw.ask(Request())).status
                    bad = (await raw.ask(Request(claims={"aud": attic}))).status
                    return [good, bad]

        assert asyncio.run(cross()) == [200, 401]
        client.sever("cellar")


def test_every_flipped_bit_is_refused(village: Village) -> None:
    """One bit changed anywhere in signal or opening: refused every time, and the file is still there."""
    chance = random.Random(7)
    before = len(village.house.log("effect-begun"))

    async def flip(index: int, at: int) -> int:
        with village.client.open() as machine:
            async with RawSession.open(machine) as raw:
                await raw.send(REMOVE, with_value(index, flipped(at))(REMOVE.sign(raw)))
                status = (await raw.answer()).status
                await raw.until(lambda: raw.cut)
                return status

    statuses = [asyncio.run(flip(number % 2, chance.randrange(400))) for number in range(40)]
    assert set(statuses) <= {400, 401}
    assert len(village.house.log("effect-begun")) == before
    assert village.client.names() == ["keep.txt"]


def test_age_within_a_minute(village: Village) -> None:
    """A signal 55 s old, or 55 s ahead, is still good: clocks differ."""

    async def aged(seconds: int) -> int:
        with village.client.open() as machine:
            async with RawSession.open(machine) as raw:
                return (await raw.ask(Request(claims={"issued_at_ns": time.time_ns() + seconds * SECOND}))).status

    assert [asyncio.run(aged(seconds)) for seconds in (-55, 55)] == [200, 200]


def test_there_is_nothing_at_this_target(village: Village) -> None:
    """A well-signed request for a target without a route is recorded as refused and answered 404; the session goes on."""

    async def nowhere() -> list[int]:
        with village.client.open() as machine:
            async with RawSession.open(machine) as raw:
                found = [(await raw.ask(Request(target=target))).status for target in ("/", "/v1", "/v2/ping", "/v1/ping/", "/V1/ping")]
                return [*found, (await raw.ask(Request())).status]

    assert asyncio.run(nowhere()) == [404] * 5 + [200]
    verdicts = [entry["fields"]["verdict"] for entry in village.house.log("signal")[-6:]]
    assert verdicts == ["refuse"] * 5 + ["allow"]


@pytest.mark.parametrize("number", range(6))
def test_http_that_is_none(village: Village, number: int) -> None:
    """What is not HTTP/1.1 as docs/spec/http.md has it ends the session and does nothing."""
    wires = (
        b"\x00\x01\x02\x03" * 64,
        b"GET /v1/ping HTTP/1.0\r\nhost: house\r\n\r\n",
        b"GET /v1/ping HTTP/1.1\r\nhost: house\r\nx: " + b"a" * 20_000 + b"\r\n\r\n",
        b"POST /v1/move HTTP/1.1\r\nhost: house\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /v1/ping HTTP/1.1\r\nhost: house\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        b"GET /v1/ping HTTP/1.1\nhost: house\n\n",
    )

    async def speak() -> None:
        with village.client.open() as machine:
            async with RawSession.open(machine) as raw:
                raw.write(wires[number])
                await raw.until(lambda: raw.cut)
                assert not raw.data or bytes(raw.data[9:12]) in (b"400", b"431", b"505"), bytes(raw.data[:200])

    asyncio.run(speak())
    assert village.client.names() == ["keep.txt"]
