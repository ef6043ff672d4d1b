"""What a human decided about held signals, carried out at the house (docs/approvals.md).

    releases = Releases(house, keeper); await releases.settle()     # at a start: what a crash left undecided
    receipt = await releases.approve(statement, signed, now_ns)     # recorded; then each is judged anew and carried out
    outcome = await releases.perform(...)                           # for a signal that was allowed at once

One proposal is carried out at a time, in the order in which they were approved: of two writes to one file the second is judged by what
the first has left there. A program runs on beside the others, for it may take its time.
"""

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tallystick.errors import Malformed, Refused, TallyError, Unavailable, Unproven
from tallystick.gate.opening import Opening, parse_opening
from tallystick.gate.provenance import UNKNOWN
from tallystick.keys import KeyId
from tallystick.ledger.event import Kind
from tallystick.ledger.receipt import Receipt
from tallystick.node.acts import Act, Acts, is_ours
from tallystick.passage import approval as passage
from tallystick.passage.admission import PROPOSAL_LIFE_NS
from tallystick.passage.approval import Carried, Renewed
from tallystick.passage.effect import Passage, Perform
from tallystick.passage.pairing import Signed
from tallystick.passage.signal import Done
from tallystick.primitives import sha256
from tallystick.rights.approval import HELD, Waiting, check_approval, check_held
from tallystick.rights.statement import SignalApprove, SignalDeny
from tallystick.rights.verb import is_named
from tallystick.rights.verdict import Verdict
from tallystick.storage.gaterows import ProposalRow, SignalRow

if TYPE_CHECKING:
    from tallystick.node.gatekeeper import Gatekeeper
    from tallystick.node.house import House

ANSWER_S: Final = 10.0  # how long the answer to an approval waits for what comes of it
MAX_LOOKED: Final = 10_000
EXPIRE_AT_ONCE: Final = 256
TRIES: Final = 3

