"""HTTP inside the sealed stream: an ASGI application at one end, the client at the other, a real session between them."""

import asyncio
import hashlib
import json
import tracemalloc
from collections.abc import AsyncIterator, Callable
from itertools import product

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tallystick.errors import Malformed, Misuse, TallyError, Unavailable
from tallystick.node.http import COALESCE_BYTES, HttpServer, Message, Receive, Scope, SealedTransport, Send
from tallystick.node.httpclient import HttpClient
from tallystick.node.httpxadapter import SealedHttpx
from tallystick.pair.pairing import Suite
from tests.node.http_scene import Pipe, piped, raw, sealed

MIB = 1 << 20
pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both event loops a house may run on."""
    return "asyncio", {"use_uvloop": request.param}


async def _who(request: Request) -> Response:
    return JSONResponse(
        {
            "session": request.scope["tally"],
            "target": request.scope["tally.target"],
            "client": request.client.host if request.client else None,
            "headers": [[name.decode(), value.decode()] for name, value in request.headers.raw],
            "method": request.method,
        }
    )


async def _echo(request: Request) -> Response:
    return StreamingResponse(request.stream())


async def _digest(request: Request) -> Response:
    digest, size = hashlib.sha256(), 0
    async for piece in request.stream():
        digest.update(piece)
        size += len(piece)
    return JSONResponse({"size": size, "sha256": digest.hexdigest()})


async def _big(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(int(request.query_params["mib"])):
            yield bytes((number % 251,)) * MIB

    return StreamingResponse(pieces())


async def _refused(request: Request) -> Response:
    return PlainTextResponse("no", status_code=403)


async def _no_content(request: Request) -> Response:
    return Response(status_code=204)


async def _crash(request: Request) -> Response:
    raise ValueError("a bug")


async def _half(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"half"
        raise ValueError("a bug")

    return StreamingResponse(pieces())


APP = Starlette(
    routes=[
        Route("/who", _who, methods=["GET", "POST", "PUT", "DELETE"]),
        Route("/echo", _echo, methods=["POST", "PUT"]),
        Route("/digest", _digest, methods=["PUT", "POST"]),
        Route("/big", _big),
        Route("/refused", _refused, methods=["GET", "PUT"]),
        Route("/nothing", _no_content, methods=["DELETE"]),
        Route("/crash", _crash),
        Route("/half", _half),
    ]
)


async def ask(client: HttpClient, method: str, target: str, body: bytes | AsyncIterator[bytes] | None = None) -> tuple[int, bytes]:
    response = await client.request(method, target, (), body)
    return response.status, await response.read(MIB)


async def test_a_request_is_answered_over_a_real_session() -> None:
    """The application learns who asks from the session, and the raw target to the letter."""
    async with sealed(APP) as ends:
        response = await ends.client.request("GET", "/who?", [("tally-signal", "abc")])
        assert response.status == 200
        assert response.header("content-type") == "application/json"
        assert json.loads(await response.read(MIB)) == {
            "session": "the session",
            "target": "/who?",
            "client": "192.0.2.7",
            "headers": [["host", "house"], ["tally-signal", "abc"]],
            "method": "GET",
        }


async def test_requests_follow_each_other_on_one_session() -> None:
    """A session is kept for as many requests as one likes, of every kind."""
    async with sealed(APP) as ends:
        for number in range(50):
            body = b"%d" % number * 100
            assert await ask(ends.client, "POST", "/echo", body) == (200, body)
        assert await ask(ends.client, "DELETE", "/nothing") == (204, b"")
        assert await ask(ends.client, "GET", "/nowhere") == (404, b"Not Found")
        assert await ask(ends.client, "GET", "/refused") == (403, b"no")
        head = await ends.client.request("HEAD", "/refused")
        assert (head.status, await head.read(0)) == (403, b"")
        assert await ask(ends.client, "PUT", "/digest", b"") == (
            200,
            b'{"size":0,"sha256":"' + hashlib.sha256().hexdigest().encode() + b'"}',
        )


async def test_a_hundred_megabytes_stream_both_ways_in_bounded_memory() -> None:
    """What is under way is a few megabytes, however long the body is; not a byte is changed."""

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(100):
            yield bytes((number,)) * MIB

    async with sealed(APP, Suite.AESGCM) as ends:
        tracemalloc.start()
        try:
            response = await ends.client.request("POST", "/echo", (), pieces())
            digest, size = hashlib.sha256(), 0
            async for piece in response.aiter_bytes():
                digest.update(piece)
                size += len(piece)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        expected = hashlib.sha256()
        for number in range(100):
            expected.update(bytes((number,)) * MIB)
        assert (size, digest.digest()) == (100 * MIB, expected.digest())
        assert peak < 24 * MIB


async def test_a_slow_reader_holds_the_house_back() -> None:
    """While nobody reads the answer, the house stops producing it."""
    produced = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal produced
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(80):
            await send({"type": "http.response.body", "body": bytes(MIB), "more_body": True})
            produced += 1
        await send({"type": "http.response.body", "body": b""})

    async with sealed(app) as ends:
        response = await ends.client.request("GET", "/")
        await asyncio.sleep(0.3)
        stopped = produced
        assert stopped < 40
        size = 0
        async for piece in response.aiter_bytes():
            size += len(piece)
        assert (size, produced) == (80 * MIB, 80)


async def test_a_slow_application_holds_the_client_back() -> None:
    """While the application does not read the body, the client stops sending it."""
    sent = 0
    go_on = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await go_on.wait()
        size, more = 0, True
        while more:
            message = await receive()
            size, more = size + len(message["body"]), message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % size})

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(100):
            yield bytes(MIB)
            sent += 1

    async with sealed(app) as ends:
        asking = asyncio.create_task(ask(ends.client, "POST", "/", pieces()))
        await asyncio.sleep(0.3)
        assert sent < 40
        go_on.set()
        assert await asking == (200, b"%d" % (100 * MIB))


async def test_a_refused_upload_is_given_up_and_the_session_lives() -> None:
    """403 to a long body: the client stops sending, ends the message in its one form, and asks on."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield bytes(65_536)

    async with sealed(APP) as ends:
        assert await ask(ends.client, "PUT", "/refused", endless()) == (403, b"no")
        assert sent < 2000
        assert await ask(ends.client, "POST", "/echo", b"still here") == (200, b"still here")


