"""Who is told of what waits, and does not want to hear the end."""

import asyncio
import socket
import threading
from pathlib import Path

import pytest

from tallystick.node import notify
from tallystick.node.notify import Notifier
from tests.node.release_scene import Desk, with_desk


def test_an_address_that_drips_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte of an answer now and then: each is within the time, and all of them never are."""
    monkeypatch.setattr(notify, "TIMEOUT_S", 1.0)
    server, over = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def drip() -> None:
        connection, _ = server.accept()
        with connection:
            while not over.wait(0.2):
                try:
                    connection.sendall(b"H")
                except OSError:
                    return

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()

    async def act(desk: Desk) -> None:
        notifier = Notifier(desk.here.estate.house, (), f"http://127.0.0.1:{server.getsockname()[1]}/")
        try:
            async with asyncio.timeout(60):
                await notifier._tell({"event": "held"})
            assert (notifier.sent, notifier.failed) == (0, 1)
        finally:
            over.set()

    with_desk(tmp_path, act)
    thread.join(10)
    server.close()
