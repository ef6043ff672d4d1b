"""A signal's way through the gate: judged, recorded with all that was seen, and only then told (docs/spec/gate.md, section 5).

    candidate -> findings -> verdict -> one Record -> verdict told

The record is one transaction: the signal, the findings that are notable, where it was seen, to whom it is delivered, and, where it is
held, the proposal with its quarantined body. Nothing takes effect before its receipt.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tallystick.errors import Malformed, Misuse
from tallystick.facts.fact import KnownKey, Place
from tallystick.gate.finding import MAX_FACTS, finding_fields
from tallystick.gate.gate import CLEAN, Seen
from tallystick.gate.opening import BodyDigest, Opening
from tallystick.gate.provenance import MAX_SIGNERS, NOTHING, UNKNOWN, Link
from tallystick.gate.signal import ProvenSignal
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.receipt import Receipt
from tallystick.passage.effect import Passage, Record
from tallystick.passage.signal import Asker
from tallystick.primitives import sha256
from tallystick.rights.verdict import Judgement, Source, Verdict

MAX_BODY_BYTES: Final = 1_000_000  # of a body that is quarantined
MAX_DELIVERIES: Final = 64
PROPOSAL_LIFE_NS: Final = 24 * 3_600 * 10**9
_WORD_OF: Final = {Source.LAYER: "layer", Source.CONFIDENCE: "confidence"}


@dataclass(slots=True, kw_only=True)
class Decision:
    """What the gate decided of one signal, at one moment, before anything is recorded. Treat it as frozen.

    `reason`: the ledger's word for a verdict that is not `allow`; `why`: one line for people, without clear values.
    `judgement`: every voice, where the verdict needed more than a look.  `raw_place`: the field of its opening, `[salt, value]`.
    `sender`: who handed it in at the socket, as the kernel says: `uid 1000`.
    `weighed`: layers and rights have judged it; without that nothing is known of its place either.
    """

    signal: ProvenSignal
    opening: Opening = field(repr=False)
    raw_opening: bytes = field(repr=False)
    key: KnownKey
    verdict: Verdict
    now_ns: int
    carried: Asker | None = None
    sender: bytes = b""
    reason: str | None = None
    why: str = ""
    reduced: bool = False
    weighed: bool = False
    seen: Seen = CLEAN
    link: Link = NOTHING
    context: tuple[int, int, bytes] | None = None
    scope: bytes | None = None
    judgement: Judgement | None = None
    place: Place | None = None
    raw_place: bytes | None = field(default=None, repr=False)

    @property
    def allowed(self) -> bool:
        """Whether it may take effect."""
        return self.verdict is Verdict.ALLOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """What a held signal waits with. `risk`: of the table of verbs.  `preconditions`: what the release must find unchanged."""

    risk: str
    expires_ns: int
    preconditions: bytes | None = None
    replaces: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A signal that is recorded: the receipt of its entry, and of its proposal where it is held."""

    decision: Decision
    receipt: Receipt
    proposal: Receipt | None = None


def reason_word(judgement: Judgement) -> str:
    """The ledger's word for the voice that decided."""
    return next((word for reason in judgement.deciding if (word := _WORD_OF.get(reason.source))), "rights")


def check_body(opening: Opening, body: bytes | None) -> None:
    """Is the body the one that was signed? None: it stays with the sender. Raises: Malformed, Misuse: it is too long to be kept."""
    if body is None:
        return
    if len(body) > MAX_BODY_BYTES:
        raise Misuse(f"a body of {len(body)} bytes; the gate keeps at most {MAX_BODY_BYTES}", "store it first, and name it in the signal")
    signed = None if opening.body is None else opening.read_body()
    if not isinstance(signed, BodyDigest) or signed.length != len(body) or signed.sha256 != sha256(body):
        raise Malformed("the body is not the one that was signed")


