"""Telling somebody that something waits: a program the owner names, a web address, or both (docs/approvals.md).

Each proposal that comes to wait is told once, as one JSON object without anything personal: which entry, its risk, class and verb; never a
target, a name or a content. What was told while the house was off, or in too great a number, is not made up for: the inbox has it all.
The gate never waits for it; a notice that fails is logged and not repeated.
"""

import asyncio
import http.client
import json
import logging
import socket
import subprocess
import threading
from collections import deque
from contextlib import closing, suppress
from typing import Final
from urllib.parse import urlsplit

from tallystick.errors import Malformed, Misuse, TallyError
from tallystick.gate.signal import parse_signal
from tallystick.ledger.event import Event, Kind
from tallystick.node.machine import Machine
from tallystick.storage.rows import EntryRow

LOOK_S: Final = 1.0
TIMEOUT_S: Final = 5.0
MAX_WAITING: Final = 64
MAX_LOOKED: Final = 1_000
KINDS: Final = (Kind.PROPOSAL, Kind.PAIRING_PROPOSED)

log = logging.getLogger("tallystick")


class Notifier:
    """One for a house. `run` until it is cancelled."""

    def __init__(self, machine: Machine, command: tuple[str, ...], url: str) -> None:
        """Raises: Misuse: the address is none."""
        self._machine = machine
        self._command = command
        self._url = check_url(url)
        self._seen = 0
        self._waiting: deque[dict[str, object]] = deque()
        self.sent = self.failed = 0

    async def run(self) -> None:
        """Look for what came to wait, and tell of it, one after the other."""
        if not self._command and not self._url:
            return
        self._seen = self._machine.store.size()
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                self._look()
            except TallyError as error:
                log.warning("nobody is told of what waits", extra={"reason": error.message})
            while self._waiting:
                await self._tell(self._waiting.popleft())

    def _look(self) -> None:
        store = self._machine.store
        size = store.size()
        rows = store.entries(self._seen, size, kinds=KINDS, limit=MAX_LOOKED) if size > self._seen else ()
        self._seen = size
        for row in rows:
            if len(self._waiting) >= MAX_WAITING:
                log.warning("more waits than is told", extra={"entry": row.index})
                return
            if (notice := self.notice(row)) is not None:
                self._waiting.append(notice)

    def notice(self, row: EntryRow) -> dict[str, object] | None:
        """What is told of an entry; None: nothing."""
        event, house = row.event, str(self._machine.house_id)
        common: dict[str, object] = {"house": house, "time_ns": event.time_ns}
        if event.kind is Kind.PAIRING_PROPOSED:
            if event.text("role") != "house":
                return None
            return {**common, "event": "pairing", "id": event.blob("pair").hex()[:8], "type": event.text("pair_type")}
        signal = self._signal(row.index)
        if signal is None:
            return None
        claims = parse_signal(signal.blob("signal")).claims
        return {**common, "event": "held", "id": row.index, "risk": event.text("risk"), "class": claims.signal_class, "verb": claims.verb}

    def _signal(self, entry: int) -> Event | None:
        proposal = self._machine.store.gate.proposal(entry)
        row = None if proposal is None or proposal.signal_entry is None else self._machine.store.entry(proposal.signal_entry)
        return None if row is None else row.event

    async def _tell(self, notice: dict[str, object]) -> None:
        body = json.dumps(notice, separators=(",", ":")).encode()
        for what, tell in (("command", self._run), ("url", self._post)):
            if not (self._command if what == "command" else self._url):
                continue
            try:
                await asyncio.to_thread(tell, body)
                self.sent += 1
            except (OSError, http.client.HTTPException, subprocess.SubprocessError, ValueError) as error:
                self.failed += 1
                log.warning("a notice was not delivered", extra={"what": what, "reason": f"{type(error).__name__}: {error}"[:200]})

    def _run(self, body: bytes) -> None:
        """Raises: OSError, SubprocessError: it cannot be started, took too long, or said that it failed."""
        subprocess.run(
            self._command,
            input=body,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            check=True,
            start_new_session=True,
            cwd="/",
        )

    def _post(self, body: bytes) -> None:
        """Raises: OSError, HTTPException: nobody is there, or it answered no 2xx. No redirect is followed."""
        parts = urlsplit(self._url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        with closing(kind(parts.hostname or "", parts.port, timeout=TIMEOUT_S)) as connection:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.connect()
            # The socket's own limit begins anew with each byte; one who sends a byte now and then would be waited for without end.
            over = threading.Timer(TIMEOUT_S, _hang_up, (connection.sock,))
            over.start()
            try:
                connection.request("POST", target, body, {"content-type": "application/json", "connection": "close"})
                status = connection.getresponse().status
            finally:
                over.cancel()
            if not 200 <= status < 300:
                raise http.client.HTTPException(f"answered {status}")


def _hang_up(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def check_url(url: str) -> str:
    """A web address that notices can be posted to, or an empty text. Raises: Misuse."""
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not parts.fragment and url.isascii()
        if not good or parts.username is not None or any(char <= " " for char in url):
            raise Malformed("not an address")
    except (ValueError, Malformed):
        raise Misuse(
            f"notify_url is {url[:80]!r}", "notify_url is http://HOST[:PORT]/PATH or https://..., without a name or password"
        ) from None
    return url
