"""A command's way: proven, compared with the request, judged, recorded, done, recorded, answered.

The shell reads the request's line and headers, and drives `command`. What a handler gets is a `Command`: method, target and
headers as they were signed, never as they were sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tallystick.diode.flow import check_verb_direction
from tallystick.errors import Malformed, Refused, TallyError, Unavailable, Unproven
from tallystick.gate.headers import RawHeaders, check_request, parse_headers
from tallystick.gate.opening import BodyDigest, Opening, Target, Unstated, check_opening, parse_opening
from tallystick.gate.signal import ProvenSignal, check_age, check_audience, parse_signal
from tallystick.gate.stream import MACHINE, Numbering, StreamBook
from tallystick.keys import PublicKey
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.receipt import Receipt
from tallystick.pair.pairing import PairType, Role
from tallystick.passage.effect import Later, Passage, Perform, Record
from tallystick.passage.pairing import Signed
from tallystick.rights.action import ActionClass
from tallystick.rights.matrix import granted_row, judge, machine_row
from tallystick.rights.verb import check_verb
from tallystick.rights.verdict import Verdict

# Routes that only an ADMIN pair reaches, although their action class is smaller (docs/spec/door.md, section 1).
ADMIN_ONLY: Final = frozenset(
    (
        *("house.inbox", "house.pairs", "house.entries", "house.explain"),
        *("house.keys", "house.facts", "house.rights", "house.plan"),
    )
)
_WORDS: Final[Mapping[type[TallyError], str]] = {
    Malformed: "malformed",
    Unproven: "unproven",
    Refused: "refused",
    Unavailable: "unavailable",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """The session a request came in by. `cap` is the pair's type as it is now, after any downgrade."""

    house: bytes
    pair: bytes
    cap: PairType
    key: PublicKey
    session: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command whose signal is proven and whose opening fits it. `body`: what was signed about the body, None for no body."""

    signal: ProvenSignal
    opening: bytes = field(repr=False)
    target: Target
    headers: tuple[tuple[str, str], ...]
    body: BodyDigest | None

    @property
    def verb(self) -> str:
        """The verb that was signed."""
        return self.signal.claims.verb


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of a `Perform`. `status`: of the HTTP answer.  `length`, `digest`: of its body, where known.

    `ended`: where the effect has a status of its own, as a program has one, that.  `word`: of an end that no error of ours names.
    """

    now_ns: int
    status: int
    length: int | None = None
    digest: bytes | None = None
    error: TallyError | None = None
    ended: int | None = None
    word: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """A human key asked for exactly this command. `subject`: the key's short text.  `actions`: of its row."""

    signed: Signed
    subject: str
    actions: frozenset[ActionClass]


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A command went through: the receipt of its signal, and what became of it."""

    receipt: Receipt
    done: Done


def word_of(error: TallyError) -> str:
    """The ledger's word for an error."""
    return next((word for kind, word in _WORDS.items() if isinstance(error, kind)), "misuse")


def read_command(
    asker: Asker, book: StreamBook, *, method: bytes, target: bytes, headers: RawHeaders, now_ns: int
) -> tuple[Command, StreamBook]:
    """Prove a request's signal and compare it with the request.

    Args: book: the numbers of this connection; the one returned counts this signal.  target: raw path with query.
    Raises: Malformed, Unproven: the session must be cut.
    """
    cose, opened = parse_headers(headers)
    unproven = parse_signal(cose)
    if unproven.kid != asker.key.key_id or unproven.claims.signal_class != MACHINE:
        raise Unproven("a command over a pair is signed by the paired machine's own key, as class machine")
    signal = unproven.prove(asker.key)
    check_audience(signal, asker.house)
    check_age(signal, now_ns)
    after, numbering = book.take(signal, None)
    if numbering is not Numbering.NEW:
        raise Unproven("the signal's number is not the next one of this connection", "Each request of a session takes the next number.")
    opening: Opening = parse_opening(opened)
    check_opening(signal.claims, opening)
    signed = check_request(opening, method=method, target=target, headers=headers)
    body = opening.read_body()
    if isinstance(body, Unstated):
        raise Malformed("a command says whether it has a body")
    check_verb(signal.claims.verb, signal.claims.action)
    check_verb_direction(Role.HOUSE, signal.claims.verb)
    return Command(signal=signal, opening=opened, target=signed, headers=opening.read_headers(), body=body), after


def unreadable(asker: Asker, error: TallyError, *, now_ns: int) -> Passage[Receipt]:
    """A request that carried no proven command: recorded, then its session is cut."""
    (receipt,) = yield Record(
        (
            Event.of(
                Kind.REFUSED,
                now_ns,
                "pair",
                pairing=asker.pair,
                session=asker.session,
                pair=asker.pair,
                key=bytes(asker.key.key_id),
                reason=word_of(error),
                result="refused",
            ),
        )
    )
    refusal: Receipt = receipt
    return refusal