def admission(
    decision: Decision,
    *,
    body: bytes | None = None,
    deliver_to: Sequence[bytes] = (),
    signed_findings: Sequence[bytes] = (),
    proposed: Proposed | None = None,
) -> Passage[Admitted]:
    """Record a decision with everything that belongs to it; the verdict is told with the receipt.

    Args: body: quarantined where the signal is held.  deliver_to: the keys whose open context it is delivered to, if it is allowed.
        signed_findings: of `sign_finding`, one for each notable finding.  proposed: what a held signal waits with.
    Raises: Refused: a key, context or scope changed meanwhile, or the number is taken.  Unavailable.
    """
    signal, claims = decision.signal, decision.signal.claims
    kid, about = bytes(signal.kid), _about(decision.carried)
    actor = "gate" if decision.carried is None else "pair"
    link, rejected = decision.link, decision.seen.rejected
    events = [
        Event.of(
            Kind.SIGNAL,
            decision.now_ns,
            actor,
            signal=signal.raw,
            verdict=decision.verdict.word,
            result=None if decision.verdict is Verdict.ALLOW else "held" if decision.verdict is Verdict.HOLD else "refused",
            key=kid,
            reason=decision.reason,
            reduced=decision.reduced or None,
            signers=link.signers or None,
            depth=link.depth,
            context=decision.context,
            scope=decision.scope,
            ext=_ext(decision.sender, decision.carried),
            rule=(rejected.rule or None) if rejected is not None else None,
            facts=(rejected.facts[:MAX_FACTS] or None) if rejected is not None else None,
            **about,
        )
    ]
    openings: list[bytes | None] = [decision.raw_opening]
    if signed_findings:
        behind = tuple(sorted({kid, *link.signers}))
        if len(behind) > MAX_SIGNERS:  # one too many for an entry: whoever is left out counts as unknown, not as nobody
            behind = tuple(sorted({UNKNOWN, *behind}))[:MAX_SIGNERS]
        for finding, signed in zip(decision.seen.notable, signed_findings, strict=True):
            fields = finding_fields(finding)
            events.append(
                Event.of(
                    Kind.FINDING,
                    decision.now_ns,
                    "gate",
                    signal_hash=signal.reference,
                    signers=behind,
                    signal=signed,
                    **fields,
                )
            )
            openings.append(None)
    if decision.raw_place is not None and decision.weighed and rejected is None:
        events.append(
            Event.of(
                Kind.SIGHTING,
                decision.now_ns,
                "gate",
                subject=kid,
                observed=claims.issued_at_ns,
                signal_hash=signal.reference,
                commitment=claims.commitments.place,
            )
        )
        openings.append(b"\xa1\x04" + decision.raw_place)
    if decision.verdict is Verdict.ALLOW:
        for subject in deliver_to:
            events.append(Event.of(Kind.DELIVERED, decision.now_ns, "gate", subject=bytes(subject), signal_hash=signal.reference))
            openings.append(None)
    if decision.verdict is Verdict.HOLD:
        if proposed is None:
            raise AssertionError("a signal is held and nobody said what it waits with")
        events.append(
            Event.of(
                Kind.PROPOSAL,
                decision.now_ns,
                actor,
                signal_hash=sha256(signal.raw),
                key=kid,
                risk=proposed.risk,
                expires=proposed.expires_ns,
                preconditions=proposed.preconditions,
                body=None if body is None else sha256(body),
                replaces=proposed.replaces,
                what=decision.reason,
                signers=link.signers or None,
                **{name: value for name, value in about.items() if name != "pair"},
            )
        )
        openings.append(body)
    receipts = yield Record(tuple(events), tuple(openings))
    return Admitted(decision=decision, receipt=receipts[0], proposal=receipts[-1] if decision.verdict is Verdict.HOLD else None)


def unbelieved(
    word: str, *, key: bytes, carried: Asker | None, signal_hash: bytes | None, now_ns: int, sender: bytes = b""
) -> Passage[Receipt]:
    """A signal that nobody believes and that names a known key: recorded with the word for why."""
    (receipt,) = yield Record(
        (
            Event.of(
                Kind.REFUSED,
                now_ns,
                "gate" if carried is None else "pair",
                subject=key,
                signal_hash=signal_hash,
                reason=word,
                result="refused",
                ext=_ext(sender, carried),
                **_about(carried),
            ),
        )
    )
    refusal: Receipt = receipt
    return refusal


def _about(carried: Asker | None) -> dict[str, Any]:
    return {} if carried is None else {"pairing": carried.pair, "session": carried.session, "pair": carried.pair}


def _ext(sender: bytes, carried: Asker | None) -> dict[str, bytes] | None:
    return {"sender": sender} if sender and carried is None else None
