"""The gatekeeper: has signals judged and recorded, and tells the verdict (docs/spec/gate.md).

    verdict = await gatekeeper.admit(cose, opening)        # allowed, held or refused, with its entry
    decision = gatekeeper.judge(cose, opening)             # the same without a record: nothing may take effect by it
    found = gatekeeper.recheck(proposal, signal)           # a recorded signal with what is known now: for releases

Every signal is judged with what stands at that moment, in whatever process it was changed (node/gatememory.py). What changes between
the judgement and the entry is noticed by the ledger's own rules; the signal is then judged again.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from tallystick.errors import Malformed, Misuse, Refused, Unavailable, Unproven
from tallystick.facts.fact import Place, read_place
from tallystick.facts.schedule import within
from tallystick.gate.crypto import STANDING, Unbelieved, check_claims, check_class, check_key, prove
from tallystick.gate.finding import sign_finding
from tallystick.gate.gate import CLEAN, Seen, layers_for
from tallystick.gate.gate import judge as walk_layers
from tallystick.gate.opening import BodyDigest, Opening, open_signal, parse_opening
from tallystick.gate.plan import Layers, Plan, plan_of
from tallystick.gate.provenance import NOTHING, OUT_OF_NOWHERE, Link, Unlinked, check_reference, link
from tallystick.gate.question import Candidate, Evidence, GateLayer, Layer
from tallystick.gate.signal import EntryRef, ProvenSignal, Signal, parse_signal
from tallystick.keys import KeyId, Signer
from tallystick.keys.cose import parse_sign1
from tallystick.ledger.event import Event, Kind
from tallystick.node.crowd import Crowd
from tallystick.node.effects import Effects
from tallystick.node.gatememory import Behind, GateMemory, Known
from tallystick.node.gaterates import GateRates
from tallystick.node.gatewords import Decided, Forked, Rechecked, Releases, Verdict, verdict_of
from tallystick.pair.pairing import PairType
from tallystick.pair.statement import VERBS as PAIR_STATEMENTS
from tallystick.passage.admission import PROPOSAL_LIFE_NS, Admitted, Decision, Proposed, admission, check_body, reason_word, unbelieved
from tallystick.passage.effect import Passage
from tallystick.passage.signal import Asker
from tallystick.primitives import sha256
from tallystick.rights.action import ActionClass
from tallystick.rights.matrix import LOCAL_CAP, judge
from tallystick.rights.risk import risk_of
from tallystick.rights.scope import Request
from tallystick.rights.statement import SPOKEN
from tallystick.rights.verb import VERBS, is_named
from tallystick.rights.verdict import Verdict as Word
from tallystick.storage.gaterows import ProposalRow, SignalRow
from tallystick.storage.sqlite import Store

TRIES: Final = 4  # of a signal whose key, context or scope changed between its judgement and its entry
MAX_VERBS: Final = 1_024
MAX_HELD: Final = 256  # proposals of one key that wait: an inbox that somebody fills is read by nobody
LOOK_S: Final = 0.25  # how often one who waits for a human looks whether another process had the word
SCHEDULE_TOLERANCE_S: Final = 60  # of a row; what rules a key out altogether is settable (docs/spec/facts.md)
STATEMENTS: Final = SPOKEN | frozenset(PAIR_STATEMENTS.values())
# Taken out of their enumeration once: to look a member up there is a call, and a signal does it often.
_ALLOW: Final = Word.ALLOW
_REFUSE: Final = Word.REFUSE
_ACTIONS: Final[Mapping[str, ActionClass]] = {action.value: action for action in ActionClass}
_EMPTY: Final = Opening()

log = logging.getLogger("tallystick")


_COUNTED: Final[Mapping[Word, str]] = {Word.ALLOW: "gate_allowed", Word.HOLD: "gate_held", Word.REFUSE: "gate_refused"}


class Gatekeeper:
    """The gate of one house, for one event loop."""

    def __init__(
        self,
        store: Store,
        effects: Effects,
        *,
        house_id: KeyId,
        signer: Signer,
        origin: Callable[[], bytes],
        clock: Callable[[], int],
        plan: Plan | None = None,
        layers: Mapping[Layer, GateLayer] | None = None,
        rate: int = 0,
    ) -> None:
        """`signer`: the house's own key, for findings.  `origin`: the hash that entry references of this log name.

        `clock`: pair time, UTC nanoseconds.  `layers`: those above crypto, by name.  `rate`: signals a second of one key; 0: all.
        """
        self._store = store
        self._effects = effects
        self._house = house_id
        self._signer = signer
        self._origin = origin
        self._clock = clock
        self._layers = dict(layers or {})
        self._memory = GateMemory(store.gate, signer.public.key_id)
        self.rates = GateRates(rate, clock)
        self._crowd = Crowd()
        self._stream, self._n = os.urandom(16), 0
        self._waiting: dict[int, list[asyncio.Future[Decided]]] = {}
        self._built = frozenset((Layer.CRYPTO, *self._layers))
        self._plan = plan if plan is not None else plan_of({}, built=self._built)
        self._runs: dict[Layers, tuple[GateLayer, ...]] = {}
        self.releases: Releases | None = None
        self.search: Callable[[Candidate, Evidence], Evidence] | None = None
        self._verbs: set[tuple[str, str]] = set()  # that were found right
        # Where nobody says which programs there are, a program's class is admin: who only holds the gate runs none of a lesser one.
        self.actions_of: Callable[[str], ActionClass | None] = lambda verb: ActionClass.ADMIN if is_named(verb) else VERBS.get(verb)
        self.counts = {"gate_allowed": 0, "gate_held": 0, "gate_refused": 0}

    @property
    def plan(self) -> Plan:
        """The effective plan."""
        return self._plan

    def _refresh(self) -> None:
        """What the ledger says now; a plan that a human has signed meanwhile is the plan from now on."""
        if not self._memory.refresh():
            return
        recorded = self._store.gate.plan()
        if recorded is not None and recorded[1] != self._plan.words():
            try:
                self._plan = plan_of(recorded[1], built=self._built)
            except Misuse as error:
                log.error("the recorded plan is not one of this program: the plan of before goes on", extra={"reason": error.message})

    # --- Judging ---------------------------------------------------------------------------------------------------------

    def judge(self, signal: bytes, opening: bytes, *, carried: Asker | None = None, now_ns: int | None = None) -> Decision:
        """Decide about a signal and record nothing.

        Args: signal: COSE_Sign1.  opening: what its commitments hold.  carried: the pair it came over; None: a local source.
        Raises: Malformed.  Unbelieved: nobody believes it; `word` says why.  Unavailable.
        """
        return self._judge(signal, opening, carried, self._clock() if now_ns is None else now_ns)

    def _judge(self, signal: bytes, opening: bytes, carried: Asker | None, now_ns: int, *, crowd: Crowd | None = None) -> Decision:
        """`crowd`: whose first in each turn of the loop reads the ledger for all; whether the number is taken the entry will say."""
        unproven = parse_signal(signal)
        claims = unproven.claims
        taken = None
        if crowd is None or not crowd.looked():  # asked only by who will look: what cannot be read is nobody's first
            taken = self._store.signal_seen(unproven.kid, claims.stream, claims.n)
            self._refresh()
        key = self._memory.key(unproven.kid)
        if key is None:
            raise Unbelieved("unproven", "its key is not known here")
        if key.known.state != STANDING or key.known.expires_ns is not None:
            check_key(key.known, now_ns)
        if claims.signal_class not in key.accepted:
            check_class(key.known, claims.signal_class, allowed=key.may_speak_as(claims.signal_class))
        self._check_verb(claims)
        check_claims(claims, self._house, now_ns)
        proven = prove(unproven, key.public)
        opened, raw_place = open_signal(claims, opening)
        if taken is not None:
            raise self._number_taken(proven, taken)
        decision = Decision(
            signal=proven,
            opening=opened,
            raw_opening=opening,
            key=key.known,
            verdict=_REFUSE,
            now_ns=now_ns,
            carried=carried,
            raw_place=raw_place,
        )
        try:
            if claims.prev or key.hears:
                decision.link, decision.context = self._link(proven, key)
        except Unlinked as error:
            decision.reason, decision.why = error.word, error.message
            return decision
        return self._conclude(decision, key, LOCAL_CAP if carried is None else carried.cap)

    def _number_taken(self, signal: ProvenSignal, entry: int) -> Unbelieved:
        row = self._store.entry(entry)
        if row is not None and sha256(parse_sign1(row.event.blob("signal")).signed_bytes()) != signal.structure_hash:
            return Forked(signal)
        return Unbelieved("replay", "it is in the ledger already")

    def recheck(self, proposal: ProposalRow, signal: SignalRow) -> Rechecked:
        """What would be said now of a signal that was recorded: keys, facts and rights of now; signature, age and number stand.

        Args: proposal: that waits with it; its body is part of what a scope may name.
        Raises: Refused: the entry holds another signal than the proposal names.  Unavailable.
        """
        row = self._store.entry(signal.entry)
        raw = b"" if row is None else row.event.blob("signal")
        if not raw or sha256(raw) != proposal.signal_hash:
            raise Refused("the proposal names another signal than its entry holds")
        return self.rejudge(signal.entry)

    def rejudge(self, entry: int) -> Rechecked:
        """The same for any signal the gate has recorded, by its entry: what all layers and rights say now (`tally explain`)."""
        memory, now_ns = self._memory, self._clock()
        row = self._store.entry(entry)
        self._refresh()
        event = None if row is None else row.event
        if event is None or event.get("verdict") is None:
            raise Refused(f"entry {entry} holds no signal that was judged")
        unproven = parse_signal(event.blob("signal"))
        key = memory.key(unproven.kid)
        if key is None:
            return Rechecked(verdict=Word.REFUSE, reason="unproven", why="its key is not known here")
        try:
            check_key(key.known, now_ns)
            signal_class = unproven.claims.signal_class
            check_class(key.known, signal_class, allowed=key.known.kind == "machine" or key.may_speak_as(signal_class))
            proven = unproven.prove(key.public)
        except Unproven as error:
            return Rechecked(verdict=Word.REFUSE, reason=error.word if isinstance(error, Unbelieved) else "unproven", why=error.message)
        cap = self._cap_now(event.blob("pairing"))
        if cap is None:
            return Rechecked(verdict=Word.REFUSE, reason="rights", why="the pair that carried it does not stand any more")
        opening = self._store.opening(entry)
        opened = _EMPTY if opening is None else parse_opening(opening)
        signers = event.get("signers")
        behind = Link(signers if isinstance(signers, tuple) else (), event.number("depth"))
        decision = self._conclude(
            Decision(
                signal=proven,
                opening=opened,
                raw_opening=opening or b"",
                key=key.known,
                verdict=Word.REFUSE,
                now_ns=now_ns,
                link=behind,
                raw_place=b"" if opened.place is not None else None,
            ),
            key,
            cap,
        )
        rejected = decision.seen.rejected
        return Rechecked(
            verdict=decision.verdict,
            reason=decision.reason or "",
            rule="" if rejected is None else rejected.rule,
            facts=() if rejected is None else rejected.facts,
            why=decision.why,
        )

    def _cap_now(self, pairing: bytes) -> PairType | None:
        if not pairing:
            return LOCAL_CAP
        row = self._store.pair(pairing)
        return row.effective if row is not None and row.stands else None

    def _check_verb(self, claims: Signal) -> None:
        """A verb of the house names its own action; a human's statement has its own way in. Raises: Unbelieved."""
        if (claims.verb, claims.action) in self._verbs:
            return
        if claims.verb in STATEMENTS:
            raise Unbelieved("class", f"{claims.verb} is a statement: it is handed in over a pair")
        action = self.actions_of(claims.verb)
        if action is not None and action.value != claims.action:
            raise Unbelieved("malformed", f"the verb {claims.verb} is of class {action.value}")
        if len(self._verbs) < MAX_VERBS and not is_named(claims.verb):
            self._verbs.add((claims.verb, claims.action))

    def _link(self, signal: ProvenSignal, key: Known) -> tuple[Link, tuple[int, int, bytes] | None]:
        """Who is behind it, and the context the house completes it by. Raises: Unlinked."""
        claims, memory = signal.claims, self._memory
        found: list[Behind | None] = []
        for reference in claims.prev:
            if isinstance(reference, EntryRef):
                check_reference(reference, origin=self._origin(), size=self._store.size())
                found.append(memory.behind_entry(reference.index))
            else:
                found.append(memory.behind(reference))
        own, house = bytes(signal.kid), self._signer.public.key_id
        if not key.hears:
            return link(own, found, house), None
        context = self._store.gate.context(own)
        if context is None:
            return link(own, found, house, OUT_OF_NOWHERE), None
        delivered = Link(tuple(map(bytes, context.signers)), context.depth + 1) if context.count else NOTHING
        return link(own, found, house, delivered), context.field

    def _conclude(self, decision: Decision, key: Known, cap: PairType) -> Decision:
        """Layers and rights: fills in the decision."""
        signal, claims, memory = decision.signal, decision.signal.claims, self._memory
        if decision.raw_place is not None:
            decision.place = _place(decision.opening)
        layers = self._plan.resolve(claims.signal_class)
        if len(layers) > 1 and (decision.raw_place is not None or not memory.silent(signal.kid, claims.issued_at_ns, layers)):
            decision.seen = self._look(layers, decision)
        seen, action, behind = decision.seen, _ACTIONS[claims.action], decision.link.signers
        decision.weighed = True
        if seen.rejected is None and not seen.low and memory.plainly(key, cap, action, claims, behind):
            decision.verdict = _ALLOW
            return decision
        voices = [key.rights, *map(memory.rights, behind)]
        target = decision.opening.target
        asked = None if target is None else decision.opening.read_target()
        body = None if decision.opening.body is None else decision.opening.read_body()
        judgement = judge(
            cap,
            voices,
            action,
            human_signed=key.admin,
            failed=None if seen.rejected is None else (seen.rejected.layer.value, seen.rejected.why or seen.rejected.rule),
            low_confidence=seen.low,
            request=Request(
                key=signal.kid,
                signal_class=claims.signal_class,
                action=action,
                verb=claims.verb,
                target=None if asked is None else f"{asked.method} {asked.path}",
                body=body.sha256 if isinstance(body, BodyDigest) else None,
                behind=behind,  # type: ignore[arg-type]
                now_ns=decision.now_ns,
            ),
            scopes=memory.scopes(signal.kid),
            within=lambda schedule, _: within(schedule, claims.issued_at_ns, SCHEDULE_TOLERANCE_S),
        )
        decision.verdict, decision.reduced, decision.scope, decision.judgement = judgement.verdict, seen.low, judgement.scope, judgement
        if judgement.verdict is not _ALLOW:
            decision.reason, decision.why = reason_word(judgement), judgement.deciding[0].why
        return decision

    def _look(self, layers: Layers, decision: Decision) -> Seen:
        """Run the layers above crypto; what they ask the fact store answers."""
        runs = self._runs.get(layers)
        if runs is None:
            runs = self._runs[layers] = layers_for(layers, self._layers)
        candidate = Candidate(
            signal=decision.signal, opening=decision.opening, key=decision.key, place=decision.place, now_ns=decision.now_ns
        )
        walk = walk_layers(runs, candidate)
        kid, answer = decision.signal.kid, None
        try:
            question = next(walk)
            while True:
                try:
                    answer = self._memory.evidence(kid, question)
                    if self.search is not None and answer is not None:
                        answer = self.search(candidate, answer)
                except Unavailable as error:
                    log.warning("the fact store did not answer", extra={"reason": error.message})
                    answer = None
                question = walk.send(answer)
        except StopIteration as stop:
            seen: Seen = stop.value
            if seen is CLEAN and decision.raw_place is None:
                self._memory.passed(kid, layers, runs)
            return seen

    # --- Admitting -------------------------------------------------------------------------------------------------------

    async def admit(
        self,
        signal: bytes,
        opening: bytes,
        body: bytes | None = None,
        deliver_to: Sequence[bytes] = (),
        *,
        carried: Asker | None = None,
        sender: bytes = b"",
        recorded: Callable[[], object] | None = None,
    ) -> Verdict:
        """Judge a signal, record it with all that was seen, do what it asks of the house itself if it may, then tell.

        Args: body: the bytes its body commitment names; kept where the signal is held.  deliver_to: the keys that are given its
            content if it is allowed: it becomes part of their context.  sender: whoever hands it in; each has buckets of its own, for
            naming a key is no proof of having it.  recorded: called once it is in the ledger: what it asks for may take an hour.
        Raises: Malformed: not a signal, or not with this opening and body.  Unavailable: nothing was recorded and nothing may happen.
        """
        found = await self._admitted(signal, opening, body, deliver_to, carried, sender)
        if recorded is not None:
            recorded()
        if isinstance(found, Verdict):
            return found
        decision, done = found.decision, None
        if decision.allowed and self.releases is not None:
            reference, verb = decision.signal.reference, decision.signal.claims.verb
            done = await self.releases.perform(found.receipt.index, verb, reference, decision.opening, body)
        return verdict_of(found, done)

    async def _admitted(
        self, signal: bytes, opening: bytes, body: bytes | None, deliver_to: Sequence[bytes], carried: Asker | None, sender: bytes
    ) -> Admitted | Verdict:
        kid, sender = parse_sign1(signal).kid, sender if carried is None else carried.pair
        self.rates.take(None if self._memory.key(kid) is None else kid, sender)
        changed: Refused | None = None
        for tried in range(TRIES):
            try:
                decision = self._judge(signal, opening, carried, self._clock(), crowd=None if tried else self._crowd)
                decision.sender = sender
                check_body(decision.opening, body)
                walk = await self._admission(decision, body, deliver_to)
                await self._crowd.gather()
                found = await self._effects.run(walk)
            except Forked as error:
                await self._fork(error.signal, opening)
                return await self._unbelieved(error.word, kid, signal, carried, sender)
            except Unbelieved as error:
                return await self._unbelieved(error.word, kid, signal, carried, sender)
            except Malformed:
                await self._unbelieved("malformed", kid, signal, carried, sender)
                raise
            except Unproven as error:
                log.warning("a signal is not believed", extra={"reason": error.message})
                return await self._unbelieved("unproven", kid, signal, carried, sender)
            except Refused as error:
                changed = error
                log.info("judged again", extra={"reason": error.message})
                continue
            link = decision.link
            self._memory.keep(decision.signal.reference, Behind(bytes(kid), link.signers, link.depth))
            self.counts[_COUNTED[decision.verdict]] += 1
            return found
        raise changed or AssertionError("tried, and neither admitted nor refused")

    async def _fork(self, signal: ProvenSignal, opening: bytes) -> None:
        """Hand a fork to the ledger: its rule keeps both statements and suspends the key."""
        log.error("a key has signed two statements under one number", extra={"key": signal.kid.hex()})
        event = Event.of(Kind.SIGNAL, self._clock(), "gate", signal=signal.raw, verdict="refuse", key=bytes(signal.kid), depth=0)
        with suppress(Unproven):
            await self._store.record(event, openings=(opening,))

    async def _admission(self, decision: Decision, body: bytes | None, deliver_to: Sequence[bytes]) -> Passage[Admitted]:
        proposed, signed = None, []
        if decision.verdict is Word.HOLD:
            proposed = await self._proposed(decision, body)
        for _ in () if decision.seen is CLEAN else decision.seen.notable:
            self._n += 1
            signed.append(
                sign_finding(
                    self._signer,
                    decision.signal.reference,
                    house_id=self._house,
                    now_ns=decision.now_ns,
                    stream=self._stream,
                    n=self._n,
                )
            )
        return admission(decision, body=body, deliver_to=deliver_to, signed_findings=signed, proposed=proposed)

    async def _proposed(self, decision: Decision, body: bytes | None) -> Proposed | None:
        """What a held signal waits with; a key with too many that wait is refused."""
        claims, kid = decision.signal.claims, decision.signal.kid
        if sum(row.key == kid for row in self._store.gate.proposals("held", limit=10_000)) >= MAX_HELD:
            decision.verdict, decision.reason, decision.why = Word.REFUSE, "limits", "too much of this key waits for a human"
            return None
        conditions = None if self.releases is None else await self.releases.preconditions(claims.verb, decision.opening, body)
        risk = risk_of(claims.verb, _ACTIONS[claims.action]).word
        return Proposed(risk=risk, expires_ns=decision.now_ns + PROPOSAL_LIFE_NS, preconditions=conditions)

    async def _unbelieved(self, word: str, kid: bytes, signal: bytes, carried: Asker | None, sender: bytes) -> Verdict:
        """Recorded where it names a known key, a few a second; what names an unknown one is only counted."""
        if self._memory.key(kid) is None:
            self.rates.stranger()
            return Verdict(word="refused")
        self.counts["gate_refused"] += 1
        if not self.rates.records(bytes(kid), sender):
            return Verdict(word="refused")
        walk = unbelieved(word, key=bytes(kid), carried=carried, signal_hash=sha256(signal), now_ns=self._clock(), sender=sender)
        receipt = await self._effects.run(walk)
        return Verdict(word="refused", entry=receipt.index)

    # --- What a human decided ----------------------------------------------------------------------------------------------

    async def decision(self, proposal: int) -> Decided:
        """Wait until a proposal is over. Raises: Refused: there is no such proposal.  Unavailable."""
        while True:
            row = self._store.gate.proposal(proposal)
            if row is None:
                raise Refused(f"entry {proposal} is no proposal", "`tally inbox` shows what waits.")
            if row.state in ("denied", "ended", "void"):
                reason = row.reason or ("void" if row.state != "denied" else "denied")
                return Decided(reason=reason if row.state != "denied" else "denied", entry=row.ended or 0)
            waiting: asyncio.Future[Decided] = asyncio.get_running_loop().create_future()
            waiters = self._waiting.setdefault(proposal, [])
            waiters.append(waiting)
            try:
                return await asyncio.wait_for(waiting, LOOK_S)
            except TimeoutError:
                continue
            finally:
                waiters.remove(waiting)
                if not waiters:
                    self._waiting.pop(proposal, None)

    def released(self, proposal: int, reason: str, entry: int = 0) -> None:
        """A proposal is over in this process: whoever waits for it is told at once."""
        for waiting in self._waiting.get(proposal, ()):
            if not waiting.done():
                waiting.set_result(Decided(reason=reason, entry=entry))


def _place(opening: Opening) -> Place | None:
    """Where a signal says it was made. Raises: Malformed."""
    return None if opening.place is None else read_place(opening.place.value)
