"""The gatekeeper: keeps at hand what the gate asks for, has signals judged and recorded, and tells the verdict (docs/spec/gate.md).

    verdict = await gatekeeper.admit(cose, opening)        # allowed, held or refused, with its entry
    decision = gatekeeper.judge(cose, opening)             # the same without a record: nothing may take effect by it
    decision = gatekeeper.rejudge(entry)                   # a recorded signal with what is known now: for releases

Everything it keeps it keeps for one epoch of the store: when a key, grant, fact, scope or context may have changed, here or in
another process, the next signal is judged with what stands then.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tallystick.errors import Misuse, Refused
from tallystick.facts.fact import KnownKey
from tallystick.gate.crypto import Unbelieved, believe
from tallystick.gate.gate import CLEAN, Seen
from tallystick.gate.opening import check_opening, parse_opening
from tallystick.gate.plan import Plan, read_plan
from tallystick.gate.provenance import NOTHING
from tallystick.gate.question import GateLayer, Layer
from tallystick.gate.signal import UnprovenSignal, parse_signal
from tallystick.keys import KeyId, PublicKey
from tallystick.node.effects import Effects
from tallystick.passage.admission import PROPOSAL_LIFE_NS, Admitted, Decision, Proposed, admission, check_body, reason_word, unbelieved
from tallystick.passage.signal import Asker
from tallystick.primitives import sha256
from tallystick.rights.action import ActionClass
from tallystick.rights.matrix import LOCAL_CAP, SOURCE_ROW, Row, granted_row, judge
from tallystick.rights.verdict import Verdict as Word
from tallystick.storage.sqlite import Store

TRIES: Final = 4  # of a signal whose key, context or scope changed between its judgement and its entry

log = logging.getLogger("tallystick")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a sender learns. `word`: allowed, held or refused.  `entry`: where it stands; None: not believed, and not recorded alone.

    `reduced`: confidence was low.  `proposal`: the entry that waits for a human, where it is held.
    """

    word: str
    entry: int | None = None
    reduced: bool = False
    proposal: int | None = None

    @property
    def allowed(self) -> bool:
        """It may take effect."""
        return self.word == "allowed"

    @property
    def held(self) -> bool:
        """It waits for a human."""
        return self.word == "held"

    @property
    def refused(self) -> bool:
        """It is not believed, or not allowed."""
        return self.word == "refused"


_WORDS: Final[Mapping[Word, str]] = {Word.ALLOW: "allowed", Word.HOLD: "held", Word.REFUSE: "refused"}


@dataclass(slots=True)
class _Known:
    """A key as the gate needs it: read once for each epoch."""

    known: KnownKey
    public: PublicKey
    classes: frozenset[str]
    row: Row


