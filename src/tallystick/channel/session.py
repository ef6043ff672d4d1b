"""A sealed stream, without a socket (docs/spec/stream.md).

    session = Session.of_pair(role=Role.CLIENT, handshake=answered.handshake, suite=..., static=..., ephemeral=fresh, now_ns=now)
    write(session.start())                                 # the client's one empty ping; the house has no first word
    for event in session.receive(read(), now): ...         # Confirmed, Data, End, ... Cut
    write(session.outgoing())                              # what the session itself has to say: pongs, handshakes
    write(session.send_data(b"GET / HTTP/1.1 ..."))        # everything this returns goes out in this order
    session.next_timer(), session.handle_timer(now)

Bytes and `now_ns` (pair time) go in, events and bytes come out. `Cut` and `Voided` are last words: after them nothing is read and nothing
can be sent. The one callable, `ephemeral`, draws a key pair for a rekey; it is called at most once for each.

What may come when, is a table: `_ALLOWED` by kind of session, `rekey.TRANSITIONS` for handshakes. A missing cell cuts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Self

from tallystick.channel.datagram import SECOND_NS
from tallystick.channel.event import (
    Checkpoint,
    Confirmed,
    Cut,
    CutReason,
    Data,
    End,
    Event,
    Pairing,
    Pong,
    Rekeyed,
    Telemetry,
    Voided,
)
from tallystick.channel.frame import MAX_CIPHERTEXT_BYTES, FrameReader, FrameType, Opener, Sealer
from tallystick.channel.handshake import Handshake
from tallystick.channel.rekey import MESSAGE_BYTES, TRANSITIONS, Chain, Input, Phase
from tallystick.errors import Malformed, Misuse, Unavailable, Unproven
from tallystick.noise import CipherState, HandshakeState, KeyPair
from tallystick.pair.pairing import Role, Suite
from tallystick.primitives import Buffer, sha256

# Specification constants (docs/spec/stream.md, sections 2 to 4).
FIRST_FRAME_BYTES: Final = 1024
FIRST_FRAME_NS: Final = 3 * SECOND_NS
PING_AFTER_NS: Final = 30 * SECOND_NS
DEAD_AFTER_NS: Final = 90 * SECOND_NS
REKEY_AFTER_NS: Final = 120 * SECOND_NS
REKEY_AFTER_FRAMES: Final = 2**20
STALE_AFTER_NS: Final = 180 * SECOND_NS
STALE_GRACE_NS: Final = 120 * SECOND_NS
REFUSE_AFTER_FRAMES: Final = 2**21
MAX_TELEMETRY_BYTES: Final = 4096
PONG_BYTES: Final = 8
SEVERED_BYTES: Final = 40
_SEVERED_HEAD: Final = bytes.fromhex("a301010201035820")  # CBOR {1: 1, 2: 1, 3: bstr .size 32}, docs/spec/telemetry.md
_MAX_U64: Final = 2**64 - 1


class _Kind(Enum):
    PAIR = "pair"
    PAIRING = "pairing"


_ALLOWED: Final = {
    _Kind.PAIR: frozenset(FrameType) - {FrameType.PAIRING},
    _Kind.PAIRING: frozenset({FrameType.END, FrameType.PING, FrameType.PAIRING}),
}
_AFTER_END: Final = frozenset({FrameType.HANDSHAKE, FrameType.PING})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keys:
    """What a rekey needs of the pair."""

    suite: Suite
    static: KeyPair
    remote_static: bytes
    ephemeral: Callable[[], KeyPair]


def severed_record(pairing_id: bytes) -> bytes:
    """The telemetry record that tells of a severance; the only one that may travel to the house."""
    if len(pairing_id) != 32:
        raise Misuse("a pairing id has 32 bytes")
    return _SEVERED_HEAD + pairing_id


def _is_severed(record: bytes) -> bool:
    return len(record) == SEVERED_BYTES and record.startswith(_SEVERED_HEAD)


class _Stop(Exception):
    """Inside this file only: the session is to be cut."""

    def __init__(self, reason: CutReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Session:
    """One side of a sealed stream. Made by `of_pair` or `of_invite`."""

    def __init__(self, *, role: Role, handshake: Handshake, keys: _Keys | None, now_ns: int) -> None:
        send, receive = handshake.transport()
        self._role = role
        self._keys = keys
        self._allowed = _ALLOWED[_Kind.PAIRING if keys is None else _Kind.PAIR]
        self._sealer = Sealer(send)
        self._opener = Opener(receive)
        self._reader = FrameReader(FIRST_FRAME_BYTES)
        self._outgoing: list[bytes] = []
        self._chain = None if keys is None else Chain.begin(handshake)
        self._phase = Phase.STEADY
        self._asked: HandshakeState | None = None
        self._next_receive: CipherState | None = None
        self._rekeys = 0
        self._now_ns = self._created_ns = self._received_ns = self._keyed_ns = now_ns
        self._stale_ns: int | None = None
        self._ping_ns: int | None = None
        self._started = role is Role.HOUSE
        self._dead = False
        self.confirmed = False
        self.sent_end = False
        self.received_end = False
        self.handshake_hash: Final = handshake.handshake_hash
        self.stream: Final = sha256(b"tally stream v1", handshake.handshake_hash)[:16]

    @classmethod
    def of_pair(
        cls, *, role: Role, handshake: Handshake, suite: Suite, static: KeyPair, ephemeral: Callable[[], KeyPair], now_ns: int
    ) -> Self:
        """A session of a pair. `static`: this machine's.  `ephemeral`: draws a fresh key pair.  `now_ns`: pair time."""
        keys = _Keys(suite=suite, static=static, remote_static=handshake.remote_static, ephemeral=ephemeral)
        return cls(role=role, handshake=handshake, keys=keys, now_ns=now_ns)

    @classmethod
    def of_invite(cls, *, role: Role, handshake: Handshake, now_ns: int) -> Self:
        """A pairing session: ceremony, pings and `end`, nothing else, and no rekey."""
        return cls(role=role, handshake=handshake, keys=None, now_ns=now_ns)

    # --- Sending ---------------------------------------------------------------------------------------------------------

    def start(self) -> bytes:
        """The client's first frame, one empty ping. Raises: Misuse at the house, or the second time."""
        if self._started:
            raise Misuse("a session starts once, and the client starts it")
        self._started = True
        self._ping_ns = self._now_ns
        return self._send(FrameType.PING, b"")

    def outgoing(self) -> bytes:
        """What the session itself has to say since the last call of this or of any `send_`; often nothing."""
        return self._take(b"")

    def send_data(self, data: Buffer) -> Buffer:
        """Data in as few frames as it takes. Raises: Misuse before the first frame or after `end`, Unavailable after a cut."""
        self._check_sending(FrameType.DATA)
        frames = self._sealer.seal_data(data)
        if self._sealer.count >= REKEY_AFTER_FRAMES:
            self._outgoing.append(bytes(frames))
            frames = b""
            self._rekey_if_due()
        return frames if not self._outgoing else self._take(frames)

    def send_end(self) -> bytes:
        """Say that the last message was sent. Raises: as `send_data`."""
        self._check_sending(FrameType.END)
        self.sent_end = True
        return self._send(FrameType.END, b"")

    def send_ping(self, now_ns: int) -> bytes:
        """Ask for a pong. Raises: as `send_data`, but it may follow `end`."""
        self._check_sending(FrameType.PING)
        self._ping_ns = self._pass_time(now_ns)
        return self._send(FrameType.PING, b"")

    def send_telemetry(self, record: bytes) -> bytes:
        """A telemetry record. Raises: as `send_data`; Misuse at the client for all but `severed_record`, and for over 4,096 bytes."""
        self._check_sending(FrameType.TELEMETRY)
        if not 1 <= len(record) <= MAX_TELEMETRY_BYTES or (self._role is Role.CLIENT and not _is_severed(record)):
            raise Misuse("telemetry has 1 to 4096 bytes and flows to the client; to the house only `severed`")
        return self._send(FrameType.TELEMETRY, record)

    def send_pairing(self, message: bytes) -> bytes:
        """A message of the ceremony. Raises: as `send_data`; Misuse in a session of a pair."""
        self._check_sending(FrameType.PAIRING)
        return self._send(FrameType.PAIRING, _some(message))

    def send_checkpoint(self, message: bytes) -> bytes:
        """A checkpoint message. Raises: as `send_data`."""
        self._check_sending(FrameType.CHECKPOINT)
        return self._send(FrameType.CHECKPOINT, _some(message))

    def _check_sending(self, kind: FrameType) -> None:
        if self._dead:
            raise Unavailable("the session is over", "Knock again.")
        if not self._started or (self._role is Role.HOUSE and not self.confirmed):
            raise Misuse("the client's first frame comes first: `start`, and the house never speaks first")
        if kind not in self._allowed:
            raise Misuse(f"no {kind.name} frames in this kind of session")
        if self.sent_end and kind not in _AFTER_END:
            raise Misuse("`end` was sent")

    def _send(self, kind: FrameType, body: bytes) -> bytes:
        return self._take(self._sealer.seal(kind, body))

    def _take(self, frames: bytes | bytearray) -> bytes:
        if not self._outgoing:
            return bytes(frames)
        waiting, self._outgoing = self._outgoing, []
        return b"".join((*waiting, frames))

    # --- Receiving -------------------------------------------------------------------------------------------------------

    def receive(self, data: Buffer, now_ns: int) -> list[Event]:
        """Bytes from the connection; the events they bring. The buffer may be reused when this returns."""
        events: list[Event] = []
        if self._dead:
            return events
        self._pass_time(now_ns)
        pinged = False
        try:
            for ciphertext in self._reader.feed(data):
                kind, body = self._opener.open(ciphertext)
                if kind is FrameType.DATA and self.confirmed and self._keys is not None and not self.received_end and body:
                    events.append(Data(body))
                    continue
                pinged |= self._frame(kind, body, events)
            self._received_ns = self._now_ns
            if self._opener.count > REFUSE_AFTER_FRAMES:
                raise _Stop(CutReason.STALE_KEYS)
            self._rekey_if_due()
        except _Stop as stop:
            return self._cut(stop.reason, events)
        except Unproven:
            return self._cut(CutReason.UNPROVEN, events)
        except Malformed:
            return self._cut(CutReason.MALFORMED if self.confirmed else CutReason.FIRST_FRAME, events)
        if pinged:  # one pong for all pings that came together
            self._outgoing.append(self._sealer.seal(FrameType.PING, self._now_ns.to_bytes(PONG_BYTES, "big")))
        return events

    def eof(self) -> list[Event]:
        """The connection has ended. Voided unless the other side had said `end`."""
        if self._dead:
            return []
        self._dead = True
        if self.received_end and not self._reader.pending_bytes:
            return []
        return [Voided(self._reader.pending_bytes)]

    @property
    def finished(self) -> bool:
        """Both sides have said `end`, or the session was cut or voided: close the connection."""
        return self._dead or (self.sent_end and self.received_end)

    def _frame(self, kind: FrameType, body: bytes, events: list[Event]) -> bool:
        """One frame that verified. Returns: is it a ping to be answered?"""
        if not self.confirmed:
            wanted = 0 if self._role is Role.HOUSE else PONG_BYTES
            if kind is not FrameType.PING or len(body) != wanted:
                raise _Stop(CutReason.FIRST_FRAME)
            self.confirmed = True
            self._reader.limit_bytes = MAX_CIPHERTEXT_BYTES
            events.append(Confirmed())
        if kind not in self._allowed:
            raise _Stop(CutReason.DIRECTION)
        if self.received_end and kind not in _AFTER_END:
            raise _Stop(CutReason.AFTER_END)
        match kind:
            case FrameType.PING:
                return self._ping(body, events)
            case FrameType.HANDSHAKE:
                self._rekey(body, events)
            case FrameType.END:
                if body:
                    raise _Stop(CutReason.MALFORMED)
                self.received_end = True
                events.append(End())
            case FrameType.TELEMETRY:
                if self._role is Role.HOUSE and not _is_severed(body):
                    raise _Stop(CutReason.DIRECTION)
                if not 1 <= len(body) <= MAX_TELEMETRY_BYTES:
                    raise _Stop(CutReason.MALFORMED)
                events.append(Telemetry(body))
            case FrameType.PAIRING if body:
                events.append(Pairing(body))
            case FrameType.CHECKPOINT if body:
                events.append(Checkpoint(body))
            case _:  # without a body
                raise _Stop(CutReason.MALFORMED)
        return False

    def _ping(self, body: bytes, events: list[Event]) -> bool:
        if not body:
            return True
        if len(body) != PONG_BYTES:
            raise _Stop(CutReason.MALFORMED)
        if self._ping_ns is not None:
            events.append(Pong(int.from_bytes(body, "big"), self._ping_ns))
            self._ping_ns = None
        return False

    def _cut(self, reason: CutReason, events: list[Event]) -> list[Event]:
        self._dead = True
        self._outgoing = []
        events.append(Cut(reason))
        return events

    # --- Time ------------------------------------------------------------------------------------------------------------

    def next_timer(self) -> int | None:
        """When `handle_timer` wants to be called, by pair time in ns; None when the session is over."""
        if self._dead:
            return None
        if not self.confirmed:
            return self._created_ns + FIRST_FRAME_NS
        silent = self._received_ns + PING_AFTER_NS if self._ping_ns is None else max(self._ping_ns, self._received_ns) + DEAD_AFTER_NS
        if self._keys is None:
            return silent
        if self._role is Role.CLIENT:
            return silent if self._phase is not Phase.STEADY else min(silent, self._keyed_ns + REKEY_AFTER_NS)
        return min(silent, self._keyed_ns + STALE_AFTER_NS if self._stale_ns is None else self._stale_ns + STALE_GRACE_NS)

    def handle_timer(self, now_ns: int) -> list[Event]:
        """Do what is due: a ping, a rekey, a cut. What is to be written is in `outgoing`."""
        due_ns = self.next_timer()
        now_ns = self._pass_time(now_ns)
        if due_ns is None or now_ns < due_ns:
            return []
        if not self.confirmed:
            return self._cut(CutReason.UNCONFIRMED, [])
        if self._ping_ns is not None and now_ns >= max(self._ping_ns, self._received_ns) + DEAD_AFTER_NS:
            return self._cut(CutReason.SILENT, [])
        if self._ping_ns is None and now_ns >= self._received_ns + PING_AFTER_NS:
            self._outgoing.append(self._sealer.seal(FrameType.PING, b""))
            self._ping_ns = now_ns
        if self._role is Role.HOUSE and self._keys is not None and now_ns >= self._keyed_ns + STALE_AFTER_NS:
            if self._stale_ns is None:
                self._stale_ns = now_ns  # noticed; a clock that jumped is no reason to cut
            elif now_ns >= self._stale_ns + STALE_GRACE_NS:
                return self._cut(CutReason.STALE_KEYS, [])
        self._rekey_if_due()
        return []

    def _pass_time(self, now_ns: int) -> int:
        if not 0 <= now_ns <= _MAX_U64:
            raise Misuse("a time is a u64 of nanoseconds since 1970")
        self._now_ns = max(self._now_ns, now_ns)
        return self._now_ns

    # --- Fresh keys ------------------------------------------------------------------------------------------------------

    def _rekey_if_due(self) -> None:
        """The client's message 1, when the keys are 2 minutes or 2^20 frames old."""
        if (
            self._role is Role.HOUSE
            or self._phase is not Phase.STEADY
            or not self.confirmed
            or (
                self._now_ns < self._keyed_ns + REKEY_AFTER_NS
                and self._sealer.count < REKEY_AFTER_FRAMES
                and self._opener.count < REKEY_AFTER_FRAMES
            )
        ):
            return
        if self._keys is None or self._chain is None:
            return
        self._move(Input.DUE)
        message, self._asked = self._state(self._keys, self._chain).write_message(b"", ephemeral=self._keys.ephemeral())
        self._outgoing.append(self._sealer.seal(FrameType.HANDSHAKE, message))

    def _rekey(self, body: bytes, events: list[Event]) -> None:
        """A handshake frame came."""
        keys, chain = self._keys, self._chain
        if keys is None or chain is None:
            raise AssertionError("a pairing session lets no handshake frame in")
        if len(body) not in (0, MESSAGE_BYTES):
            raise _Stop(CutReason.REKEY)
        self._move(Input.MESSAGE if body else Input.SWITCH)
        if not body:
            if self._next_receive is None:
                raise AssertionError("a house that answered has the next key")
            self._opener, self._next_receive = self._opener.successor(self._next_receive), None
            self._rekeyed(events)
            return
        try:
            if self._role is Role.HOUSE:
                payload, state = self._state(keys, chain).read_message(body)
                message, state = state.write_message(b"", ephemeral=keys.ephemeral())
            elif self._asked is not None:
                payload, state = self._asked.read_message(body)
                message = b""  # the switch
            else:
                raise AssertionError("a client that asked has the state of it")
        except (Malformed, Unproven):
            raise _Stop(CutReason.REKEY) from None
        if payload:
            raise AssertionError("48 bytes leave no room for a payload")
        handshake = Handshake(state)
        send, receive = handshake.transport()
        self._outgoing.append(self._sealer.seal(FrameType.HANDSHAKE, message))  # the last frame under the old key
        self._sealer = self._sealer.successor(send)
        self._chain = chain.next(handshake)
        if self._role is Role.HOUSE:
            self._next_receive = receive
        else:
            self._opener, self._asked = self._opener.successor(receive), None
            self._rekeyed(events)

    def _rekeyed(self, events: list[Event]) -> None:
        self._keyed_ns, self._stale_ns = self._now_ns, None
        self._rekeys += 1
        events.append(Rekeyed(self._rekeys))

    def _move(self, what: Input) -> None:
        after = TRANSITIONS.get((self._role, self._phase, what))
        if after is None:
            raise _Stop(CutReason.REKEY)
        self._phase = after

    def _state(self, keys: _Keys, chain: Chain) -> HandshakeState:
        return chain.state(role=self._role, suite=keys.suite, static=keys.static, remote_static=keys.remote_static)


def _some(body: bytes) -> bytes:
    if not body:
        raise Misuse("an empty message is none")
    return body