log = logging.getLogger("tallystick")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of something the house did. `status`: as HTTP says it, or the exit status of a program.  `error`: why it failed."""

    status: int
    length: int | None = None
    digest: bytes | None = None
    error: TallyError | None = None


class Releases:
    """At one house that runs."""

    def __init__(self, house: "House", keeper: "Gatekeeper") -> None:
        self._house = house
        self._keeper = keeper
        self._acts = Acts(house)
        self._turn = asyncio.Lock()
        self._working: set[asyncio.Task[None]] = set()

    # --- What the gate asks ----------------------------------------------------------------------------------------------

    async def preconditions(self, verb: str, opening: Opening, body: bytes | None = None) -> bytes | None:
        """What a release must find unchanged; None where there is nothing of ours to change. Raises: Unavailable."""
        try:
            act = self._acts.of(verb, opening, body)
        except (Malformed, Refused):
            return None
        if act is None or opening.target is None:
            return None
        return await self._acts.conditions(act, opening.target.salt)

    async def perform(self, entry: int, verb: str, reference: bytes, opening: Opening, body: bytes | None) -> Outcome | None:
        """Do what a signal asks that was allowed at once; None: it is an application's to do.

        Args: entry: of the signal; `reference` its own.  Raises: Unavailable: it could not be recorded, and nothing was done.
        """
        if not is_ours(verb):
            return None
        walk = passage.carried_out(effect=verb, signal_entry=entry, reference=reference, proposal=None, now_ns=self._house.clock())

        async def perform(effect: Perform) -> Carried:
            act, failed = self._act(verb, opening, body)
            if act is None:
                return Carried(done=failed)
            return Carried(done=await self._acts.perform(act, entry=effect.receipt.index, unless_changed=None))

        done = (await self._house.effects.run(walk, perform)).done
        status = done.status if done.ended is None else done.ended
        return Outcome(status=status, length=done.length, digest=done.digest, error=done.error)

    # --- What a human says -----------------------------------------------------------------------------------------------

    async def approve(self, statement: SignalApprove, signed: Signed, now_ns: int) -> Receipt:
        """Record it, then carry out what it approves. Raises: Malformed, Unproven, Refused: nothing of it counts.  Unavailable."""
        gate = self._house.machine.store.gate
        rows = {entry: row for entry in statement.proposals if (row := gate.proposal(entry)) is not None}
        items = check_approval(statement, waiting={entry: _waiting(row) for entry, row in rows.items()}, now_ns=now_ns)
        subject = self._subject(statement, [rows[item.entry] for item in items], now_ns)
        receipt = await self._house.effects.run(passage.approved(statement, items, subject=subject, signed=signed, now_ns=now_ns))
        work = self._begin([item.entry for item in items])
        # A program that is let go may take its time: whoever approved it need not wait, the inbox tells.
        await asyncio.wait((work,), timeout=ANSWER_S)
        return receipt

    def _subject(self, statement: SignalApprove, rows: list[ProposalRow], now_ns: int) -> bytes | None:
        """The one key for whose signals a scope is given; None without a scope. Raises: Unproven, Refused."""
        terms = statement.scope
        if terms is None:
            return None
        if terms.until_ns <= now_ns:
            raise Refused("the scope is over already", "give a later end")
        keys = {row.key for row in rows}
        verbs = {signal.verb for row in rows if (signal := self._signal(row)) is not None}
        if len(keys) != 1 or None in keys or verbs != {terms.verb}:
            raise Unproven("a scope is for the one key and the one verb of the signals it comes with", "approve the others by themselves")
        (key,) = keys
        return bytes(key or b"")

    async def deny(self, statement: SignalDeny, signed: Signed, now_ns: int) -> Receipt:
        """Turn one away, or end it because the same human asks for something else. Raises: Refused, Unproven, Unavailable."""
        row = self._house.machine.store.gate.proposal(statement.proposal)
        if row is None:
            raise Unproven(f"entry {statement.proposal} holds no proposal", "look at `tally inbox` again")
        check_held(row.entry, _waiting(row), now_ns)
        if statement.reason == passage.EDITED:
            walk = passage.edited(statement, instead=self._instead(row, signed.key), signed=signed, now_ns=now_ns)
        else:
            walk = passage.denied(statement, signed=signed, now_ns=now_ns)
        receipt = await self._house.effects.run(walk)
        reason = passage.EDITED if statement.reason == passage.EDITED else "denied"
        self._keeper.released(row.entry, reason, receipt.index)
        return receipt

    def _instead(self, row: ProposalRow, human: bytes) -> int:
        """The newest signal of this human that follows the one that waits. Raises: Refused: there is none."""
        store, old = self._house.machine.store, self._signal(row)
        found = store.entries(row.entry + 1, kinds=(Kind.SIGNAL,), key=human, limit=16, newest_first=True)
        for each in found:
            signal = store.gate.signal_at(each.index)
            if old is not None and signal is not None and signal.signal_class == "human" and old.key in signal.signers:
                return each.index
        raise Refused("no signal of yours asks for something else in its place", "`tally edit` makes one first")

    # --- Carrying out ----------------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """At a start: what was approved and never begun is carried out now, if everything still is as it was; what had begun is over."""
        gate = self._house.machine.store.gate
        for row in gate.proposals("begun", limit=MAX_LOOKED):
            # Its effect was ended or became unknown when the ledger was settled; it is not begun again.
            await self._end(row.entry, passage.RELEASED)
        if approved := [row.entry for row in gate.proposals("approved", limit=MAX_LOOKED)]:
            self._begin(approved)

    async def rest(self, seconds: float) -> None:
        """The house stops: let what is being carried out come to its end, so that nobody needs to call it unknown."""
        if self._working:
            await asyncio.wait(set(self._working), timeout=seconds)

    def _begin(self, entries: list[int]) -> asyncio.Task[None]:
        work = self._house.spawn(self._release(entries))
        self._working.add(work)
        work.add_done_callback(self._working.discard)
        return work

    async def lapse(self) -> None:
        """End what has waited too long. Called now and then."""
        now_ns = self._house.clock()
        over = [
            row.entry
            for row in self._house.machine.store.gate.proposals(HELD, limit=MAX_LOOKED)
            if row.expires_ns is not None and row.expires_ns <= now_ns
        ]
        for entry in over[:EXPIRE_AT_ONCE]:
            await self._end(entry, passage.EXPIRED)

    async def _release(self, entries: list[int]) -> None:
        programs: list[asyncio.Task[None]] = []
        for entry in entries:
            async with self._turn:
                for _ in range(TRIES):
                    try:
                        if (running := await self._release_one(entry)) is not None:
                            programs.append(running)
                        break
                    except Refused as error:
                        # A key behind it was revoked between the judgement and the entry: judged once more, it will be void.
                        log.info("judged again", extra={"reason": error.message})
                    except TallyError as error:
                        log.warning("an approved proposal stays where it is", extra={"reason": error.message})
                        break
                else:  # the ledger refuses it each time: whoever waits for it is told, and it is not begun another day
                    with contextlib.suppress(Unavailable):
                        await self._end(entry, passage.VOID)
        await asyncio.gather(*programs, return_exceptions=True)

    async def _release_one(self, entry: int) -> asyncio.Task[None] | None:
        """Judge one anew, then carry it out, return it to the inbox, or end it. Returns: a program that was let go and runs."""
        store = self._house.machine.store
        row = store.gate.proposal(entry)
        if row is None or row.state != "approved":
            return None
        signal = self._signal(row)
        raw = None if signal is None else store.opening(signal.entry)
        approval = None if row.approved is None else store.entry(row.approved)
        if signal is None or raw is None:
            await self._end(entry, passage.VOID)  # its opening was erased: nobody knows any more what it asks for
            return None
        if approval is not None and self._house.clock() >= approval.event.number("expires"):
            await self._end(entry, passage.EXPIRED)
            return None
        opening = parse_opening(raw)
        found = self._keeper.recheck(row, signal)
        if found.verdict is Verdict.REFUSE or not all(map(self._stands, signal.signers)):
            await self._end(entry, passage.VOID)
            return None
        body = None if row.body is None else store.opening(entry)
        if row.body is not None and body is None and row.body != sha256(b""):
            await self._end(entry, passage.VOID)  # what it would write was erased
            return None
        if row.body == sha256(b""):
            body = b""
        renewed = await self._renewed(row, signal, opening, body, found.reason)
        if renewed is not None:
            await self._return(renewed)
        elif not is_ours(signal.verb):
            await self._end(entry, passage.RELEASED)
        elif is_named(signal.verb):
            return self._house.spawn(self._run_beside(row, signal, opening, body))
        else:
            await self._carry_out(row, signal, opening, body)
        return None

    async def _renewed(
        self, row: ProposalRow, signal: SignalRow, opening: Opening, body: bytes | None, reason: str, *, at_all_events: bool = False
    ) -> Renewed | None:
        """The proposal as it must be looked at again; None where nothing has changed since somebody did."""
        held = self._house.machine.store.entry(row.entry)
        before = "" if held is None else held.event.text("what")
        conditions = await self.preconditions(signal.verb, opening, body)
        if not at_all_events and conditions == row.preconditions and (not reason or reason == before):
            return None
        return Renewed(
            replaces=row.entry,
            signal_entry=signal.entry,
            signal_hash=row.signal_hash,
            key=bytes(signal.key),
            risk=row.risk,
            expires_ns=self._house.clock() + PROPOSAL_LIFE_NS,
            reason=reason or before,
            preconditions=conditions,
            body=body,
        )

    async def _return(self, renewed: Renewed) -> None:
        receipt = await self._house.effects.run(passage.returned(renewed, now_ns=self._house.clock()))
        self._keeper.released(renewed.replaces, passage.CHANGED, receipt.index)

    def _stands(self, key: bytes) -> bool:
        """Whether a key behind a signal still stands; what did not pass the house never did."""
        row = None if key == UNKNOWN else self._house.machine.store.gate.known_key(KeyId(key))
        ends_ns = None if row is None else row.known.expires_ns
        return key == UNKNOWN or (row is not None and row.stands and (ends_ns is None or self._house.clock() < ends_ns))

    async def _run_beside(self, row: ProposalRow, signal: SignalRow, opening: Opening, body: bytes | None) -> None:
        try:
            await self._carry_out(row, signal, opening, body)
        except Refused as error:  # a key behind it fell in the last moment
            log.info("not begun", extra={"reason": error.message})
            with contextlib.suppress(Unavailable):
                await self._end(row.entry, passage.VOID)

    async def _carry_out(self, row: ProposalRow, signal: SignalRow, opening: Opening, body: bytes | None) -> None:
        async def perform(effect: Perform) -> Carried:
            act, failed = self._act(signal.verb, opening, body)
            if act is None:
                return Carried(done=failed)
            salt = b"" if opening.target is None else opening.target.salt
            expected = None if row.preconditions is None else (salt, row.preconditions)
            done = await self._acts.perform(act, entry=effect.receipt.index, unless_changed=expected)
            if done.word != passage.CHANGED:
                return Carried(done=done)
            return Carried(done=done, renewed=await self._renewed(row, signal, opening, body, "", at_all_events=True))

        walk: Passage[Carried] = passage.carried_out(
            effect=signal.verb,
            signal_entry=signal.entry,
            reference=signal.reference,
            proposal=row.entry,
            cause=row.approved,
            now_ns=self._house.clock(),
        )
        carried = await self._house.effects.run(walk, perform)
        found = self._house.machine.store.gate.proposal(row.entry)
        ended = 0 if found is None else found.ended or 0
        self._keeper.released(row.entry, passage.RELEASED if carried.renewed is None else passage.CHANGED, ended)

    def _act(self, verb: str, opening: Opening, body: bytes | None) -> tuple[Act | None, Done]:
        """What is to be done, or how it failed before it was begun."""
        try:
            return self._acts.of(verb, opening, body), Done(now_ns=0, status=0)
        except TallyError as error:
            return None, Done(now_ns=self._house.clock(), status=400 if isinstance(error, Malformed) else 403, error=error)

    async def _end(self, entry: int, reason: str) -> None:
        receipt = None
        with contextlib.suppress(Refused):  # somebody else was quicker
            receipt = await self._house.effects.run(passage.ended(entry, reason, now_ns=self._house.clock()))
        if receipt is not None:
            self._keeper.released(entry, reason, receipt.index)

    def _signal(self, row: ProposalRow) -> SignalRow | None:
        return None if row.signal_entry is None else self._house.machine.store.gate.signal_at(row.signal_entry)


def _waiting(row: ProposalRow) -> Waiting:
    return Waiting(state=row.state, signal_hash=row.signal_hash, expires_ns=row.expires_ns)
