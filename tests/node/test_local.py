"""house.sock: its owner and root, one request in one frame, a closed list of verbs."""

import asyncio
import json
import os
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick.errors import Malformed, Misuse, Refused, TallyError, Unavailable, Unproven
from tallystick.node import local
from tallystick.node.local import LocalServer, call, error_body, error_from_body, follow
from tests.support import missing

LENGTH = struct.Struct(">I")
ERRORS: list[TallyError] = [kind("what", "how") for kind in (Malformed, Unproven, Refused, Misuse, Unavailable)]


async def echo(args: Mapping[str, Any]) -> Any:
    return dict(args)


async def fails(args: Mapping[str, Any]) -> Any:
    raise ERRORS[int(args["which"])]


async def defect(args: Mapping[str, Any]) -> Any:
    raise ValueError("a bug")


async def long(args: Mapping[str, Any]) -> Any:
    return "x" * int(args["size"])


class Counting:
    """A follower that says how many are being followed."""

    def __init__(self) -> None:
        self.open = 0

    async def __call__(self, args: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        self.open += 1
        try:
            for number in range(int(args.get("some", 0))):
                yield number
            if args.get("then") == "fail":
                raise Unavailable("the ledger has stopped")
            if args.get("then") == "end":
                return
            while True:
                await asyncio.sleep(60)
                yield "late"
        finally:
            self.open -= 1


HANDLERS = {"echo": echo, "fails": fails, "defect": defect, "long": long}


@asynccontextmanager
async def serving(path: Path, counting: Counting | None = None) -> AsyncIterator[Path]:
    server = LocalServer(path, HANDLERS, {"follow": counting or Counting()})
    await server.start()
    try:
        yield path
    finally:
        await server.stop()


def run(scene: Coroutine[Any, Any, Any], *, on: Callable[..., Any] = asyncio.run) -> Any:
    return on(asyncio.wait_for(scene, 30)) if on is uvloop.run else on(scene)


async def raw(path: Path, data: bytes, *, eof: bool = True) -> bytes:
    """Everything that comes back for these bytes."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        writer.write(data)
        if eof:
            writer.write_eof()
        return await asyncio.wait_for(reader.read(), 15)
    except ConnectionError:
        return b""
    finally:
        writer.close()


def frame(value: Any) -> bytes:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return LENGTH.pack(len(data)) + data


def answer_of(data: bytes) -> dict[str, Any]:
    (length,) = LENGTH.unpack(data[:4])
    assert len(data) == 4 + length, "one answer, and nothing behind it"
    found: dict[str, Any] = json.loads(data[4:])
    return found


@pytest.mark.parametrize("on", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_verb_is_asked_and_answered(tmp_path: Path, on: Callable[..., Any]) -> None:
    """What the handler returns comes back; its errors come back as what they were."""

    async def scene() -> None:
        async with serving(tmp_path / "house.sock") as path:
            assert await call(path, "echo", {"a": [1, "ü", None]}) == {"a": [1, "ü", None]}
            for number, error in enumerate(ERRORS):
                with pytest.raises(type(error)) as caught:
                    await call(path, "fails", {"which": number})
                assert (caught.value.message, caught.value.hint) == ("what", "how")

    run(scene(), on=on)


def test_the_socket_is_its_owners(tmp_path: Path) -> None:
    """0600 whatever the umask, and the umask is what it was."""

    async def scene() -> None:
        async with serving(tmp_path / "house.sock") as path:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert not path.exists()

    old = os.umask(0)
    try:
        asyncio.run(scene())
    finally:
        assert os.umask(old) == 0


ANOTHER = """
import os, socket, sys
os.setgroups([]); os.setgid(int(sys.argv[3])); os.setuid(int(sys.argv[3]))
s = socket.socket(socket.AF_UNIX); s.settimeout(10); s.connect(sys.argv[1])
try:
    s.sendall(bytes.fromhex(sys.argv[2])); print(s.recv(65536).hex())
except OSError:
    print("")
"""


@pytest.mark.parametrize("on", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_another_uid_gets_no_byte(on: Callable[..., Any]) -> None:
    """Even where the socket's mode would let it in: the kernel says whose process it is, and nothing is read or answered."""
    if os.geteuid() != 0:
        missing("a second uid needs root")
    heard: list[Mapping[str, Any]] = []

    async def listen(args: Mapping[str, Any]) -> Any:
        heard.append(args)
        return "heard"

    async def ask(path: Path, uid: int) -> bytes:
        command = [sys.executable, "-c", ANOTHER, str(path), frame({"verb": "listen", "args": {}}).hex(), str(uid)]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True, cwd="/")
        return bytes.fromhex(done.stdout.decode().strip())

    async def scene(path: Path) -> None:
        server = LocalServer(path, {"listen": listen}, {})
        await server.start()
        try:
            path.chmod(0o777)
            assert await ask(path, 65534) == b""
            assert heard == []
            assert answer_of(await ask(path, 0)) == {"ok": True, "result": "heard"}
        finally:
            await server.stop()

    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        run(scene(Path(folder) / "house.sock"), on=on)


