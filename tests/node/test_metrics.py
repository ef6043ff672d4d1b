"""The metrics port: two paths, loopback names only, figures and nothing of a record."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tallystick.errors import Unavailable
from tallystick.node.metrics import COUNTERS, GAUGES, MAX_HEAD_BYTES, MetricsServer
from tests.node.village import village

FIGURES = {name: float(number) for number, name in enumerate([*GAUGES, *COUNTERS], start=3)}


@asynccontextmanager
async def serving(figures: Mapping[str, float] = FIGURES, *, healthy: bool = True) -> AsyncIterator[int]:
    """The port of a server of these figures."""
    server = MetricsServer(lambda: figures, lambda: healthy)
    port = await server.start(0)
    try:
        yield port
    finally:
        await server.stop()


async def send(port: int, raw: bytes) -> bytes:
    """What comes back for these bytes until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw)
    try:
        return await asyncio.wait_for(reader.read(), 8)
    except ConnectionError:
        return b""
    finally:
        writer.close()


def ask(raw: bytes, *, healthy: bool = True, figures: Mapping[str, float] = FIGURES) -> tuple[int, str]:
    """Status and body of one answer; status 0 when there was none."""

    async def scene() -> bytes:
        async with serving(figures, healthy=healthy) as port:
            return await send(port, raw)

    answer = asyncio.run(scene())
    if not answer:
        return 0, ""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(re.search(rb"Content-Length: (\d+)", head)[1]) == len(body)  # type: ignore[index]
    assert b"Connection: close" in head
    return int(head.split(b" ")[1]), body.decode()


def get(path: str, host: str = "localhost", method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: test\r\n\r\n".encode()


def test_every_figure_is_there_under_its_name() -> None:
    """Gauges as they are, counters with `_total`, each with its value and its help text."""
    status, text = ask(get("/metrics"))
    assert status == 200
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    for name, value in FIGURES.items():
        full = f"tallystick_{name}" + ("_total" if name in COUNTERS else "")
        assert float(lines[full]) == value
    assert text.count("# HELP") == len(FIGURES)


def test_a_house_has_every_figure(tmp_path: Path) -> None:
    """What the house counts is what the page shows: no name without a figure, no figure without a name."""

    async def scene() -> set[str]:
        async with village(tmp_path, genesis=False) as found:
            return set(found.house.figures())

    assert asyncio.run(scene()) == GAUGES.keys() | COUNTERS.keys()


@pytest.mark.parametrize(("healthy", "status"), [(True, 200), (False, 503)])
def test_health_is_whether_commands_are_recorded(healthy: bool, status: int) -> None:
    """A ledger that has stopped is 503, so that a supervisor starts the house anew."""
    assert ask(get("/healthz"), healthy=healthy)[0] == status


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:9100", "localhost", "localhost:1"])
def test_loopback_names_are_answered(host: str) -> None:
    """With a port or without."""
    assert ask(get("/healthz", host))[0] == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "evil.example:80", "127.0.0.1.nip.io", "127.0.0.2", "[::1]", "", "LOCALHOST", "localhost:"],
)
def test_no_other_name_is_answered(host: str) -> None:
    """A web page whose name was pointed at 127.0.0.1 asks under its own name, and is refused."""
    assert ask(get("/metrics", host)) == (403, "ask 127.0.0.1\n")


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /metrics HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/1.0\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nhost: evil.example\r\n\r\n",
    ],
)
def test_a_name_is_said_exactly_once(raw: bytes) -> None:
    """No Host, or two of them: refused."""
    assert ask(raw)[0] == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "OPTIONS", "get", "DELETE"])
def test_only_get(method: str) -> None:
    """Nothing can be changed here."""
    assert ask(get("/metrics", method=method))[0] == 405


@pytest.mark.parametrize("path", ["/", "/metrics/", "/metrics?x=1", "/healthz/..", "//metrics", "http://localhost/metrics"])
def test_only_two_paths(path: str) -> None:
    """Everything else is not found."""
    assert ask(get(path))[0] == 404


@pytest.mark.parametrize(
    "raw",
    [b"GET /metrics", b"", b"\r\n\r\n", b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"[:-1], b"\x16\x03\x01" + bytes(50)],
)
def test_half_a_head_is_no_request(raw: bytes) -> None:
    """The caller hangs up in the middle: the server closes, and answers the next one."""

    async def scene() -> tuple[bytes, bytes]:
        async with serving() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(raw)
            writer.write_eof()
            answer = await asyncio.wait_for(reader.read(), 8)
            writer.close()
            return answer, await send(port, get("/healthz"))

    answer, after = asyncio.run(scene())
    assert not answer or answer.split(b" ")[1] in (b"403", b"405")
    assert after.endswith(b"ok\n")


def test_a_head_has_a_limit() -> None:
    """A head that does not end within 4 KiB gets no answer."""
    assert ask(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * (2 * MAX_HEAD_BYTES) + b"\r\n\r\n")[0] == 0


def test_a_database_that_fails_is_503() -> None:
    """The figures cannot be read: said, not a hanging connection."""

    def fails() -> Mapping[str, float]:
        raise Unavailable("the ledger is closed")

    async def scene() -> bytes:
        server = MetricsServer(fails, lambda: False)
        port = await server.start(0)
        try:
            return await send(port, get("/metrics"))
        finally:
            await server.stop()

    assert asyncio.run(scene()).startswith(b"HTTP/1.1 503")


def test_only_this_computer_reaches_it() -> None:
    """The port is bound to 127.0.0.1 and no other address."""

    async def scene() -> list[str]:
        server = MetricsServer(lambda: FIGURES, lambda: True)
        port = await server.start(0)
        with pytest.raises(Unavailable):
            await MetricsServer(lambda: FIGURES, lambda: True).start(port)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as other:
            other.bind(("127.0.0.2", port))  # free: nobody listens on every address
        await server.stop()
        await server.stop()
        return ["stopped twice"]

    assert asyncio.run(scene())
