"""The client's side of the knock (docs/spec/knock.md, sections 2 to 4).

    knocker = Knocker.of_pair(keys=..., static=..., house_static=..., pair_type=..., suite=...)
    time_ns, clock = clock.next(system_ns)                       # pairtime.ClientPairTime
    sent = knocker.knock(time_ns=time_ns, tcp_port=51234, mode=Mode.OPEN, ephemeral=fresh())
    answered = sent.read(datagram)                               # None: not our answer, read the next one

A retry is a new knock with a new ephemeral and a later time. An answer that does not open changes nothing: `sent` reads the
genuine one after any number of forgeries.
"""

from dataclasses import dataclass, field, replace
from typing import Final, Self

from tallystick.channel import datagram as wire
from tallystick.channel.datagram import DatagramType, Mode
from tallystick.channel.handshake import Handshake, invite_state_of_client, pair_initiator
from tallystick.channel.pairtime import FUTURE_NS
from tallystick.errors import Malformed, Misuse, Unproven
from tallystick.noise import Asking, HandshakeState, Initiator, KeyPair
from tallystick.pair.invite import MAX_TTL_S, InviteKeys, invite_prologue
from tallystick.pair.pairing import PairKeys, PairType, Suite, pair_prologue
from tallystick.primitives import blake2s_keyed, equal

_GUESS_STEP_NS: Final = FUTURE_NS + wire.WINDOW_NS  # a time serves while the house is 60 s behind to at least a window ahead of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The house's answer. Not yet trusted with anything: the first frame of the stream confirms it."""

    handshake: Handshake
    house_port: int
    mode: Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class SentKnock:
    """One knock, ready to be sent, waiting for its answer."""

    datagram: bytes = field(repr=False)
    time_ns: int
    tcp_port: int
    mode: Mode
    _state: HandshakeState | Asking = field(repr=False)

    def read(self, datagram: bytes) -> Answered | None:
        """The answer, or None when this is not the genuine answer to this knock; then this value is as good as before."""
        if len(datagram) != wire.ANSWER_BYTES or datagram[: wire.HEADER_BYTES] != wire.ANSWER_HEADER:
            return None
        try:
            payload, state = self._state.read_message(datagram[wire.HEADER_BYTES :])
        except (Malformed, Unproven):
            return None
        parsed = wire.parse_house_payload(payload)
        return None if parsed is None else Answered(handshake=Handshake(state), house_port=parsed[0], mode=parsed[1])


