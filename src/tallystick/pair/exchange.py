"""What both sides of a ceremony share: reading, ending, and the proofs over the transcript (docs/spec/pairing.md).

pair/ceremony.py has the two machines; each adds its table of what may come when.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self, TypeAlias

from tallystick.errors import Malformed, Misuse, Unproven
from tallystick.keys import PublicKey
from tallystick.pair.message import Abort, Hello, Message, Reason, Welcome, encode_message, parse_message
from tallystick.pair.outcome import KEPT, OVER, Detached, Ended, Half, State, Step, StoreHalf
from tallystick.pair.pairing import PairType, Role
from tallystick.pair.statement import PairApprove
from tallystick.pair.transcript import Check, Secrets, check_confirmation, check_signature, derive_secrets, signed_bytes

# (state, kind of message) -> what the machine does. The handlers are methods of the machine that owns the table.
Table: TypeAlias = Mapping[tuple[State, type[Message]], Callable[[Any, Any, bytes], tuple[Any, Step]]]


class StopError(Exception):
    """A check of a handler failed; `receive` turns it into an abort."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.name)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """The parts both machines have. `handshake_hash` and `chaining_key`: 32 bytes each, of the finished Noise handshake."""

    role: ClassVar[Role]
    peer: ClassVar[Role]
    table: ClassVar[Table]

    handshake_hash: bytes = field(repr=False)
    chaining_key: bytes = field(repr=False)
    client_static: bytes
    house_static: bytes
    pair_type: PairType
    aes: bool
    state: State = State.NEW
    hello: Hello | None = None
    hello_raw: bytes = field(default=b"", repr=False)
    welcome_message: Welcome | None = None
    welcome_raw: bytes = field(default=b"", repr=False)
    kem_secret: bytes = field(default=b"", repr=False)
    t1: bytes = b""
    client_quote: bytes | None = field(default=None, repr=False)
    house_quote: bytes | None = field(default=None, repr=False)
    check: Check | None = None
    secrets: Secrets | None = field(default=None, repr=False)

    def receive(self, body: bytes) -> tuple[Self, Step]:
        """A message of the peer: the body of a frame of type 5. Raises: nothing; whatever does not belong here aborts."""
        late = self.role is Role.HOUSE and self.state is State.STANDING
        if self.state in OVER and not late:
            return self, Step()
        try:
            message = parse_message(body, sender=self.peer)
        except Malformed:
            return (self, Step()) if late else self._end(Reason.MALFORMED)
        if isinstance(message, Abort):
            return self._end(message.reason, by_peer=True)
        if late:
            return self, Step()
        handler = self.table.get((self.state, type(message)))
        if handler is None:
            return self._end(Reason.OUT_OF_ORDER)
        try:
            after: tuple[Self, Step] = handler(self, message, body)
        except StopError as stop:
            return self._end(stop.reason)
        return after

    def cancel(self, reason: Reason = Reason.CANCELLED) -> tuple[Self, Step]:
        """Our side stops: a person said no, a quote was bad, a clock ran out. Raises: nothing."""
        return (self, Step()) if self.state in OVER else self._end(reason)

    def cut(self) -> tuple[Self, Step]:
        """The stream ended without a word. Raises: nothing."""
        if self.state in OVER:
            return self, Step()
        if self.state in KEPT and self.secrets is not None:
            return replace(self, state=State.DETACHED), Step(effect=Detached(pairing_id=self.secrets.pairing_id))
        return replace(self, state=State.ABORTED), Step(effect=Ended(reason=Reason.UNSPECIFIED, by_peer=True, forget=None))

    def _end(self, reason: Reason, *, by_peer: bool = False) -> tuple[Self, Step]:
        # A client that could not believe `standing` keeps no half: the house severs the pair that just came to stand.
        kept = self.state in KEPT or self.state is State.STANDING
        forget = self.secrets.pairing_id if kept and self.secrets is not None else None
        send = () if by_peer else (encode_message(Abort(reason=reason)),)
        return replace(self, state=State.ABORTED), Step(send=send, effect=Ended(reason=reason, by_peer=by_peer, forget=forget))

    def _need(self, state: State) -> None:
        if self.state is not state:
            raise Misuse(f"the ceremony is {self.state.value}, not {state.value}")

    def _secrets(self) -> Secrets:
        """T2, pairing id and pair secret from what has been exchanged."""
        return derive_secrets(
            t1=self.t1,
            client_quote=self.client_quote,
            house_quote=self.house_quote,
            chaining_key=self.chaining_key,
            kem_secret=self.kem_secret,
        )

    def _known(self) -> tuple[Hello, Welcome, Secrets]:
        if self.hello is None or self.welcome_message is None or self.secrets is None:
            raise AssertionError("a ceremony in this state has a hello, a welcome and its secrets")
        return self.hello, self.welcome_message, self.secrets

    def _store_half(self) -> StoreHalf:
        hello, welcome, secrets = self._known()
        half = Half(
            role=self.role,
            pairing_id=secrets.pairing_id,
            pair_secret=secrets.pair_secret,
            transcript=secrets.t2,
            quotes=(self.client_quote, self.house_quote),
            pair_type=self.pair_type,
            suite=welcome.suite,
            client_static=self.client_static,
            house_static=self.house_static,
            hello=hello,
            welcome=welcome,
        )
        human = signed_bytes(secrets, self.role, "human") if self.role is Role.CLIENT and hello.human is not None else None
        return StoreHalf(
            half=half,
            signing=signed_bytes(secrets, self.role, "signing"),
            witness=signed_bytes(secrets, self.role, "witness"),
            human=human,
        )

    def _prove(self, mac: bytes, proofs: tuple[tuple[str, PublicKey, bytes], ...]) -> None:
        """The peer's MAC and signatures over T2."""
        _, _, secrets = self._known()
        try:
            check_confirmation(secrets, self.peer, mac)
            for use, key, signature in proofs:
                check_signature(key, signature, signed_bytes(secrets, self.peer, use))
        except Unproven:
            raise StopError(Reason.BAD_CONFIRMATION) from None

    def _matches(self, statement: PairApprove) -> bool:
        """Does an approval name exactly what was exchanged here?"""
        hello, welcome, secrets = self._known()
        return (
            statement.pairing_id == secrets.pairing_id
            and statement.proposal.origin == welcome.origin_hash
            and statement.static == self.client_static
            and statement.signing == hello.signing
            and statement.witness == hello.witness
            and statement.human == hello.human
            and statement.pair_type is self.pair_type
            and statement.suite is welcome.suite
        )
