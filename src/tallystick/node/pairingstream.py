"""The sealed stream of a ceremony, at the client: messages come in and wait for their turn, messages go out."""

import asyncio
import time
from typing import Final

from tallystick.channel.event import Confirmed, End, Event, Pairing, Pong
from tallystick.channel.session import Session
from tallystick.errors import Unavailable
from tallystick.node.connection import Connection
from tallystick.node.lane import Dialled
from tallystick.pair.message import Reason
from tallystick.pair.pairing import Role

MAX_BACKLOG: Final = 16
_END_S: Final = 1.0


class UnconfirmedError(Unavailable):
    """A connection opened and ended before the house had proven itself on it."""


class PairingStream:
    """One stream of one invite.

    Attributes: inbox: messages of the house, None at the end of the stream, a Reason when a person gave up.  pong: the house's pair
        time and when, by the system clock, the question left and the answer came.
    """

    def __init__(self, dialled: Dialled) -> None:
        """Takes the connection over; `start` uses it."""
        self.inbox: asyncio.Queue[bytes | Reason | None] = asyncio.Queue()
        self.pong: tuple[int, int, int] | None = None
        self._session = Session.of_invite(role=Role.CLIENT, handshake=dialled.handshake, now_ns=time.time_ns())
        self._connection = Connection(self._session, dialled.opened, time.time_ns)
        self._confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def handshake_hash(self) -> bytes:
        """32 bytes that name this connection."""
        return self._session.handshake_hash

    async def start(self) -> None:
        """Say the first word, and wait until the house has proven that it made the invite. Raises: Unavailable."""
        await self._connection.start(self)
        self._connection.write(self._session.start())
        await self._confirmed

    def send(self, message: bytes) -> None:
        """A message of the ceremony; nothing when the stream is over."""
        if not self._connection.over:
            self._connection.write(self._session.send_pairing(message))

    async def end(self) -> None:
        """End in order, or after a second without."""
        if not self._connection.over:
            self._connection.end(None)
            await asyncio.wait([self._connection.closed], timeout=_END_S)
            self._connection.cut("no-end")

    # --- What comes (connection.Above) -----------------------------------------------------------------------------------

    def on_event(self, event: Event) -> None:
        """Messages of the ceremony wait for their turn."""
        match event:
            case Confirmed():
                self._confirmed.set_result(None)
            case Pong(time_ns=time_ns, sent_ns=sent_ns):
                self.pong = (time_ns, sent_ns, time.time_ns())
            case Pairing(message=message):
                if self.inbox.qsize() < MAX_BACKLOG:
                    self.inbox.put_nowait(message)
                else:
                    self._connection.cut("limits")
            case End():
                self._connection.end(None)
            case _:
                pass

    def pause_writing(self) -> None:
        """The ceremony's few messages fit into any buffer."""

    def resume_writing(self) -> None:
        """See `pause_writing`."""

    def lost(self, reason: str) -> None:
        """The connection is over; what came before is still read."""
        if not self._confirmed.done():
            hint = "try again with a new invite"
            self._confirmed.set_exception(UnconfirmedError("the house did not prove itself on this connection", hint))
        self.inbox.put_nowait(None)
