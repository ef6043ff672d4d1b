"""Human statements at a house: who signed, may they, and which passage does it take (docs/spec/statements.md).

A statement comes over the door, carried by an ADMIN pair, or in the ceremony of an ADMIN pairing. It is judged by its own key's row
and by the cap of the pair that carried it; the ledger's projection keeps the rules that two at once could break.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from tallystick.canonical import decode
from tallystick.errors import Malformed, Misuse, Refused, TallyError, Unavailable, Unproven
from tallystick.gate.signal import check_age, check_audience
from tallystick.gate.statement import UnprovenStatement, parse_bundle
from tallystick.keys import PublicKey, parse_cose_key
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.receipt import Receipt
from tallystick.node.bundles import signed_of
from tallystick.node.effects import Effects
from tallystick.node.erasing import belonging, check_erasable, erase
from tallystick.node.gatestatements import GateStatements
from tallystick.node.inviting import check_room
from tallystick.node.machine import Machine
from tallystick.pair.ceremony import HouseIdentity
from tallystick.pair.invite import invite_id, invite_terms
from tallystick.pair.pairing import free_label
from tallystick.pair.statement import (
    VERBS,
    BodyErase,
    HouseMigrate,
    HouseRestore,
    InviteCreate,
    InviteRevoke,
    KeyResume,
    PairApprove,
    PairDeny,
    PairDowngrade,
    PairResign,
    PairSever,
    ReplaceAdmins,
    Statement,
    parse_statement,
)
from tallystick.passage import house as houses
from tallystick.passage import invite as invites
from tallystick.passage import pairing
from tallystick.passage.pairing import Signed
from tallystick.passage.signal import Asker
from tallystick.primitives import sha256
from tallystick.rights.action import ActionClass
from tallystick.rights.matrix import check_allowed, granted_row, judge, ordered_actions
from tallystick.rights.statement import SPOKEN
from tallystick.rights.statement import parse_statement as read_rights
from tallystick.storage.rows import KeyRow, PairRow

_NS: Final = 10**9

log = logging.getLogger("tallystick")


class Statements:
    """What a house does with the statements of its human keys."""

    def __init__(self, machine: Machine, effects: Effects, clock: Callable[[], int], stood: Any, ended: Any) -> None:
        """`clock`: pair time, so that no clock set back makes an old statement young again.  `stood(pair, receipt)`,
        `ended(pair, reason)`: told after a pairing was decided, for a ceremony that still waits.
        """
        self._machine = machine
        self._effects = effects
        self._clock = clock
        self._stood = stood
        self._ended = ended
        self.gate = GateStatements(machine, effects)

    async def submit(self, raw: bytes, carried: Asker) -> dict[str, Any]:
        """A request's body: `[bundle, secret or null]`. Returns: verb and entry, and what the verb has to say.

        Raises: Malformed, Unproven, Refused, Unavailable.
        """
        match decode(raw, max_bytes=65_535, max_depth=1, max_items=4):
            case [bytes(bundle), (bytes() | None) as secret]:
                pass
            case _:
                raise Malformed("not a bundle and its secret")
        unproven = parse_bundle(bundle)
        if unproven.signal.claims.verb == VERBS[ReplaceAdmins]:
            raise Refused("the recovery key's statement is taken at the house itself", "there: `tally key replace-admins`")
        # The cap first: which keys may is not for every pair to know.
        check_allowed(judge(carried.cap, (granted_row("the statement's key", ActionClass),), ActionClass.ADMIN, human_signed=True))
        now_ns = self._clock()
        key = self.human_key(unproven, now_ns)
        proven = unproven.prove(key.public)
        check_audience(proven.signal, self._machine.house_id)
        check_age(proven.signal, now_ns)
        row = granted_row(f"#{key.number}", [ActionClass(action) for action in key.actions])
        check_allowed(judge(carried.cap, (row,), ActionClass.ADMIN, human_signed=True))
        signed, verb = signed_of(proven, carried), proven.signal.claims.verb
        if verb in SPOKEN:
            receipt = await self.gate.do(read_rights(proven.body), signed, secret, now_ns)
            return {"verb": verb, "entry": receipt.index}
        statement = parse_statement(proven.body)
        if (secret is not None) != isinstance(statement, InviteCreate):
            raise Malformed("a secret comes with an invite and with nothing else")
        receipt = await self._do(statement, signed, secret, now_ns)
        return {"verb": verb, "entry": receipt.index}

    async def submit_here(self, bundle: bytes) -> dict[str, Any]:
        """The recovery key's statement, given at the house itself: every other key needs a pair to carry its word.

        Raises: Malformed, Unproven, Refused, Unavailable.
        """
        unproven = parse_bundle(bundle)
        if unproven.signal.claims.verb != VERBS[ReplaceAdmins]:
            raise Misuse("only the recovery key's statement is taken here", "hand others in on a machine with an ADMIN pair")
        proven = unproven.prove(self.human_key(unproven, self._clock()).public)
        check_audience(proven.signal, self._machine.house_id)
        check_age(proven.signal, time.time_ns())  # signed a moment ago by the clock of this very machine, whatever pair time says
        receipt = await self._do(parse_statement(proven.body), signed_of(proven, None), None, self._clock())
        return {"verb": proven.signal.claims.verb, "entry": receipt.index}

    def human_key(self, unproven: UnprovenStatement, now_ns: int) -> KeyRow:
        """The standing key that a statement claims to be signed by. Raises: Unproven: it is none that may sign this."""
        key = self._machine.store.key(unproven.kid)
        recovery = unproven.signal.claims.verb == VERBS[ReplaceAdmins]
        wanted = "recovery" if recovery else "human"
        if key is None or not _may_sign(key, wanted, now_ns):
            raise Unproven("the statement is not signed by a key that may", f"it takes a standing {wanted} key; see `tally key ls`")
        return key

    async def _do(self, statement: Statement, signed: Signed, secret: bytes | None, now_ns: int) -> Receipt:
        run = self._effects.run
        if self._machine.reserve.low and isinstance(statement, PairApprove | InviteCreate):
            raise Unavailable("the house's disk is nearly full: it records only what ends something", "make room there, then try again")
        match statement:
            case PairApprove():
                return await self.approve(statement, signed, now_ns=now_ns, genesis=False)
            case PairDeny():
                pair = self._pending(statement.pairing_id)
                if statement.proposal.origin != self.origin_hash or statement.proposal.index != pair.created:
                    raise _another_pairing()
                receipt = await run(pairing.denied(pair=pair.pairing, signed=signed, reason=statement.reason, now_ns=now_ns))
                await _told(self._ended(pair.pairing))
                return receipt
            case PairSever():
                self._known(statement.pairing_id)
                return await run(
                    pairing.severed(
                        pair=statement.pairing_id, by="statement", signed=signed, reason=statement.reason, tell=True, now_ns=now_ns
                    )
                )
            case PairDowngrade():
                self._known(statement.pairing_id)
                return await run(pairing.downgraded(pair=statement.pairing_id, pair_type=statement.pair_type, signed=signed, now_ns=now_ns))
            case InviteCreate():
                if secret is None or invite_id(secret) != statement.invite_id:
                    raise Malformed("the secret is not the one of this invite")
                check_room(self._machine)
                terms = invite_terms(
                    pair_type=statement.pair_type,
                    ttl_s=statement.ttl_s,
                    yes=statement.yes,
                    for_key=statement.for_key,
                    label=statement.label,
                )
                expires_ns = now_ns + terms.ttl_s * _NS
                return await run(invites.created(terms, secret, expires_ns=expires_ns, signed=signed, now_ns=now_ns))
            case InviteRevoke():
                return await run(invites.revoked(statement.invite_id, signed=signed, now_ns=now_ns))
            case ReplaceAdmins():
                return await run(self._replace_admins(statement, signed, now_ns))
            case PairResign(pairing_id=pair, pair_type=pair_type):
                return await run(houses.resigned(pair=pair, pair_type=pair_type, signed=signed, now_ns=now_ns))
            case KeyResume(key=key):
                return await run(houses.resumed(key, signed=signed, now_ns=now_ns))
            case BodyErase():
                spans = ((statement.entry, 1), *statement.erased)
                check_erasable(self._machine.store, *spans)
                beside = belonging(self._machine.store, *spans)
                receipt = await run(houses.erased(statement, signed=signed, now_ns=now_ns))
                if beside:  # the same clear values once more; whoever signed does not see where they lie
                    await asyncio.to_thread(erase, self._machine.store, beside, now_ns, "house", statement.reason)
                return receipt
            case HouseRestore() | HouseMigrate():
                raise Refused("this statement is not taken over the door", "`tally restore --sign` and `tally migrate to` bring it")
        raise AssertionError("a statement of a kind that the parser does not make")

    async def approve(self, statement: PairApprove, signed: Signed, *, now_ns: int, genesis: bool) -> Receipt:
        """A pairing statement: does it name exactly what was proposed? Then the pair stands.

        Raises: Unproven: it names something else.  Refused: the pairing does not wait, or this is not genesis.
        """
        pair = self._pending(statement.pairing_id)
        if (
            statement.proposal.origin != self.origin_hash
            or statement.proposal.index != pair.created
            or statement.static != pair.static_key
            or statement.signing != pair.signing_key
            or statement.witness.raw != pair.witness_key
            or statement.pair_type is not pair.pair_type
            or statement.suite is not pair.suite
            or statement.actions != ordered_actions(pair.pair_type)
            or (statement.human is not None and statement.human.cose_key() != self._human_of(pair))
        ):
            raise _another_pairing()
        keys: tuple[Event, ...] = ()
        if statement.human is not None and not self.is_admin(statement.human):
            keys = (self._admin_key(statement.human, statement.label, signed, now_ns, genesis=genesis),)
        receipt = await self._effects.run(
            pairing.approved(
                pair=pair.pairing,
                pair_type=statement.pair_type,
                label=self.free_label(statement.label, pair.pairing),
                keys=keys,
                genesis=genesis,
                signed=signed,
                by="statement",
                now_ns=now_ns,
            )
        )
        await _told(self._stood(pair.pairing, receipt))
        return receipt

    async def stand_preapproved(self, pair: PairRow, now_ns: int) -> Receipt:
        """The invite was approved beforehand by a human key: the pair stands without another word."""
        receipt = await self._effects.run(
            pairing.approved(
                pair=pair.pairing,
                pair_type=pair.pair_type,
                label=self.free_label(pair.label, pair.pairing),
                keys=(),
                genesis=False,
                signed=None,
                by="policy",
                now_ns=now_ns,
            )
        )
        await _told(self._stood(pair.pairing, receipt))
        return receipt

    def is_admin(self, human: PublicKey) -> bool:
        """Whether this human key has admin here already: an owner who pairs another machine, or pairs anew."""
        row = self._machine.store.key(human.key_id)
        return row is not None and _may_sign(row, "human", self._clock())

    def _human_of(self, pair: PairRow) -> bytes | None:
        """The human key that an ADMIN proposal brings, as a COSE_Key."""
        proposal = self._machine.store.entry(pair.created)
        ext = None if proposal is None else proposal.event.get("ext")
        found = ext.get("human") if isinstance(ext, Mapping) else None
        return found if isinstance(found, bytes) else None

    @property
    def origin_hash(self) -> bytes:
        """SHA-256 of the log's origin line: how statements and references name this log."""
        return sha256(self._machine.log_name.encode())

    def identity(self) -> HouseIdentity:
        """What the house shows of itself in a ceremony, and what statements about it name."""
        machine = self._machine
        origin = machine.store.entry(0)
        if origin is None:
            raise AssertionError("a machine has its origin")
        return HouseIdentity(
            house_id=machine.house_id,
            signing=machine.vault.machine.signing.public,
            witness=machine.vault.witness.public,
            log=machine.vault.log.ed25519.public,
            log_pq=machine.vault.log.ml_dsa_44.public,
            log_name=machine.log_name,
            recovery=parse_cose_key(origin.event.blob("recovery_key")),
            origin_hash=self.origin_hash,
            label=machine.settings.name,
        )

    def free_label(self, wanted: str, pair: bytes) -> str:
        """The label a pair gets: the one wanted, or with a number where a standing pair has it already."""
        taken = {row.label for row in self._machine.store.pairs() if row.stands and row.pairing != pair}
        return free_label(wanted, taken)

    def _admin_key(self, human: PublicKey, label: str, signed: Signed, now_ns: int, *, genesis: bool) -> Event:
        # At genesis nobody else is there to have signed this in; the statement stands in the approval of the same transaction.
        return Event.of(
            Kind.KEY_INTRODUCED,
            now_ns,
            pairing.actor_of(signed),
            key=signed.key,
            pairing=signed.pairing,
            subject=bytes(human.key_id),
            key_kind="human",
            cose_key=human.cose_key(),
            classes=("human",),
            actions=tuple(action.value for action in ActionClass),
            label=label,
            genesis=genesis or None,
        )

    def _replace_admins(self, statement: ReplaceAdmins, signed: Signed, now_ns: int) -> Any:
        if statement.origin != self.origin_hash:
            raise Unproven("the statement is for another house's log")
        return invites.admins_replaced(statement.admins, signed=signed, now_ns=now_ns)

    def _known(self, pair: bytes) -> PairRow:
        row = self._machine.store.pair(pair)
        if row is None:
            raise Refused("there is no such pair", "See `tally status`.")
        return row

    def _pending(self, pair: bytes) -> PairRow:
        row = self._known(pair)
        if row.state != "pending":
            raise Refused(f"this pairing is {row.state}, not waiting", "See `tally inbox`.")
        return row


def _may_sign(key: KeyRow, kind: str, now_ns: int) -> bool:
    """Whether a key of this kind may sign a statement now: it stands, has not expired, and a human's has admin."""
    lives = key.stands and (key.expires_ns is None or key.expires_ns > now_ns)
    return lives and key.kind == kind and (kind == "recovery" or "admin" in key.actions)


def _another_pairing() -> Unproven:
    return Unproven("the statement names another pairing than the one that was proposed", "Look at `tally inbox` again.")


async def _told(telling: Awaitable[None]) -> None:
    """What was decided is in the ledger; that a machine which waits cannot be told changes nothing about it."""
    try:
        await telling
    except TallyError as error:
        log.warning("a machine that waits could not be told", extra={"reason": error.message})