class Draft:
    """A knock that lacks the time and the mode: drawn up while nobody waits. Good for one knock."""

    __slots__ = ("_knocker", "_message", "_state", "tcp_port")

    def __init__(self, knocker: "Knocker", tcp_port: int, message: bytes, state: HandshakeState | Asking) -> None:
        """Use `Knocker.draft`."""
        self._knocker = knocker
        self._message = message
        self._state: HandshakeState | Asking | None = state
        self.tcp_port = tcp_port

    def knock(self, *, time_ns: int, mode: Mode) -> SentKnock:
        """The knock. Raises: Misuse the second time: a retry is a new knock with a new ephemeral key; or when the time does not exist."""
        wire.check_time(time_ns)
        knocker, state, self._state = self._knocker, self._state, None
        if state is None:
            raise Misuse("a draft is good for one knock")
        tag = knocker._fixed_tag if knocker._tag_key is None else wire.window_tag(knocker._tag_key, time_ns // wire.WINDOW_NS)
        datagram = wire.build_knock(
            header=bytes((knocker._type, wire.VERSION, mode, 0)),
            tag=tag,
            mask_key=knocker._mask_key,
            mac_key=knocker._mac_key,
            time_ns=time_ns,
            noise=self._message,
        )
        return SentKnock(datagram=datagram, time_ns=time_ns, tcp_port=self.tcp_port, mode=mode, _state=state)


@dataclass(frozen=True, slots=True, kw_only=True)
class Knocker:
    """Makes the knocks of one pair or of one invite. Its handshake is prepared once."""

    _type: DatagramType
    _tag_key: bytes | None = field(repr=False)
    _fixed_tag: bytes = field(repr=False)
    _mac_key: bytes = field(repr=False)
    _mask_key: bytes = field(repr=False)
    _state: HandshakeState | Initiator = field(repr=False)

    @classmethod
    def of_pair(cls, *, keys: PairKeys, static: KeyPair, house_static: bytes, pair_type: PairType, suite: Suite) -> Self:
        """For a pair. `pair_type`: the one of the pairing statement. Raises: Malformed when `house_static` is no key."""
        prologue = pair_prologue(client_static=static.public, house_static=house_static, pair_type=pair_type)
        state = pair_initiator(suite=suite, prologue=prologue, static=static, remote_static=house_static, psk=keys.psk)
        return cls(
            _type=DatagramType.KNOCK,
            _tag_key=keys.to_house.tag,
            _fixed_tag=b"",
            _mac_key=keys.to_house.mac,
            _mask_key=keys.to_house.mask,
            _state=state,
        )

    @classmethod
    def of_invite(cls, *, keys: InviteKeys, static: KeyPair, house_static: bytes, pair_type: PairType) -> Self:
        """For an invite. `pair_type`: the one the invite says. Raises: Malformed when `house_static` is no key."""
        prologue = invite_prologue(house_static=house_static, pair_type=pair_type)
        state = invite_state_of_client(prologue=prologue, static=static, house_static=house_static, psk=keys.psk)
        return cls(
            _type=DatagramType.INVITE_KNOCK,
            _tag_key=None,
            _fixed_tag=keys.tag,
            _mac_key=keys.mac,
            _mask_key=keys.mask,
            _state=state,
        )

    def knock(self, *, time_ns: int, tcp_port: int, mode: Mode, ephemeral: KeyPair) -> SentKnock:
        """A new knock.

        Args: time_ns: pair time, later than that of every knock before.  tcp_port: the one this client will connect from.
            ephemeral: drawn fresh, never used for another knock.
        Raises: Misuse when time or port do not exist; Malformed when the house's static key turns out to be none.
        """
        return self.draft(tcp_port=tcp_port, ephemeral=ephemeral).knock(time_ns=time_ns, mode=mode)

    def draft(self, *, tcp_port: int, ephemeral: KeyPair) -> Draft:
        """A new knock, but for its time and mode. Args and Raises: as `knock`."""
        message, state = self._state.write_message(wire.client_payload(tcp_port), ephemeral=ephemeral)
        return Draft(self, tcp_port, message, state)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeCounters:
    """Which `time?` to send next. Store `first` and `sent` **before** a question leaves; start with what was stored.

    `first`: the lowest counter nothing has answered.  `sent`: the highest ever sent, -1 for none.
    """

    first: int = 0
    sent: int = -1
    _cursor: int = -1

    def next(self) -> tuple[int, Self]:
        """The counter to ask with, and the value after it: first, first + 1, ... up to sent + 1, then from first again."""
        counter = self._cursor if self.first <= self._cursor <= self.sent + 1 else self.first
        return counter, replace(self, sent=max(self.sent, counter), _cursor=-1 if counter > self.sent else counter + 1)

    def answered(self, counter: int) -> Self:
        """The value after the question with this counter was answered."""
        first = max(self.first, counter + 1)
        return replace(self, first=first, sent=max(self.sent, first - 1), _cursor=-1)


def ask_time(keys: PairKeys, counter: int) -> bytes:
    """The `time?` datagram of this counter. Raises: Misuse when it is no u64."""
    if not 0 <= counter < 2**64:
        raise Misuse("a time counter is a u64")
    return wire.build_time_question(keys.to_house, counter)


def read_time(keys: PairKeys, counter: int, datagram: bytes) -> int | None:
    """The house's pair time, ns, from its answer to the `time?` of this counter; None when it is not that answer."""
    if len(datagram) != wire.TIME_ANSWER_BYTES or datagram[: wire.HEADER_BYTES] != wire.TIME_ANSWER_HEADER:
        return None
    tag = wire.question_tag(keys.to_house.tag, counter)
    body, mac = datagram[: -wire.MAC_BYTES], datagram[-wire.MAC_BYTES :]
    if not equal(blake2s_keyed(keys.to_client.mac, tag + body, wire.MAC_BYTES), mac):
        return None
    return wire.unmask_time(keys.to_client.mask, tag, body[wire.HEADER_BYTES :])


def invite_times(system_ns: int, expires_ns: int) -> tuple[int, ...]:
    """The times to knock with for an invite: the clock's, or, when the clock cannot be right, four that cover the invite's life.

    A new machine may have a dead clock and cannot ask for the time before it is paired, but the invite says when it expires.
    """
    earliest_ns = expires_ns - MAX_TTL_S * wire.SECOND_NS
    if earliest_ns - FUTURE_NS <= system_ns <= expires_ns + FUTURE_NS:
        return (system_ns,)
    return tuple(range(earliest_ns + FUTURE_NS, expires_ns + 1, _GUESS_STEP_NS))