class Gatekeeper:
    """The gate of one house, for one event loop; `judge` and `rejudge` for any thread."""

    def __init__(
        self,
        store: Store,
        effects: Effects,
        *,
        house_id: KeyId,
        clock: Callable[[], int],
        plan: Plan | None = None,
        layers: Mapping[Layer, GateLayer] | None = None,
    ) -> None:
        """`clock`: pair time, UTC nanoseconds.  `layers`: those above crypto, by name."""
        self._store = store
        self._effects = effects
        self._house = house_id
        self._clock = clock
        self.plan = plan if plan is not None else read_plan({})
        self._layers = dict(layers or {})
        self._keys: dict[bytes, _Known | None] = {}
        self._epoch = -1
        self.counts = {"signals_admitted": 0, "signals_held": 0, "signals_refused": 0, "signals_unknown": 0}

    # --- Judging ---------------------------------------------------------------------------------------------------------

    def judge(self, signal: bytes, opening: bytes, *, carried: Asker | None = None, now_ns: int | None = None) -> Decision:
        """Decide about a signal and record nothing.

        Args: signal: COSE_Sign1.  opening: what its commitments hold.  carried: the pair it came over; None: a local source.
        Raises: Malformed.  Unbelieved: nobody believes it; `word` says why.  Unavailable.
        """
        now_ns = self._clock() if now_ns is None else now_ns
        unproven = parse_signal(signal)
        key = self._key(unproven.kid)
        if key is None:
            raise Unbelieved("unproven", "its key is not known here")
        proven = believe(unproven, key.known, key.public, key.classes, house_id=self._house, now_ns=now_ns)
        opened = parse_opening(opening)
        check_opening(proven.claims, opened)
        if self._store.signal_seen(proven.kid, proven.claims.stream, proven.claims.n) is not None:
            raise Unbelieved("replay", "its number is taken")
        cap = LOCAL_CAP if carried is None else carried.cap
        action = ActionClass(proven.claims.action)
        seen: Seen = CLEAN
        judgement = judge(cap, (key.row,), action, human_signed=key.known.kind == "human" and ActionClass.ADMIN in key.row.actions)
        allowed = judgement.verdict is Word.ALLOW
        return Decision(
            signal=proven,
            opening=opened,
            raw_opening=opening,
            key=key.known,
            verdict=judgement.verdict,
            now_ns=now_ns,
            carried=carried,
            reason=None if allowed else reason_word(judgement),
            why="" if allowed else judgement.deciding[0].why,
            reduced=judgement.reduced,
            seen=seen,
            link=NOTHING,
            judgement=judgement,
        )

    def rejudge(self, signal_entry: int, *, now_ns: int | None = None) -> Decision:
        """Decide anew about a signal that is recorded, with the keys, facts and rights of now; signature, age and number stand.

        Raises: Misuse: that entry holds no signal of the gate.  Unbelieved: its key does not stand any more.  Unavailable.
        """
        raise Misuse(f"entry {signal_entry} holds no signal of the gate")

    # --- Admitting -------------------------------------------------------------------------------------------------------

    async def admit(
        self,
        signal: bytes,
        opening: bytes,
        body: bytes | None = None,
        deliver_to: Sequence[bytes] = (),
        *,
        carried: Asker | None = None,
    ) -> Verdict:
        """Judge a signal, record it with all that was seen, then tell.

        Args: body: the bytes its body commitment names; kept where the signal is held.  deliver_to: the keys that are given its
            content if it is allowed: it becomes part of their context.
        Raises: Malformed: not a signal, or not with this opening and body.  Unavailable: nothing was recorded and nothing may happen.
        """
        admitted = await self.admitted(signal, opening, body, deliver_to, carried=carried)
        if not isinstance(admitted, Admitted):
            return admitted
        return Verdict(
            word=_WORDS[admitted.decision.verdict],
            entry=admitted.receipt.index,
            reduced=admitted.decision.reduced,
            proposal=None if admitted.proposal is None else admitted.proposal.index,
        )

    async def admitted(
        self,
        signal: bytes,
        opening: bytes,
        body: bytes | None = None,
        deliver_to: Sequence[bytes] = (),
        *,
        carried: Asker | None = None,
    ) -> Admitted | Verdict:
        """`admit` for those who need the decision too. Raises: as `admit`."""
        unproven: UnprovenSignal = parse_signal(signal)
        for tried in range(TRIES):
            try:
                decision = self.judge(signal, opening, carried=carried)
                check_body(decision.opening, body)
                proposed = None
                if decision.verdict is Word.HOLD:
                    proposed = Proposed(risk="unknown", expires_ns=decision.now_ns + PROPOSAL_LIFE_NS)
                found = await self._effects.run(admission(decision, body=body, deliver_to=deliver_to, proposed=proposed))
            except Unbelieved as error:
                return await self._unbelieved(error, unproven, signal, carried)
            except Refused:
                if tried + 1 == TRIES:
                    raise
                continue
            self.counts[{Word.ALLOW: "signals_admitted", Word.HOLD: "signals_held", Word.REFUSE: "signals_refused"}[decision.verdict]] += 1
            return found
        raise AssertionError("tried and neither admitted nor refused")

    async def _unbelieved(self, error: Unbelieved, unproven: UnprovenSignal, signal: bytes, carried: Asker | None) -> Verdict:
        """Recorded where it names a known key; what names an unknown one is only counted."""
        if self._key(unproven.kid) is None:
            self.counts["signals_unknown"] += 1
            return Verdict(word="refused")
        self.counts["signals_refused"] += 1
        receipt = await self._effects.run(
            unbelieved(error.word, key=bytes(unproven.kid), carried=carried, signal_hash=sha256(signal), now_ns=self._clock())
        )
        return Verdict(word="refused", entry=receipt.index)

    # --- What is kept for an epoch ---------------------------------------------------------------------------------------

    def _key(self, kid: bytes) -> _Known | None:
        row = self._store.key(kid)
        if row is None:
            return None
        known = KnownKey(
            key_id=row.key_id,
            number=row.number,
            kind=row.kind,
            state=row.state,
            classes=row.classes,
            actions=row.actions,
            targets=row.targets,
            schedule=row.schedule,
            expires_ns=row.expires_ns,
            introduced=row.introduced,
            changed=row.changed,
            since=row.since,
            label=row.label,
        )
        actions = frozenset(ActionClass(action) for action in row.actions) if row.actions else SOURCE_ROW
        return _Known(known, row.public, frozenset(row.classes), granted_row(f"#{row.number}", actions))