def command(
    asker: Asker,
    cmd: Command,
    *,
    verb: str | None,
    effect: str | None,
    now_ns: int,
    action: ActionClass | None = None,
    stated: Stated | TallyError | None = None,
) -> Passage[Passed]:
    """Judge a proven command, record it, do it, record what became of it.

    Args: verb: the verb of the route that the target leads to, None for no route.  effect: the word for what changes outside the
        ledger, None for a read; its `begun` shares the signal's transaction and is ended before the answer.
        action: of the route, where the list of verbs does not say it.  stated: a human's own word for it, which `admin` needs; it stands
        in `begun`.  An error: why that word is none, and the command is refused.
    Raises: Malformed: the signal names another verb or class than its route (the session must be cut).  Refused: after it was recorded.
        Unavailable: it could not be recorded; nothing was done.
    """
    claims = cmd.signal.claims
    common: dict[str, Any] = {
        "pairing": asker.pair,
        "session": asker.session,
        "key": bytes(cmd.signal.kid),
        "pair": asker.pair,
    }
    if verb is not None and verb != claims.verb:
        raise Malformed("the signal's verb is not the one of its target")
    if action is not None and action.value != claims.action:
        raise Malformed(f"at this house {claims.verb} is of class {action.value}, not what the signal says")
    rows = [machine_row("machine", asker.cap)]
    if isinstance(stated, Stated):
        rows.append(granted_row(stated.subject, stated.actions))
    judgement = judge(asker.cap, rows, ActionClass(claims.action), human_signed=isinstance(stated, Stated))
    reason = None
    if isinstance(stated, TallyError):
        reason = stated.message
    elif judgement.verdict is not Verdict.ALLOW:
        reason = judgement.deciding[0].why
    elif verb is None:
        reason = "there is nothing at this target"
    elif verb in ADMIN_ONLY and asker.cap is not PairType.ADMIN:
        reason = f"only an ADMIN pair may ask {verb}"
    if reason is not None:
        yield from _refuse(cmd, common, reason, stated.hint if isinstance(stated, TallyError) else "", now_ns)
    # `depth`: the ledger takes it only if key and pair still stand at its very entry (docs/spec/state.md, section 6).
    allowed = Event.of(Kind.SIGNAL, now_ns, "pair", signal=cmd.signal.raw, verdict="allow", depth=0, **common)
    about: dict[str, Any] = {"pairing": asker.pair, "session": asker.session}
    if effect is None:
        (receipt,) = yield from _allow(cmd, common, Record((allowed,), (cmd.opening,), looking=True), now_ns)
        done: Done = yield Perform(verb or "", receipt)
        yield Later((_answer(done, receipt, about),))
        return Passed(receipt=receipt, done=done)
    actor, asked = ("pair", stated.signed.fields()) if isinstance(stated, Stated) else ("house", about)
    begun_event = Event.of(Kind.EFFECT_BEGUN, now_ns, actor, effect=effect, signal_hash=cmd.signal.reference, **asked)
    receipt, begun = yield from _allow(cmd, common, Record((allowed, begun_event), (cmd.opening, None)), now_ns)
    done = yield Perform(verb or "", receipt, begun)
    status = done.status if done.ended is None else done.ended
    if done.error is None:
        end = Event.of(
            Kind.EFFECT_DONE,
            done.now_ns,
            entry=begun.index,
            status=status,
            digest=done.digest,
            length=done.length,
            result="ok",
            **about,
        )
    else:
        why = done.word or word_of(done.error)
        end = Event.of(Kind.EFFECT_FAILED, done.now_ns, entry=begun.index, status=status, reason=why, result="failed", **about)
    yield Record((end, _answer(done, receipt, about)))
    return Passed(receipt=receipt, done=done)


def _allow(cmd: Command, common: Mapping[str, Any], record: Record, now_ns: int) -> Passage[tuple[Receipt, ...]]:
    """The record of what is allowed; where key or pair fell between the judgement and the entry, it is recorded as refused."""
    try:
        receipts: tuple[Receipt, ...] = yield record
    except Refused as error:
        yield from _refuse(cmd, common, error.message, "", now_ns)
        raise AssertionError("a refusal was recorded and nothing raised") from None
    return receipts


def _refuse(cmd: Command, common: Mapping[str, Any], reason: str, hint: str, now_ns: int) -> Passage[None]:
    """Raises: RefusedCommand, once it is recorded."""
    event = Event.of(
        Kind.SIGNAL, now_ns, "pair", signal=cmd.signal.raw, verdict=Verdict.REFUSE.word, result="refused", reason="rights", **common
    )
    (receipt,) = yield Record((event,), (cmd.opening,))
    raise RefusedCommand(reason, receipt, hint)


def _answer(done: Done, receipt: Receipt, about: Mapping[str, Any]) -> Event:
    result = "ok" if done.error is None and done.status < 400 else "failed"
    return Event.of(
        Kind.ANSWER, done.now_ns, status=done.status, length=done.length, digest=done.digest, entry=receipt.index, result=result, **about
    )


class RefusedCommand(Refused):
    """Refused, and recorded as `receipt`. The asker learns that and the entry index, nothing else."""

    def __init__(self, reason: str, receipt: Receipt, hint: str = "") -> None:
        super().__init__(f"not allowed: {reason}", hint or "`tally status` shows what this pair may do; an ADMIN can change it.")
        self.receipt = receipt