async def test_a_long_body_in_memory_is_sent_with_its_length() -> None:
    """Bytes carry Content-Length, an iterator goes out chunked; both arrive."""
    body = bytes(range(256)) * 4096 * 3
    async with sealed(APP) as ends:
        status, said = await ask(ends.client, "PUT", "/digest", body)
        assert (status, said) == (200, b'{"size":3145728,"sha256":"%s"}' % hashlib.sha256(body).hexdigest().encode())
        assert await ask(ends.client, "PUT", "/refused", body) == (403, b"no")
        assert await ask(ends.client, "POST", "/echo", b"x") == (200, b"x")


async def test_a_small_exchange_is_one_frame_each_way() -> None:
    """Head and body of a small request leave together, and so do those of a small answer."""
    client, _, below_client, below_house = piped(APP)
    assert await ask(client, "POST", "/digest", b"small") == (
        200,
        b'{"size":5,"sha256":"' + hashlib.sha256(b"small").hexdigest().encode() + b'"}',
    )
    assert (below_client.frames, below_house.frames) == (1, 1)


async def test_pipelined_requests_are_answered_in_order_one_at_a_time() -> None:
    """A client may send ahead; the application never sees two requests of one session at once."""
    running = most = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": scope["path"].encode()})
        running -= 1

    house, wire = raw(app)
    house.feed(b"".join(b"GET /%d HTTP/1.1\r\nhost: house\r\n\r\n" % number for number in range(8)))
    assert not wire.reading  # the rest waits below
    house.end_of_input()
    for _ in range(100):
        await asyncio.sleep(0.005)
        if wire.ended:
            break
    assert [part[-2:] for part in wire.sent.split(b"HTTP/1.1 200 OK")[1:]] == [b"/%d" % number for number in range(8)]
    assert most == 1
    assert wire.ended == [None]


