"""What a house does with human statements about keys, rows, facts, scopes, the plan and what is held (docs/spec/statements.md, 6).

Who signed, and whether they may, was looked at before (node/statements.py). Here each statement is held against what the house knows, so
that a person gets a plain answer; the ledger's projection keeps the rules that two at once could break.
"""

from typing import Protocol

from tallystick.errors import Malformed, Refused, Unavailable, Unproven
from tallystick.facts.fact import check_value, read_place
from tallystick.gate.opening import Opening, commitments_of, parse_opening
from tallystick.gate.plan import plan_of, weaker
from tallystick.gate.signal import Commitments
from tallystick.keys import KeyId
from tallystick.ledger.event import Kind
from tallystick.ledger.receipt import Receipt
from tallystick.node.effects import Effects
from tallystick.node.machine import Machine
from tallystick.passage import rights
from tallystick.passage.pairing import Signed
from tallystick.rights.statement import (
    ContextBegin,
    ContextEnd,
    FactAdd,
    FactWithdraw,
    GatePlan,
    GrantWithdraw,
    KeyGrant,
    KeyRevoke,
    ProgramRun,
    ScopeGrant,
    ScopeWithdraw,
    SignalApprove,
    SignalDeny,
    Statement,
)
from tallystick.storage.rows import KeyRow

_ENDS = (KeyRevoke, GrantWithdraw, FactWithdraw, ScopeWithdraw, SignalDeny, ContextEnd)


class Decisions(Protocol):
    """Who carries out what a human decided about held signals."""

    async def approve(self, statement: SignalApprove, signed: Signed, now_ns: int) -> Receipt:
        """Held signals may go."""

    async def deny(self, statement: SignalDeny, signed: Signed, now_ns: int) -> Receipt:
        """A held signal is turned away."""