MALFORMED: list[tuple[str, bytes]] = [
    ("not JSON", b"hello"),
    ("half JSON", b'{"verb": "echo"'),
    ("two values", b"{}{}"),
    ("not UTF-8", b'{"verb": "\xff"}'),
    ("a list", b"[]"),
    ("a number", b"7"),
    ("null", b"null"),
    ("empty", b""),
    ("no verb", b'{"args": {}}'),
    ("verb a number", b'{"verb": 7}'),
    ("args a list", b'{"verb": "echo", "args": []}'),
    ("args null", b'{"verb": "echo", "args": null}'),
    ("deep", b"[" * 30_000),
    ("deep inside", b'{"verb": "echo", "args": {"a": ' + b"[" * 30_000 + b"]" * 30_000 + b"}}"),
]


@pytest.mark.parametrize("request_", [row[1] for row in MALFORMED], ids=[row[0] for row in MALFORMED])
def test_what_is_no_request_is_malformed(tmp_path: Path, request_: bytes) -> None:
    """One object with a verb and arguments, or it is told what is wrong with it."""

    async def scene() -> bytes:
        async with serving(tmp_path / "house.sock") as path:
            return await raw(path, frame(request_))

    answer = answer_of(asyncio.run(scene()))
    assert (answer["ok"], answer["error"]["kind"]) == (False, "malformed")


def test_a_frame_has_a_limit(tmp_path: Path) -> None:
    """A length beyond 64 KiB is refused before its bytes are read."""

    async def scene() -> tuple[bytes, bytes]:
        async with serving(tmp_path / "house.sock") as path:
            largest = frame({"verb": "echo", "args": {"a": "x" * (65_536 - 35)}})
            assert LENGTH.unpack(largest[:4])[0] == 65_536
            return await raw(path, LENGTH.pack(65_537), eof=False), await raw(path, largest)

    too_long, largest = asyncio.run(scene())
    assert answer_of(too_long)["error"]["kind"] == "malformed"
    assert answer_of(largest)["ok"] is True


@pytest.mark.parametrize("data", [b"", b"\x00", LENGTH.pack(10), LENGTH.pack(10) + b"{}"])
def test_who_leaves_in_the_middle_is_forgotten(tmp_path: Path, data: bytes) -> None:
    """No answer, no harm: the next caller is served."""

    async def scene() -> bytes:
        async with serving(tmp_path / "house.sock") as path:
            answer = await raw(path, data)
            assert await call(path, "echo", {}) == {}
            return answer

    assert asyncio.run(scene()) == b""


def test_who_says_nothing_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that connects and is silent is hung up on."""
    monkeypatch.setattr(local, "REQUEST_TIMEOUT_S", 0.05)

    async def scene() -> bytes:
        async with serving(tmp_path / "house.sock") as path:
            return await raw(path, b"\x00\x00", eof=False)

    assert asyncio.run(scene()) == b""


@pytest.mark.parametrize("verb", ["", "Echo", "echo ", "__class__", "x" * 50_000])
def test_the_verbs_are_a_closed_list(tmp_path: Path, verb: str) -> None:
    """Every other verb is Misuse, named shortly."""

    async def scene() -> None:
        async with serving(tmp_path / "house.sock") as path:
            with pytest.raises(Misuse) as caught:
                await call(path, verb, {})
            assert len(caught.value.message) < 100

    asyncio.run(scene())


def test_a_defect_is_told_without_its_details(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An error that is none of the five: logged here, `unavailable` there, and the next caller is served."""

    async def scene() -> None:
        async with serving(tmp_path / "house.sock") as path:
            with pytest.raises(Unavailable) as caught:
                await call(path, "defect", {})
            assert "a bug" not in str(caught.value)
            assert await call(path, "echo", {}) == {}

    with caplog.at_level("ERROR", logger="tallystick"):
        asyncio.run(scene())
    assert "a defect of ours" in caplog.text


def test_an_answer_may_be_long(tmp_path: Path) -> None:
    """A page of the longest entries passes; what is longer still is refused, not cut short."""

    async def scene() -> None:
        async with serving(tmp_path / "house.sock") as path:
            assert len(await call(path, "long", {"size": 4 << 20})) == 4 << 20
            with pytest.raises(Refused):
                await call(path, "long", {"size": local.MAX_ANSWER_BYTES})

    asyncio.run(scene())


