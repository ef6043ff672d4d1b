"""One TCP connection with a sealed session on it: bytes from the socket to events, events' answers back to the socket.

The session (channel/session.py) has no socket and no clock; this has both and no opinion. What stands above is told events in
their order and is the one that knows what they mean. It also keeps the promises of `http.Wire`, so HTTP can stand on it.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol, cast

from tallystick.channel.event import Confirmed, Cut, Event, Voided
from tallystick.channel.session import Session
from tallystick.errors import TallyError
from tallystick.net.stream import Opened

FIRST_BYTES: Final = 16_384  # of the buffer, until something fills it
RECEIVE_BYTES: Final = 262_144
HIGH_WATER_BYTES: Final = 1_048_576
MAX_UNREAD_BYTES: Final = 4 * HIGH_WATER_BYTES  # answers stop at the high water; what else is said to one who does not read ends here
LINGER_S: Final = 3.0  # how long a closed side waits for the other's `end`, and for the next byte of what is queued to leave
LAST_WORDS_S: Final = 60.0  # and for all of it
_SECOND_NS: Final = 10**9


class Above(Protocol):
    """What a connection serves. All methods are called from the event loop and return at once."""

    def on_event(self, event: Event) -> None:
        """Something came: never `Cut` or `Voided`, those are `lost`."""

    def pause_writing(self) -> None:
        """Enough is queued."""

    def resume_writing(self) -> None:
        """More may come."""

    def lost(self, reason: str) -> None:
        """The connection is over; called once. `reason`: end, void, lost, aborted, or a word of `CutReason`."""


class Connection(asyncio.BufferedProtocol):
    """A session and its socket. `clock` gives pair time, UTC nanoseconds since 1970."""

    def __init__(self, session: Session, opened: Opened, clock: Callable[[], int]) -> None:
        self.session = session
        self.bytes_in = 0
        self.bytes_out = 0
        self._opened = opened
        self._clock = clock
        self._above: Above | None = None
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray(FIRST_BYTES)
        self._timer: asyncio.TimerHandle | None = None
        self._due_ns = 0  # when the timer rings, by pair time
        self._linger: asyncio.TimerHandle | None = None
        self._early = b""  # what the socket did not take before the loop knew it
        self._handed_over = False
        self._paused = False
        self._reason = ""
        self._over = False
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self, above: Above) -> None:
        """Take the socket over. Events may come before this returns.

        What is written before, and the first that is read, pass by the socket itself: the event loop takes longer to get to know it
        than they to travel.
        """
        self._above = above
        self._read_early()
        if self._over:
            return
        self._handed_over = True
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, sock=self._opened.sock)
        except OSError:  # it was closed while it opened
            self._opened.close()
            self._finish("lost")
            self._gone()
            return
        if self._paused:
            self.pause_reading()
        self._arm()

    def _read_early(self) -> None:
        """What has come already. An error or an end shows itself again, to the event loop."""
        size = 0
        with suppress(OSError):
            size = self._opened.sock.recv_into(self._buffer)
        if size:
            self.buffer_updated(size)

    # --- The socket ------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports keep the promises of asyncio.Transport without being one.
        self._transport = cast("asyncio.Transport", transport)
        if self._over:
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        if self._early:
            self._transport.write(self._early)
            self._early = b""

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.bytes_in += nbytes
        self._deliver(self.session.receive(memoryview(self._buffer)[:nbytes], self._clock()))
        if nbytes == FIRST_BYTES == len(self._buffer):
            self._buffer = bytearray(RECEIVE_BYTES)
        self.flush()
        self._arm()

    def eof_received(self) -> bool:
        self._deliver(self.session.eof())
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._over:
            self._deliver(self.session.eof())
        self._finish("lost" if exc is not None else "end")
        self._gone()

    def pause_writing(self) -> None:
        if self._above is not None:
            self._above.pause_writing()

    def resume_writing(self) -> None:
        if self._above is not None:
            self._above.resume_writing()

    # --- The session -----------------------------------------------------------------------------------------------------

    def _deliver(self, events: list[Event]) -> None:
        for event in events:
            if self._over:
                return
            match event:
                case Cut(reason=reason):
                    self._abort(reason.value.replace(" ", "-"))
                case Voided():
                    self._abort("void")
                case _:
                    if isinstance(event, Confirmed):
                        self._opened.settle()
                    if self._above is not None:
                        self._above.on_event(event)
        if self.session.finished and not self._over:
            self._close()

    def _arm(self) -> None:
        """Have the timer ring when something is due. One that rings too early finds nothing due; so a busy session needs no new one."""
        due_ns = self.session.next_timer()
        if due_ns is None or self._over or (self._timer is not None and self._due_ns <= due_ns):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due_ns = due_ns
        self._timer = asyncio.get_running_loop().call_later(max(due_ns - self._clock(), 0) / _SECOND_NS, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._deliver(self.session.handle_timer(self._clock()))
        self.flush()
        self._arm()

    def write(self, frames: bytes | bytearray | memoryview) -> None:
        """Queue sealed frames, in the order in which the session made them."""
        if not frames or self._over:
            return
        self.bytes_out += len(frames)
        if self._transport is not None:
            self._transport.write(frames)
            return
        sent = 0
        if not self._early:
            with suppress(OSError):  # an error shows itself again, to the event loop
                sent = self._opened.sock.send(frames)
        self._early += bytes(frames[sent:])

    def flush(self) -> None:
        """Send what the session itself has to say: pongs, handshakes."""
        if not self._over:
            self.write(self.session.outgoing())
            if self.unread_bytes > MAX_UNREAD_BYTES:
                self._abort("limits")

    # --- What HTTP needs (http.Wire) -------------------------------------------------------------------------------------

    def send(self, plaintext: bytes) -> None:
        """Seal data and queue it; after the end nothing happens."""
        if not self._over and not self.session.sent_end:
            self.write(self.session.send_data(plaintext))

    def pause_reading(self) -> None:
        """Take no more bytes from the socket: the kernel's window closes, the other side waits."""
        self._paused = True
        if self._transport is not None and not self._over:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on."""
        self._paused = False
        if self._transport is not None and not self._over:
            self._transport.resume_reading()

    def end(self, error: TallyError | None) -> None:
        """Say `end`; the connection closes when the other side has said it too, or after a while. `error`: cut right after it."""
        if self._over:
            return
        if not self.session.sent_end and self.session.confirmed:
            self.write(self.session.send_end())
        if error is not None:
            self._reason = "malformed"
            self._close()
        elif self.session.finished:
            self._close()
        elif self._linger is None:
            self._linger = asyncio.get_running_loop().call_later(LINGER_S, self._close)

    def abort(self) -> None:
        """Close at once: whatever was unfinished is void."""
        self._abort("aborted")

    def cut(self, reason: str, *, unread: bool = True) -> None:
        """Close at once for a reason of ours (a word for the ledger). `unread`: what was queued still leaves."""
        if not unread and self.unread_bytes:
            self._abort(reason)
        elif not self._over:
            self._reason = reason
            self._close()

    @property
    def unread_bytes(self) -> int:
        """How much is queued here because the other side takes no more."""
        return len(self._early) if self._transport is None else self._transport.get_write_buffer_size()

    def _close(self) -> None:
        """Let what is queued leave, then close."""
        if self._transport is None:
            self._abort(self._reason or "end")
        elif not self._over:
            self._transport.close()
            if self.unread_bytes:
                loop = asyncio.get_running_loop()
                loop.call_later(LINGER_S, self._give_up, self.unread_bytes, loop.time() + LAST_WORDS_S)
            self._finish(self._reason or "end")

    def _give_up(self, before: int, until: float) -> None:
        """Whoever takes no byte for so long takes none at all: without this a closed connection would stay as long as he likes."""
        left, loop = self.unread_bytes, asyncio.get_running_loop()
        if left >= before or loop.time() >= until:
            self.drop()
        elif left:
            loop.call_later(LINGER_S, self._give_up, left, until)

    def drop(self) -> None:
        """What a connection that is over still has to deliver is not delivered."""
        if self._over and self.unread_bytes and self._transport is not None:
            self._transport.abort()

    def _gone(self) -> None:
        """The socket is closed."""
        if not self.gone.done():
            self.gone.set_result(None)

    def _abort(self, reason: str) -> None:
        if not self._over:
            if self._transport is not None:
                self._transport.abort()
            elif not self._handed_over:  # else `connection_made` will find that it is over
                self._opened.close()
                self._gone()
            self._finish(reason)

    def _finish(self, reason: str) -> None:
        if self._over:
            return
        self._over = True
        for timer in (self._timer, self._linger):
            if timer is not None:
                timer.cancel()
        if self._above is not None:
            self._above.lost(reason)
        if not self.closed.done():
            self.closed.set_result(None)

    @property
    def over(self) -> bool:
        """Nothing is read or written any more."""
        return self._over