class GateStatements:
    """Statements of the gate at one house."""

    def __init__(self, machine: Machine, effects: Effects) -> None:
        self._machine = machine
        self._effects = effects
        self.decisions: Decisions | None = None
        """Set by the house once it has an inbox of held signals."""

    async def do(self, statement: Statement, signed: Signed, secret: bytes | None, now_ns: int) -> Receipt:
        """Record it, and have it take effect.

        Args: secret: the opening of a place or of a personal fact, which comes with them and with nothing else.
        Raises: Malformed, Unproven, Refused, Unavailable.
        """
        opening = _check_secret(statement, secret)
        if self._machine.reserve.low and not isinstance(statement, _ENDS):
            raise Unavailable("the house's disk is nearly full: it records only what ends something", "make room there, then try again")
        run, gate = self._effects.run, self._machine.store.gate
        match statement:
            case KeyGrant():
                known = self._may_be_granted(statement, now_ns)
                return await run(rights.granted(statement, known=known, opening=opening, signed=signed, now_ns=now_ns))
            case KeyRevoke():
                return await run(rights.revoked(statement, pair=self._pair_of(statement), signed=signed, now_ns=now_ns))
            case GrantWithdraw():
                return await run(
                    rights.grant_withdrawn(statement, subject=self._granted_key(statement.grant), signed=signed, now_ns=now_ns)
                )
            case FactAdd():
                if statement.subject is not None:
                    self._key(statement.subject)
                if statement.until_ns is not None and statement.until_ns <= now_ns:
                    raise Refused("this fact holds no more at the moment it is stated", "give a later end, or none")
                return await run(rights.fact_added(statement, opening=opening, signed=signed, now_ns=now_ns))
            case FactWithdraw():
                fact = gate.fact(statement.fact)
                if fact is None:
                    raise Refused(f"entry {statement.fact} is no fact", "see `tally fact ls`")
                return await run(rights.fact_withdrawn(statement, signed=signed, now_ns=now_ns))
            case ScopeGrant():
                self._key(statement.subject)
                if statement.terms.until_ns <= now_ns:
                    raise Refused("this scope is over at the moment it is signed", "give a later end")
                return await run(rights.scope_granted(statement, signed=signed, now_ns=now_ns))
            case ScopeWithdraw():
                if gate.scope(statement.scope) is None:
                    raise Refused("there is no such scope", "see `tally rights scopes`")
                return await run(rights.scope_withdrawn(statement, signed=signed, now_ns=now_ns))
            case GatePlan():
                return await run(rights.planned(statement, weakened=self._weakens(statement), signed=signed, now_ns=now_ns))
            case ContextBegin():
                self._key(statement.key)
                return await run(rights.context_begun(statement, signed=signed, now_ns=now_ns))
            case ContextEnd():
                context = gate.context(statement.key)
                if context is None:
                    raise Refused("this key has no open context", "`tally key show KEY` tells what it has")
                return await run(rights.context_ended(statement, context=context.field, signed=signed, now_ns=now_ns))
            case ProgramRun():
                raise Refused("this statement goes with its command", "`tally verb run NAME` sends both")
            case SignalApprove() | SignalDeny():
                return await self._decide(statement, signed, now_ns)
        raise AssertionError("a statement of a kind that the parser does not make")

    async def _decide(self, statement: SignalApprove | SignalDeny, signed: Signed, now_ns: int) -> Receipt:
        if self.decisions is None:
            raise Refused("nothing is held at this house", "see `tally inbox`")
        if isinstance(statement, SignalApprove):
            return await self.decisions.approve(statement, signed, now_ns)
        return await self.decisions.deny(statement, signed, now_ns)

    def _may_be_granted(self, statement: KeyGrant, now_ns: int) -> bool:
        """Whether the house knows the key already. Raises: Refused: it is none that a human grants something."""
        if statement.expires_ns is not None and statement.expires_ns <= now_ns:
            raise Refused("this grant is over at the moment it is signed", "give a later --expires")
        key = self._machine.store.key(statement.key.key_id)
        if key is None:
            return False
        if key.kind != "source":
            raise Refused(f"#{key.number} is a {key.kind} key: what it may comes with its pair", "`tally downgrade` narrows a pair")
        if key.state not in ("standing", "suspended"):
            raise Refused(f"#{key.number} is {key.state}: a revoked key does not come back", "make a new key: `tally key new --source`")
        if statement.label is not None and statement.label != key.label:
            raise Refused(f"#{key.number} is known as {key.label or 'a key without a label'}", "leave --label out: a key keeps its name")
        return True

    def _pair_of(self, statement: KeyRevoke) -> bytes | None:
        """The pair that ends with this key. Raises: Refused."""
        key = self._key(statement.key)
        if key.kind not in ("source", "human", "machine"):
            raise Refused(f"#{key.number} is the house's {key.kind} key", "`tally key rotate` gives the house new keys")
        if statement.key == self._machine.vault.machine.signing.public.key_id:
            raise Refused("this is the house's own key", "`tally key rotate machine` gives the house a new one")
        if statement.since is not None and statement.since >= self._machine.store.size():
            raise Refused(f"there is no entry {statement.since} yet", "name the first entry that is in doubt: see `tally log`")
        pair = None if key.pairing is None else self._machine.store.pair(key.pairing)
        return None if pair is None or pair.state not in ("standing", "restored") or key.kind != "machine" else pair.pairing

    def _granted_key(self, entry: int) -> bytes:
        """The key that a grant is for. Raises: Refused."""
        row = self._machine.store.entry(entry)
        if row is not None and row.event.kind is Kind.KEY_INTRODUCED:
            raise Refused(f"entry {entry} introduced the key: that row goes with it", "`tally key revoke KEY` ends the key")
        if row is None or row.event.kind is not Kind.GRANT:
            raise Refused(f"entry {entry} is no grant", "`tally key show KEY` lists the grants of a key")
        return row.event.blob("subject")

    def _weakens(self, statement: GatePlan) -> bool:
        """Whether a class loses a layer. Raises: Refused: a layer that this program does not have."""
        recorded = self._machine.store.gate.plan()
        new = plan_of(dict(statement.plan))
        return recorded is not None and bool(weaker(plan_of(recorded[1]), new))

    def _key(self, key_id: KeyId) -> KeyRow:
        row = self._machine.store.key(key_id)
        if row is None:
            raise Refused("the house does not know this key", "see `tally key ls --house`")
        return row


def _check_secret(statement: Statement, secret: bytes | None) -> bytes | None:
    """The opening that comes with a place or a personal fact holds exactly what the statement commits to.

    Raises: Malformed: there is one too many or too few, or it is none.  Unproven: it is another one.
    """
    match statement:
        case KeyGrant(place=bytes(commitment)):
            wanted = Commitments(place=commitment)
        case FactAdd(commitment=bytes(commitment)):
            wanted = Commitments(observations=(commitment,))
        case _:
            if secret is not None:
                raise Malformed("a secret comes with a place, a personal fact or an invite, and with nothing else")
            return None
    if secret is None:
        raise Malformed("the opening of what the statement commits to is missing")
    opening: Opening = parse_opening(secret)
    if commitments_of(opening) != (wanted, None):
        raise Unproven("the opening is not of what was signed")
    if opening.place is not None:
        read_place(opening.place.value)
    for each in opening.observations:
        check_value(each.value)
    return secret