def test_a_follower_gets_frame_after_frame(tmp_path: Path) -> None:
    """Each item is a frame; an error is the last one; an end is the end."""

    async def scene() -> None:
        async with serving(tmp_path / "house.sock") as path:
            assert [item async for item in follow(path, "follow", {"some": 300, "then": "end"})] == list(range(300))
            got = []
            with pytest.raises(Unavailable, match="stopped"):
                async for item in follow(path, "follow", {"some": 2, "then": "fail"}):
                    got.append(item)
            assert got == [0, 1]

    asyncio.run(scene())


@pytest.mark.parametrize("some", [0, 3])
def test_a_follower_that_leaves_is_let_go(tmp_path: Path, some: int) -> None:
    """Also when nothing happens in the ledger: nothing is followed for a caller that has gone."""

    async def scene() -> None:
        counting = Counting()
        async with serving(tmp_path / "house.sock", counting) as path:
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(frame({"verb": "follow", "args": {"some": some}}))
            while not counting.open:
                await asyncio.sleep(0.01)
            writer.close()
            await asyncio.wait_for(_until(lambda: counting.open == 0), 5)
            del reader

    asyncio.run(scene())


def test_stopping_hangs_up_on_everybody(tmp_path: Path) -> None:
    """A follower's connection ends, the socket is gone, and stopping again is nothing."""

    async def scene() -> None:
        counting = Counting()
        server = LocalServer(tmp_path / "house.sock", HANDLERS, {"follow": counting})
        await server.start()
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "house.sock"))
        writer.write(frame({"verb": "follow"}))
        await _until(lambda: counting.open == 1)
        await asyncio.wait_for(server.stop(), 5)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        await _until(lambda: counting.open == 0)
        assert not (tmp_path / "house.sock").exists()
        await server.stop()
        writer.close()

    asyncio.run(scene())


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    """What a house that died left behind; house.lock says that no other lives."""
    path = tmp_path / "house.sock"

    async def scene() -> None:
        async with serving(path):
            pass
        path.touch()
        async with serving(path):
            assert await call(path, "echo", {"a": 1}) == {"a": 1}

    asyncio.run(scene())


def test_a_path_too_long_is_unavailable(tmp_path: Path) -> None:
    """unix(7) has room for 108 bytes."""
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    with pytest.raises(Unavailable):
        asyncio.run(LocalServer(folder / "house.sock", {}, {}).start())


def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    """Said with what to do about it."""
    with pytest.raises(Unavailable, match="no house is running") as caught:
        asyncio.run(call(tmp_path / "house.sock", "status", {}))
    assert "tally serve" in caught.value.hint


LIES: list[tuple[bytes, type[TallyError]]] = [
    (b"", Unavailable),
    (frame(b"junk"), Malformed),
    (frame(b"[]"), Malformed),
    (frame(b"7"), Malformed),
    (frame(b"\xff"), Malformed),
    (frame(b"[" * 30_000), Malformed),
    (LENGTH.pack(2**32 - 1), Malformed),
    (frame({}), Malformed),
    (frame({"ok": False}), Malformed),
    (frame({"ok": 1, "result": 2}), Malformed),
    (frame({"ok": False, "error": {"kind": "nonsense"}}), Malformed),
    (frame({"ok": False, "error": "no"}), Malformed),
    (frame({"ok": False, "error": {"kind": "refused", "message": 7, "hint": None}}), Refused),
    (frame({"ok": False, "error": {"kind": "unproven", "message": "x" * 9000}}), Unproven),
]


@pytest.mark.parametrize(("lie", "error"), LIES, ids=[str(number) for number in range(len(LIES))])
def test_an_answer_that_is_none_is_an_error_of_ours(tmp_path: Path, lie: bytes, error: type[TallyError]) -> None:
    """Whatever listens on the socket: the caller gets one of the five errors, with a message of a bounded length."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(lie)
        writer.close()

    async def scene() -> None:
        server = await asyncio.start_unix_server(say, path=str(tmp_path / "house.sock"))
        async with server:
            with pytest.raises(error) as caught:
                await call(tmp_path / "house.sock", "status", {})
            assert len(caught.value.message) <= 500

    asyncio.run(scene())


@given(st.sampled_from(ERRORS))
def test_an_error_comes_back_as_what_it_was(error: TallyError) -> None:
    """Kind, message and hint, over the socket and over the door."""
    back = error_from_body(error_body(error))
    assert (type(back), back.message, back.hint) == (type(error), error.message, error.hint)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=60), max_size=4))
def test_any_bytes_harm_nobody(tmp_path: Path, pieces: list[bytes]) -> None:
    """Junk in frames and out of them: one answer or none, and the next caller is served."""

    async def scene() -> None:
        async with serving(tmp_path / "house.sock") as path:
            data = await raw(path, b"".join(frame(piece) for piece in pieces) or b"\x01")
            if data:
                assert answer_of(data)["ok"] is False
            assert await call(path, "echo", {}) == {}

    asyncio.run(scene())


async def _until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.01)
