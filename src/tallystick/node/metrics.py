"""`/healthz` and Prometheus metrics on a loopback port, off unless `metrics_port` is set.

The figures are counts and states, never a record: what INTERFACE may see. Only `GET` on two paths is answered; the port is bound to
127.0.0.1 and a request whose `Host` is not a loopback name is refused, so that no web page can read it by DNS rebinding.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tallystick.errors import TallyError, Unavailable

MAX_HEAD_BYTES: Final = 4_096
REQUEST_TIMEOUT_S: Final = 5.0
_LOOPBACK: Final = re.compile(rb"(127\.0\.0\.1|localhost)(:[0-9]{1,5})?")
_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"  # the Prometheus text exposition format

GAUGES: Final[Mapping[str, str]] = {
    "pairs_standing": "Pairs that stand.",
    "sessions_open": "Sealed sessions open now.",
    "proposals_open": "Pairings that wait for a human key.",
    "ledger_entries": "Entries in the ledger.",
    "ledger_published": "Entries under the published checkpoint.",
    "ledger_unpublished": "Entries that no published checkpoint covers yet.",
    "publication_failing": "1 while checkpoints cannot be published.",
    "free_bytes": "Free bytes on the disk the home lies on.",
    "gate_programs": "Programs that are connected to gate.sock.",
    "uptime_seconds": "Seconds since the house was started.",
}
COUNTERS: Final[Mapping[str, str]] = {
    "datagrams": "UDP datagrams that reached the process.",
    "knocks_admitted": "Knocks that were answered.",
    "sessions_confirmed": "Sessions whose first sealed frame verified.",
    "signals_allowed": "Commands that were allowed.",
    "signals_refused": "Commands that were refused.",
    "commands_not_taken": "Commands that were turned away: too many at once, or no room on the disk.",
    "gate_allowed": "Signals that the gate allowed.",
    "gate_held": "Signals that the gate held for a human.",
    "gate_refused": "Signals that the gate refused, or did not believe.",
    "gate_unknown": "Signals of keys that nobody knows.",
    "gate_limited": "Signals that were not taken: their key speaks more often than it may.",
    "sessions_cut": "Sessions cut for breaking the protocol.",
    "bytes_in": "Bytes received in sealed frames.",
    "bytes_out": "Bytes sent in sealed frames.",
}


class _Figures(Collector):
    def __init__(self, read: Callable[[], Mapping[str, float]]) -> None:
        self._read = read

    def collect(self) -> list[Metric]:
        values = self._read()
        return [
            *(GaugeMetricFamily(f"tallystick_{name}", doc, value=values.get(name, 0)) for name, doc in GAUGES.items()),
            *(CounterMetricFamily(f"tallystick_{name}", doc, value=values.get(name, 0)) for name, doc in COUNTERS.items()),
        ]


class MetricsServer:
    """Serves the two paths. `read` gives the figures by name; `healthy` says whether the house still takes commands."""

    def __init__(self, read: Callable[[], Mapping[str, float]], healthy: Callable[[], bool]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Figures(read))
        self._healthy = healthy
        self._server: asyncio.Server | None = None

    async def start(self, port: int) -> int:
        """Listen on 127.0.0.1; returns the port taken. Raises: Unavailable: the port is taken."""
        try:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=MAX_HEAD_BYTES)
        except OSError as error:
            raise Unavailable(f"cannot open 127.0.0.1:{port} for metrics: {error.strerror}", "choose another metrics_port, or 0") from None
        taken: int = self._server.sockets[0].getsockname()[1]
        return taken

    async def stop(self) -> None:
        """Close the port."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), REQUEST_TIMEOUT_S)
            try:
                status, body = self._answer(head)
            except TallyError as error:
                status, body = "503 Service Unavailable", error.message.encode() + b"\n"
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: {_TEXT}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
            )
            await writer.drain()
        except (OSError, EOFError, asyncio.LimitOverrunError):
            pass  # half a head, too long a one, or nobody there any more: no answer
        finally:
            writer.close()

    def _answer(self, head: bytes) -> tuple[str, bytes]:
        line, _, rest = head.partition(b"\r\n")
        hosts = [field[5:].strip() for field in rest.split(b"\r\n") if field.lower().startswith(b"host:")]
        if len(hosts) != 1 or not _LOOPBACK.fullmatch(hosts[0]):
            return "403 Forbidden", b"ask 127.0.0.1\n"
        match line.split(b" "):
            case [b"GET", b"/metrics", _]:
                return "200 OK", generate_latest(self._registry)
            case [b"GET", b"/healthz", _]:
                return ("200 OK", b"ok\n") if self._healthy() else ("503 Service Unavailable", b"the ledger has stopped\n")
            case [b"GET", _, _]:
                return "404 Not Found", b"/healthz or /metrics\n"
            case _:
                return "405 Method Not Allowed", b"GET only\n"
