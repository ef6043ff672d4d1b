"""A knock's way, once its first sealed frame has verified; and the end of its session.

Nothing is recorded, and nothing is authorised, for a knock alone: a recorded datagram can be delivered by somebody else (key
confirmation, docs/spec/knock.md section 5). The session's entries come before its first request is read.
"""

from dataclasses import dataclass

from tallystick.ledger.event import Event, Kind
from tallystick.ledger.receipt import Receipt
from tallystick.pair.pairing import Role
from tallystick.passage.effect import Destroy, Passage, Record, Unlisten, invite_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """What is known of a confirmed connection.

    Attributes: session: the handshake hash, 32 bytes.  knock: SHA-256 of the datagram.  address: a salted commitment to the
        peer's address; where it came from stays out of the ledger.  mode: 1 to 3, as the house took it.
    """

    session: bytes
    knock: bytes
    address: bytes
    mode: int
    visibility: str
    role: Role


def confirmed(connection: Connection, *, pair: bytes, pair_type: str, suite: str, stream: bytes, now_ns: int) -> Passage[Receipt]:
    """The knock of a pair was answered and its key confirmed. Returns the session's receipt."""
    common = {"session": connection.session, "pairing": pair, "pair": pair, "mode": connection.mode, "address": connection.address}
    receipts = yield Record(
        (
            Event.of(Kind.KNOCK, now_ns, "pair", knock=connection.knock, role=connection.role.value, **common),
            Event.of(
                Kind.SESSION,
                now_ns,
                "pair",
                knock=connection.knock,
                role=connection.role.value,
                visibility=connection.visibility,
                suite=suite,
                pair_type=pair_type,
                stream=stream,
                **common,
            ),
        )
    )
    receipt: Receipt = receipts[1]
    return receipt


def redeemed(connection: Connection, *, invite: bytes, now_ns: int) -> Passage[Receipt]:
    """An invite's first frame verified: it is consumed, whatever follows, and its secret goes.

    One of many redeemers gets a receipt, the others Refused.
    """
    common = {"session": connection.session, "invite": invite, "address": connection.address}
    receipts = yield Record(
        (
            Event.of(Kind.INVITE_CONSUMED, now_ns, "invite", knock=connection.knock, **common),
            Event.of(Kind.KNOCK, now_ns, "invite", knock=connection.knock, mode=connection.mode, role=connection.role.value, **common),
        )
    )
    receipt: Receipt = receipts[0]
    yield Unlisten(invite, receipt)
    yield Destroy(invite_name(invite), receipt)
    return receipt


def ended(
    *, session: bytes, pair: bytes, reason: str, bytes_in: int, bytes_out: int, now_ns: int, voided: tuple[bytes, bytes] | None = None
) -> Passage[None]:
    """A session ended. `voided`: stream and signal hash of a message that its `end` never closed; it counts as never sent."""
    events = [
        Event.of(
            Kind.SESSION_ENDED,
            now_ns,
            "pair",
            session=session,
            pairing=pair,
            pair=pair,
            reason=reason,
            bytes_in=bytes_in,
            bytes_out=bytes_out,
        )
    ]
    if voided is not None:
        stream, signal_hash = voided
        void = Event.of(
            Kind.STREAM_VOIDED,
            now_ns,
            "pair",
            session=session,
            pairing=pair,
            pair=pair,
            reason=reason,
            stream=stream,
            signal_hash=signal_hash,
        )
        events.insert(0, void)
    # A house goes on meanwhile; a client that closes waits for it.
    yield Record(tuple(events))


def breached(*, session: bytes, pair: bytes, what: str, digest: bytes, length: int, now_ns: int) -> Passage[Receipt]:
    """The house sent something that is neither an answer nor telemetry: the client records it and severs the session."""
    receipts = yield Record(
        (
            Event.of(
                Kind.DIODE_BREACH,
                now_ns,
                "pair",
                session=session,
                pairing=pair,
                pair=pair,
                what=what,
                digest=digest,
                length=length,
            ),
        )
    )
    receipt: Receipt = receipts[0]
    return receipt