async def never(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("the application is never asked")


@pytest.mark.parametrize(
    "bytes_in",
    [
        b"GET http://elsewhere/ HTTP/1.1\r\nhost: house\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: house\r\ntally-signal: a\r\ntally-signal: b\r\n\r\n",
        b"GET / HTTP/1.1\nhost: house\n\n",
        b"GET / HTTP/1.1\r\nhost: house\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01",
    ],
)
async def test_what_breaks_the_protocol_gets_400_and_the_end(bytes_in: bytes) -> None:
    """The application never sees it; the session is told why it ends."""
    house, wire = raw(never)
    house.feed(bytes_in)
    house.feed(b"GET / HTTP/1.1\r\nhost: house\r\n\r\n")
    await asyncio.sleep(0.01)
    assert wire.sent.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"connection: close" in wire.sent
    assert b'"kind": "malformed"' in wire.sent
    assert len(wire.ended) == 1
    assert isinstance(wire.ended[0], Malformed)


async def test_a_bad_chunk_in_a_running_request_cuts_it() -> None:
    """An application in the middle of a body is told that its client is gone; it is never given the bytes after the break."""
    heard: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            heard.append(await receive())
            if heard[-1]["type"] == "http.disconnect":
                return

    house, wire = raw(app)
    house.feed(b"PUT / HTTP/1.1\r\nhost: house\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
    await asyncio.sleep(0.01)
    house.feed(b"3;x\r\ndef\r\n0\r\n\r\n")
    await asyncio.sleep(0.01)
    assert [message.get("body") for message in heard] == [b"abc", None]
    assert isinstance(wire.ended[0], Malformed)
    assert b"400" in wire.sent


async def test_an_end_in_the_middle_of_a_request_is_an_error() -> None:
    """`end` says that all was sent; half a request says it was not."""
    house, wire = raw(never)
    house.feed(b"PUT / HTTP/1.1\r\nhost: house\r\ncontent-le")
    house.end_of_input()
    assert isinstance(wire.ended[0], Malformed)


async def test_a_lost_stream_is_a_disconnect_for_the_application() -> None:
    """The application stops waiting, and what it still sends is an OSError (ASGI 2.4)."""
    heard: list[str] = []
    started = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        started.set()
        heard.append((await receive())["type"])
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        except OSError:
            heard.append("OSError")
            raise

    house, wire = raw(app)
    house.feed(b"GET / HTTP/1.1\r\nhost: house\r\n\r\n")
    await started.wait()
    house.lost(Unavailable("gone"))
    house.lost()
    await asyncio.sleep(0.01)
    assert heard == ["http.disconnect", "OSError"]
    assert wire.sent == b""
    house.feed(b"GET / HTTP/1.1\r\nhost: house\r\n\r\n")
    assert wire.ended == []


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (100, []),
        (101, [(b"upgrade", b"x")]),
        (200, [(b"transfer-encoding", b"gzip")]),
        (200, [(b"content-length", b"1"), (b"Content-Length", b"1")]),
        (200, [(b"Connection", b"upgrade")]),
        (200, [(b"trailer", b"x")]),
        (200, [(b"x", b"a" * 20_000)]),
    ],
)
async def test_an_application_that_frames_its_answer_itself_is_a_500(status: int, headers: list[tuple[bytes, bytes]]) -> None:
    """What no client of ours may accept never leaves the house."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"x"})

    client, *_ = piped(app)
    assert (await ask(client, "GET", "/"))[0] == 500


async def test_a_crash_before_the_answer_is_a_500_and_after_it_the_end() -> None:
    """A truncated answer is never taken for a whole one."""
    async with sealed(APP) as ends:
        assert (await ask(ends.client, "GET", "/crash"))[0] == 500
    async with sealed(APP) as ends:
        response = await ends.client.request("GET", "/half")
        with pytest.raises(Unavailable):
            await response.read(MIB)
        with pytest.raises(Unavailable):
            await ends.client.request("GET", "/who")


async def house_says(*answers: bytes) -> tuple[HttpClient, Pipe, list[Malformed]]:
    """A client whose house is the test."""
    wire = Pipe()
    client = wire.above = HttpClient(wire)
    breaches: list[Malformed] = []
    wire.on_breach = breaches.append
    for data in answers:
        asyncio.get_running_loop().call_later(0.01, wire.arrive, data)
    return client, wire, breaches


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\n\r\nuntil the connection closes",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"POST /do/this HTTP/1.1\r\nhost: client\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: y\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * 20_000,
        b"\0\1\2",
    ],
)
async def test_the_diode_takes_only_answers(said: bytes) -> None:
    """Anything that is not the answer: Malformed for the one who asked and for the session, which severs."""
    client, _, breaches = await house_says(said)
    with pytest.raises(Malformed):
        response = await client.request("GET", "/")
        await response.read(MIB)
    assert len(breaches) == 1
    assert not client.usable
    with pytest.raises(Malformed):
        await client.request("GET", "/")


async def test_a_house_that_speaks_unasked_is_severed() -> None:
    """Before the first question, and between two."""
    client, wire, breaches = await house_says(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    await asyncio.sleep(0.03)
    assert [error.message for error in breaches] == ["the house spoke without being asked"]
    assert not client.usable
    client, wire, breaches = await house_says(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    assert await ask(client, "GET", "/") == (200, b"")
    wire.arrive(b"H")
    await asyncio.sleep(0.01)
    assert len(breaches) == 1


async def test_an_answer_too_long_for_its_reader_ends_the_session() -> None:
    """`read(limit)` never buffers more than asked for."""
    client, wire, _ = await house_says(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n" + bytes(50))
    response = await client.request("GET", "/")
    with pytest.raises(Malformed, match="longer than 10"):
        await response.read(10)
    assert wire.aborted


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("get", "/", []),
        ("CONNECT", "/", []),
        ("GÉT", "/", []),
        ("GET", "http://house/", []),
        ("GET", "a", []),
        ("GET", "/a b", []),
        ("GET", "/ü", []),
        ("GET", "/a\r\nx: y", []),
        ("GET", "/", [("x", "a\r\ny: b")]),
        ("GET", "/", [("x", "ü")]),
        ("GET", "/", [("x y", "a")]),
        ("GET", "/", [("", "a")]),
        ("GET", "/", [("content-length", "1")]),
        ("GET", "/", [("Transfer-Encoding", "chunked")]),
        ("GET", "/", [("connection", "close")]),
        ("GET", "/", [("expect", "100-continue")]),
        ("GET", "/", [("upgrade", "x")]),
        ("GET", "/", [("tally-signal", "a"), ("Tally-Signal", "b")]),
        ("GET", "/", [("tally_signal", "a")]),
        ("GET", "/", [("x", "a" * 17_000)]),
        ("GET", "/" + "a" * 17_000, []),
        ("GET", "/", [("host", "")]),
    ],
)
async def test_what_cannot_be_sent_is_misuse_and_costs_nothing(method: str, target: str, headers: list[tuple[str, str]]) -> None:
    """The house would cut the session for each of these; the client says so before a byte leaves."""
    client, _, below, _ = piped(APP)
    with pytest.raises(Misuse):
        await client.request(method, target, headers)
    assert below.sent == b""
    assert await ask(client, "POST", "/echo", b"fine") == (200, b"fine")


async def test_a_second_request_waits_for_its_turn_by_misuse() -> None:
    """One answer at a time; what is not read to its end blocks, and closing it ends the session."""
    client, _, below, _ = piped(APP)
    response = await client.request("GET", "/big?mib=8")
    with pytest.raises(Misuse, match="has not been read"):
        await client.request("GET", "/who")
    async with response:
        pass
    assert below.aborted
    with pytest.raises(Unavailable):
        await client.request("GET", "/who")


async def test_an_answer_that_came_whole_can_be_closed_unread() -> None:
    """Closing a complete answer gives the session back."""
    client, *_ = piped(APP)
    response = await client.request("POST", "/echo", (), b"x" * 300_000)
    await asyncio.sleep(0.1)
    async for _ in response.aiter_bytes():
        break
    await asyncio.sleep(0.1)
    async with response:
        pass
    assert await ask(client, "POST", "/echo", b"x") == (200, b"x")


async def test_a_body_that_fails_ends_the_session_and_comes_through() -> None:
    """Half a body must not look like a whole one: the stream is voided, the caller gets his own exception."""

    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise KeyError("mine")

    client, _, below, _ = piped(APP)
    with pytest.raises(KeyError, match="mine"):
        await ask(client, "PUT", "/digest", broken())
    assert below.aborted
    with pytest.raises(Unavailable):
        await client.request("GET", "/who")


async def test_a_cancelled_request_ends_the_session() -> None:
    """Its answer could arrive for the next question."""
    client, _, below, _ = piped(never_answers)
    asking = asyncio.create_task(client.request("GET", "/"))
    await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert below.aborted
    with pytest.raises(Unavailable, match="given up"):
        await client.request("GET", "/")


async def never_answers(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(60)


LAST_WORDS: list[Callable[[HttpClient], None]] = [lambda client: client.lost(), lambda client: client.end_of_input()]


@pytest.mark.parametrize("last_words", LAST_WORDS, ids=["lost", "end"])
async def test_a_session_that_ends_fails_the_one_who_waits(last_words: Callable[[HttpClient], None]) -> None:
    """Nobody waits for ever, sender or reader."""

    async def slow() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(60)

    for body in (None, slow()):
        client, *_ = piped(never_answers)
        asking: asyncio.Task[object] = asyncio.create_task(client.request("PUT", "/", (), body))
        await asyncio.sleep(0.01)
        last_words(client)
        with pytest.raises(Unavailable):
            await asyncio.wait_for(asking, 1)


async def test_closing_the_client_ends_in_order() -> None:
    """`close` says `end`, and the house closes its side too."""
    client, _, below_client, below_house = piped(APP)
    assert await ask(client, "POST", "/echo", b"x") == (200, b"x")
    client.close()
    await asyncio.sleep(0.01)
    assert below_client.ended == [None]
    assert below_house.ended == [None]


async def test_connection_close_in_an_answer_ends_the_session_after_it() -> None:
    """The answer is read whole; the next request learns that the session is over."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": b"bye"})

    client, *_ = piped(app)
    assert await ask(client, "GET", "/") == (200, b"bye")
    with pytest.raises(Unavailable):
        await client.request("GET", "/")


