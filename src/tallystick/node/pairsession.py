"""A session of a pair at its house: the door, the house's checkpoints and telemetry, a severance. It stands on a `Connection`."""

from typing import TYPE_CHECKING

from tallystick.channel.event import Checkpoint, Confirmed, Data, End, Event
from tallystick.channel.event import Telemetry as TelemetryFrame
from tallystick.diode.telemetry import Severed, Telemetry, encode_telemetry, parse_telemetry, sanitise
from tallystick.errors import TallyError
from tallystick.gate.stream import StreamBook
from tallystick.node.checkpointwire import Closed
from tallystick.node.connection import Connection
from tallystick.node.exchange import Exchange
from tallystick.node.http import ServerStream
from tallystick.pair.pairing import Role
from tallystick.passage import knock as knocks
from tallystick.passage.signal import Asker
from tallystick.storage.rows import PairRow

if TYPE_CHECKING:
    from tallystick.node.house import House


class PairSession:
    """A session of a pair. Requests go to the door, checkpoints to the publisher, a severance to the passage."""

    def __init__(self, house: "House", connection: Connection, pair: PairRow, knock: knocks.Connection) -> None:
        self._house = house
        self._connection = connection
        self._knock = knock
        self._stream: ServerStream | None = None
        self._exchange = Exchange(house, connection)
        self._severing = False
        self.pair = pair
        self.asker: Asker = self._asker(pair)
        self.book = StreamBook.of(machine=bytes(pair.subject), handshake_hash=connection.session.handshake_hash)
        self.confirmed = False
        self.recorded = True
        self.under_way: bytes | None = None

    def _asker(self, pair: PairRow) -> Asker:
        return Asker(
            house=self._house.machine.house_id,
            pair=pair.pairing,
            cap=pair.effective,
            key=pair.signing_key,
            session=self._connection.session.handshake_hash,
        )

    def narrow(self, pair: PairRow) -> None:
        """The pair has a narrower type from now on."""
        self.pair = pair
        self.asker = self._asker(pair)

    def cut(self, reason: str) -> None:
        """End the session: the other side broke the protocol, or the pair is no more."""
        self._connection.cut(reason)

    @property
    def over(self) -> bool:
        """Whether the session was cut or has ended."""
        return self._connection.over

    def tell_severed(self) -> None:
        """Say that the pairing has ended, then end."""
        if self.confirmed and not self._connection.over and not self._connection.session.sent_end:
            record = encode_telemetry(Severed(pairing_id=self.pair.pairing))
            self._connection.write(self._connection.session.send_telemetry(record))
        # The rest of an answer that fills every buffer on the way is not for a stranger, and the word would come after it.
        self._connection.cut("severed", unread=False)

    def tell(self, record: Telemetry) -> None:
        """Report something, as far as the pair's type may see it. Who does not read is told nothing: a report is not worth the memory."""
        shown = sanitise(record, self.pair.effective)
        connection = self._connection
        if shown is None or not self.confirmed or connection.over or connection.session.sent_end or connection.unread_bytes:
            return
        connection.write(connection.session.send_telemetry(encode_telemetry(shown)))

    def shutdown(self) -> None:
        """Answer what is under way, then end in order."""
        if self._stream is not None:
            self._stream.shutdown()
        else:
            self._connection.end(None)

    @property
    def bytes_in(self) -> int:
        """Bytes received in sealed frames."""
        return self._connection.bytes_in

    @property
    def bytes_out(self) -> int:
        """Bytes sent in sealed frames."""
        return self._connection.bytes_out

    def on_event(self, event: Event) -> None:
        """What the connection brings."""
        match event:
            case Confirmed():
                self._confirm()
            case Data(data=data):
                if self._stream is not None:
                    self._stream.feed(data)
            case End():
                if self._stream is not None:
                    self._stream.end_of_input()
                else:
                    self._connection.end(None)
            case TelemetryFrame(record=record):
                self._severed(record)
            case Checkpoint(message=message):
                self._exchange.take(message, self.pair, self.asker)
            case _:
                pass

    def _confirm(self) -> None:
        """Key confirmation: the session is recorded, then its requests are read. The ledger keeps the order of its callers, so
        whatever a request brings stands behind these entries; if they cannot be written, neither can anything else."""
        house = self._house
        if not house.hears(self.pair.pairing):
            self._connection.cut("severed")
            return
        room = house.porter.session(self.pair.pairing, self.pair.effective)
        if room is None:
            self._connection.cut("limits")  # a session is entries too; nothing is recorded of this one
            return
        self._connection.flush()  # the pong: nothing the client waits for depends on what follows
        self.confirmed = True
        house.session_confirmed(self)
        pair, session = self.pair, self._connection.session
        self.recorded = room and not house.closing.moved  # a house that has moved records nothing more; it tells where it went
        if self.recorded:
            walk = knocks.confirmed(
                self._knock,
                pair=pair.pairing,
                pair_type=pair.effective.value,
                suite=pair.suite.value,
                stream=session.stream,
                now_ns=house.clock(),
            )
            house.spawn(house.effects.run(walk, urgent=house.machine.reserve.low), self._unrecorded)
        if not house.closing.reason and pair.stands:
            self._stream = house.http.open(self._connection, self)  # else checkpoints are all that is looked at

    def _unrecorded(self, error: BaseException) -> None:
        self._connection.cut("unrecorded")

    def _severed(self, record: bytes) -> None:
        try:
            told = parse_telemetry(record, receiver=Role.HOUSE)
        except TallyError:
            self._connection.cut("malformed")
            return
        if isinstance(told, Severed) and told.pairing_id == self.pair.pairing and not self._severing:
            self._severing = True  # thousands of these frames are one severance
            self._house.spawn(self._house.sever(self.pair.pairing, by="peer", reason="peer", tell=False, actor="pair"))

    def tell_closed(self, closed: Closed) -> None:
        """Say that the house takes no commands any more, then end: an answer that is under way is none any more."""
        if self.confirmed:
            self._exchange.say(closed)
        self._connection.cut("closed", unread=False)

    def pause_writing(self) -> None:
        """The socket has enough."""
        if self._stream is not None:
            self._stream.pause_writing()

    def resume_writing(self) -> None:
        """The socket wants more."""
        if self._stream is not None:
            self._stream.resume_writing()

    def lost(self, reason: str) -> None:
        """The connection is over."""
        if self._stream is not None:
            self._stream.lost()
        self._house.session_lost(self, reason)
        unfinished = self.under_way
        if self.confirmed and self.recorded:
            voided = None if reason == "end" or unfinished is None else (self.book.stream, unfinished)
            self._house.spawn(
                self._house.effects.run(
                    knocks.ended(
                        session=self._connection.session.handshake_hash,
                        pair=self.pair.pairing,
                        reason=reason,
                        bytes_in=self.bytes_in,
                        bytes_out=self.bytes_out,
                        now_ns=self._house.clock(),
                        voided=voided,
                    )
                )
            )
