"""Telling somebody of what waits: what is told, how often, and that nothing waits for it."""

import asyncio
import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from tallystick.errors import Misuse
from tallystick.node import notify
from tallystick.node.notify import MAX_WAITING, Notifier, check_url
from tallystick.pair.pairing import PairType
from tests.node.release_scene import Desk, with_desk


def answering(*answers: bytes) -> tuple[int, list[bytes]]:
    """A port that takes one request after the other, and what was asked there."""
    server, asked = socket.create_server(("127.0.0.1", 0)), []

    def serve() -> None:
        for answer in answers:
            connection, _ = server.accept()
            with connection:
                request = b""
                while not request.endswith(b"}"):
                    request += connection.recv(65_536)
                asked.append(request)
                connection.sendall(answer)
        server.close()

    threading.Thread(target=serve, daemon=True).start()
    return server.getsockname()[1], asked


def told(desk: Desk, notifier: Notifier, since: int) -> list[dict[str, Any]]:
    found = [notifier.notice(row) for row in desk.store.entries(since, kinds=notify.KINDS, limit=1000)]
    return [each for each in found if each is not None]


def test_what_is_told_names_nothing(tmp_path: Path) -> None:
    """The proposal, its risk, class and verb; of a pairing its id and type. No target, label, address or content."""

    async def act(desk: Desk) -> None:
        notifier, before = Notifier(desk.here.estate.house, (), ""), desk.store.size()
        proposal = await desk.put(desk.introduce("very-personal-camera"), "very-personal.txt", b"very personal")
        row = desk.here.estate.propose("laptop-of-jean", PairType.INPUT)
        held, pairing = told(desk, notifier, before)
        house = str(desk.here.estate.house.house_id)
        assert held | {"time_ns": 0} == {
            "house": house, "time_ns": 0, "event": "held", "id": proposal, "risk": "medium", "class": "sensor", "verb": "archive.put",
        }  # fmt: skip
        assert pairing | {"time_ns": 0} == {
            "house": house, "time_ns": 0, "event": "pairing", "id": row.pairing.hex()[:8], "type": "INPUT",
        }  # fmt: skip
        assert not {"personal", "jean"} & set(json.dumps([held, pairing]).replace("-", " ").split())

    with_desk(tmp_path, act)


def test_it_is_told_once_and_what_was_before_is_not(tmp_path: Path) -> None:
    """By the program and by the address, one after the other; a program that fails and an address that answers no 2xx are counted."""
    port, asked = answering(b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 302 Found\r\nlocation: http://192.0.2.1/\r\n\r\n")

    async def act(desk: Desk) -> None:
        camera = desk.introduce("camera")
        await desk.put(camera, "before.txt")
        command = ("/bin/sh", "-c", f"cat >> {tmp_path}/told")
        notifier = Notifier(desk.here.estate.house, command, f"http://127.0.0.1:{port}/hook?x=1")
        work = asyncio.ensure_future(notifier.run())
        await asyncio.sleep(0)
        first = await desk.put(camera, "one.txt")
        while notifier.sent + notifier.failed < 2:
            await asyncio.sleep(0.02)
        second = await desk.put(camera, "two.txt")
        while notifier.sent + notifier.failed < 4:
            await asyncio.sleep(0.02)
        work.cancel()
        assert [json.loads(each.partition(b"\r\n\r\n")[2])["id"] for each in asked] == [first, second]
        assert asked[0].startswith(b"POST /hook?x=1 HTTP/1.1\r\n")
        assert b"application/json" in asked[0]
        assert (tmp_path / "told").read_text().count(f'"id":{first},') == 1
        assert (notifier.sent, notifier.failed) == (3, 1)

    with_desk(tmp_path, act)


def test_nobody_to_tell_is_no_work(tmp_path: Path) -> None:
    """Without a program and an address nothing runs; with ones that are not there the house goes on."""

    async def act(desk: Desk) -> None:
        await asyncio.wait_for(Notifier(desk.here.estate.house, (), "").run(), 5)
        notifier = Notifier(desk.here.estate.house, ("/no/such/program",), "http://127.0.0.1:1/")
        work = asyncio.ensure_future(notifier.run())
        await asyncio.sleep(0)
        proposal = await desk.put(desk.introduce("camera"))
        while notifier.failed < 2:
            await asyncio.sleep(0.02)
        work.cancel()
        assert (await desk.approve(proposal)).status == 200

    with_desk(tmp_path, act)


def test_a_crowd_is_not_told_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most so many wait to be told; the inbox has them all."""
    monkeypatch.setattr(notify, "MAX_WAITING", 3)

    async def act(desk: Desk) -> None:
        notifier = Notifier(desk.here.estate.house, ("/bin/true",), "")
        camera = desk.introduce("camera")
        for n in range(5):
            await desk.put(camera, f"{n}.txt")
        notifier._look()
        assert len(notifier._waiting) == 3
        notifier._look()
        assert len(notifier._waiting) == 3
        assert len(desk.waiting()) == 5
        assert MAX_WAITING == 64

    with_desk(tmp_path, act)


@pytest.mark.parametrize("url", ["http://192.0.2.7:8080/tally", "https://example.org", "http://[::1]:9/x?y=z", ""])
def test_addresses_that_can_be_told(url: str) -> None:
    """Plain or TLS, by name or number."""
    assert check_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/",
        "file:///etc/passwd",
        "http://",
        "http:///x",
        "x",
        "http://a b/",
        "http://u:p@x/",
        "http://x:0/",
        "http://x:99999/",
        "http://x/#f",
        "http://x\r\n/",
        "http://é/",
    ],
)
def test_addresses_that_are_none(url: str) -> None:
    """Found out at the start of the house."""
    with pytest.raises(Misuse, match="notify_url"):
        check_url(url)