async def test_shutdown_finishes_the_answer_under_way() -> None:
    """A graceful stop lets the running request end, then closes; an idle session closes at once."""
    go_on = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    client, house, _, below_house = piped(app)
    asking = asyncio.create_task(ask(client, "GET", "/"))
    await asyncio.sleep(0.01)
    house.shutdown()
    assert below_house.ended == []
    go_on.set()
    assert await asking == (200, b"done")
    assert below_house.ended == [None]
    _, idle, _, below = piped(app)
    idle.shutdown()
    assert below.ended == [None]


async def test_httpx_speaks_over_the_session() -> None:
    """Users of the SDK get an ordinary httpx client: streams, headers, cookies, errors."""
    async with sealed(APP) as ends, httpx.AsyncClient(transport=SealedHttpx(ends.client.request), base_url="http://house") as client:
        answer = await client.get("/who", params={"a": "b c"}, headers={"x-mine": "1"})
        assert answer.json()["target"] == "/who?a=b+c"
        assert ["x-mine", "1"] in answer.json()["headers"]
        assert (await client.post("/echo", content=b"hello")).content == b"hello"
        assert (await client.post("/digest")).json()["size"] == 0

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(10):
                yield bytes(MIB)

        async with client.stream("POST", "/echo", content=pieces()) as streamed:
            assert sum([len(piece) async for piece in streamed.aiter_bytes()]) == 10 * MIB
        with pytest.raises(httpx.HTTPStatusError):
            (await client.get("/refused")).raise_for_status()
        with pytest.raises(httpx.ProtocolError):
            await client.get("/who", headers=[("x", "a"), ("tally_signal", "b")])
        ends.client.lost()
        with pytest.raises(httpx.ConnectError) as seen:
            await client.get("/who")
        assert isinstance(seen.value.__cause__, TallyError)


async def test_two_clients_share_one_application() -> None:
    """Sessions do not disturb each other."""
    async with sealed(APP, session="one") as one, sealed(APP, session="two") as two:
        answers = await asyncio.gather(*(ask(ends.client, "GET", "/who") for ends in (one, two)))
        assert [b'"session":"%s"' % name in body for name, (_, body) in zip((b"one", b"two"), answers, strict=True)] == [True, True]


async def test_the_transport_keeps_asyncio_s_promises() -> None:
    """What uvicorn, or another protocol class, may ask of a transport."""
    wire = Pipe()
    changes: list[bool] = []
    transport = SealedTransport(wire, {"tally": "s"}, asyncio.get_running_loop(), lambda: changes.append(transport.is_reading()))
    with pytest.raises(AssertionError):
        transport.get_protocol()
    protocol = asyncio.Protocol()
    transport.set_protocol(protocol)
    assert transport.get_protocol() is protocol
    assert transport.get_extra_info("tally") == "s"
    assert not transport.can_write_eof()
    transport.set_write_buffer_limits(1, 0)
    transport.pause_reading()
    transport.pause_reading()
    transport.resume_reading()
    transport.resume_reading()
    assert changes == [False, True]
    transport.write(b"")
    transport.write(bytearray(b"ab"))
    transport.write(memoryview(b"cd"))
    assert (transport.get_write_buffer_size(), wire.frames) == (4, 0)
    await asyncio.sleep(0)
    assert (wire.sent, wire.frames) == (b"abcd", 1)
    transport.write(bytes(COALESCE_BYTES))
    assert wire.frames == 2  # a large write does not wait for the turn to end
    transport.write(b"last")
    transport.close()
    transport.close()
    transport.write(b"too late")
    transport.abort()
    assert wire.sent.endswith(b"last")
    assert (wire.ended, wire.aborted, transport.is_closing(), transport.is_reading()) == ([None], False, True, False)
    other = SealedTransport(below := Pipe(), {}, asyncio.get_running_loop(), lambda: None)
    other.write(b"never sent")
    other.abort()
    await asyncio.sleep(0)
    assert (below.aborted, below.sent, below.ended) == (True, b"", [])


async def test_a_house_can_wait_for_its_last_answers() -> None:
    """`drain` returns when no request is being answered."""
    server = HttpServer(APP)
    await server.drain()
    wire = Pipe()
    stream = wire.above = server.open(wire, None)
    stream.feed(b"GET /who HTTP/1.1\r\nhost: house\r\n\r\n")
    assert server.tasks == 1
    await server.drain()
    assert server.tasks == 0
    await asyncio.sleep(0)
    assert wire.sent.startswith(b"HTTP/1.1 200 OK")


async def test_an_application_that_fails_on_its_own_connection_is_a_500() -> None:
    """A ConnectionResetError is only taken for a disconnect when the other side is really gone."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ConnectionResetError("to somebody else")

    client, *_ = piped(app)
    assert (await ask(client, "GET", "/"))[0] == 500


async def test_a_request_without_a_body_is_the_same_without_llhttp() -> None:
    """What the framing has read becomes the scope, the body and the end that uvicorn makes of llhttp's reading."""
    targets = [b"/", b"/a?", b"/a?b=c&d=%20", b"/%7Ea/b%2Fc", b"/a/../b;x=1"]
    headers = [b"", b"connection: close\r\n", b"Cookie: a=b\r\ncookie:c\t\r\nx-y: \r\n", b"content-length: 0\r\n"]
    for method, target, more in product((b"GET", b"HEAD", b"POST"), targets, headers):
        short, long = [
            await _scope_of(b"%b %b HTTP/1.1\r\nHost: house\r\n%b\r\n" % (method, target, more), whole) for whole in (True, False)
        ]
        assert short == long


async def _scope_of(request: bytes, whole: bool) -> object:
    seen: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        fields = {name: value for name, value in scope.items() if name not in ("state", "headers")}
        seen.set_result((fields, headers, await receive(), stream._http.cycle.keep_alive))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    stream = HttpServer(application).open(Pipe(), "the session")
    if whole:
        stream.feed(request)
    else:
        stream._http.data_received(request)
    return await seen
