"""Redeeming an invite: this machine's half of the ceremony (docs/spec/pairing.md).

    redeemed = await redeem(machine, parse_invite(text), label="laptop", human=None, show_words=show, wait_s=60)

The half is stored as pending, in the vault and in this machine's own ledger, before the last proof leaves; so nothing is lost
whatever happens afterwards, and nothing is kept when it ends before. An ADMIN pairing is signed here by the own human key; every
other waits for a human at the house, for as long as the caller has time, and after that without us.
"""

import asyncio
import contextlib
import inspect
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tallystick.errors import Malformed, Misuse, Refused, TallyError, Unavailable, Unproven
from tallystick.keys import KeyId, Signer
from tallystick.node.approval import WORDS, Human, read_standing, sign_approval
from tallystick.node.checkpoints import Witness, house_log_keys
from tallystick.node.checkpointwire import Show
from tallystick.node.dialling import FAILURES, Dialled, dial, keep_addresses
from tallystick.node.halves import drop, effects_of, keeping, label_for, stand, sweep
from tallystick.node.host import has_aes_hardware, host_facts
from tallystick.node.machine import Machine
from tallystick.node.pairclock import PairClock
from tallystick.node.pairingstream import PairingStream, UnconfirmedError
from tallystick.pair.ceremony import ClientCeremony
from tallystick.pair.invite import Invite, invite_id
from tallystick.pair.message import Abort, Reason, Standing, encode_message
from tallystick.pair.outcome import OVER, Ended, NeedQuote, Proposed, Step, Stood, StoreHalf
from tallystick.pair.pairing import PairType
from tallystick.passage import pairing
from tallystick.storage.rows import PairRow

PROOF_S: Final = 30.0  # until both have proven themselves: machines talk, nobody types

ShowWords = Callable[[Sequence[str], str], Awaitable[bool] | None]
"""Shows four words and the digits. May return an awaitable: False says that the other end shows something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redeemed:
    """A pairing that stands, or waits. `house_label`: what this machine calls the house; `proposal`: its entry there."""

    pairing_id: bytes
    state: str
    words: tuple[str, ...]
    digits: str
    pair_type: PairType
    house_label: str
    house: KeyId
    proposal: int


async def redeem(
    machine: Machine,
    invite: Invite,
    *,
    label: str,
    human: Human | None,
    show_words: ShowWords,
    wait_s: float,
    timeout_s: float | None = None,
) -> Redeemed:
    """Pair with the house that made an invite.

    Args: label: what this machine asks to be called.  human: exactly for ADMIN.  wait_s: how long to wait for the approval.
    Raises: Misuse: a human key too many or too few.  Refused: it ended without a pair, with the reason.  Unavailable: silence, or cut
        before both ends had proven themselves; the invite is then used up.
    """
    if (human is not None) != (invite.pair_type is PairType.ADMIN):
        raise Misuse("a human key is given exactly for an ADMIN pairing", "make one with `tally key new`")
    sweep(machine)
    # Asked first: a person who types a passphrase must not hold up the ceremony.
    signer = None if human is None else await asyncio.to_thread(human)
    failures = 0
    while True:
        dialled = await dial(machine, invite, timeout_s=timeout_s)
        asking = _Asking(machine, invite, dialled, label=label, human=human, signer=signer, show_words=show_words)
        try:
            return await asking.run(wait_s)
        except UnconfirmedError:
            # Our first frame may not have arrived: then the invite is not used up. If it is, silence follows.
            failures += 1
            if failures == FAILURES:
                raise


class _Asking:
    """One ceremony on one connection."""

    def __init__(
        self,
        machine: Machine,
        invite: Invite,
        dialled: Dialled,
        *,
        label: str,
        human: Human | None,
        signer: Signer | None,
        show_words: ShowWords,
    ) -> None:
        self._machine = machine
        self._invite = invite
        self._dialled = dialled
        self._label = label
        self._human = human
        self._signer = signer
        self._show_words = show_words
        self._stream = PairingStream(dialled)
        self._ceremony: ClientCeremony | None = None
        self._redeemed: Redeemed | None = None
        self._judging: asyncio.Task[None] | None = None

    # --- The ceremony ----------------------------------------------------------------------------------------------------

    async def run(self, wait_s: float) -> Redeemed:
        """From hello to a pair that stands or waits."""
        try:
            await self._stream.start()
            return await self._converse(wait_s)
        except TallyError:
            await self._give_up()
            raise
        finally:
            if self._judging is not None:
                self._judging.cancel()
            await self._stream.end()

    async def _converse(self, wait_s: float) -> Redeemed:
        machine, keys = self._machine, self._machine.vault
        self._ceremony, step = ClientCeremony.begin(
            handshake_hash=self._stream.handshake_hash,
            chaining_key=self._dialled.handshake.chaining_key,
            client_static=keys.machine.static.public,
            house_static=self._invite.house_static,
            pair_type=self._invite.pair_type,
            invite_id=invite_id(self._invite.secret),
            house_id=self._invite.house_id,
            signing=keys.machine.signing.public,
            witness=keys.witness.public,
            human=None if self._signer is None else self._signer.public,
            facts=host_facts(machine.settings.name, keys.machine.signing.key_class),
            label=self._label,
            aes=has_aes_hardware(),
            kem_seed=secrets.token_bytes(64),
            nonce=secrets.token_bytes(32),
        )
        loop = asyncio.get_running_loop()
        deadline, waiting = loop.time() + PROOF_S, False
        await self._step(step)
        while self._ceremony.state not in OVER:
            if self._redeemed is not None and not waiting:
                deadline, waiting = loop.time() + wait_s, True
            try:
                message = await asyncio.wait_for(self._stream.inbox.get(), max(deadline - loop.time(), 0))
            except TimeoutError:
                self._ceremony, step = self._ceremony.cut() if waiting else self._ceremony.cancel(Reason.EXPIRED)
            else:
                if isinstance(message, Reason):
                    self._ceremony, step = self._ceremony.cancel(message)
                else:
                    self._ceremony, step = self._ceremony.cut() if message is None else self._ceremony.receive(message)
            await self._step(step)
        if self._redeemed is None:
            check = self._ceremony.check
            raise Unavailable(
                "the connection ended just before the house had proven itself; this machine's half waits",
                f"if the inbox of the house shows {check}, it can be approved there; otherwise ask for a new invite",
            )
        return self._redeemed

    async def _step(self, step: Step) -> None:
        """Send what is to be sent, then do what is asked; each answer is a step again."""
        ceremony = self._ceremony
        if ceremony is None:
            raise AssertionError("a step comes from a ceremony")
        for message in step.send:
            self._stream.send(message)
        match step.effect:
            case NeedQuote():
                self._ceremony, after = ceremony.attested(None)
            case StoreHalf() as store:
                self._ceremony, after = await self._store(ceremony, store)
            case Proposed() as proposed:
                self._ceremony, after = await self._proposed(ceremony, proposed)
            case Stood(standing=standing):
                await self._stood(ceremony, standing)
                return
            case Ended() as ended:
                await self._over(ended)
                return
            case _:  # nothing, or detached: the half waits without us
                return
        await self._step(after)

    async def _store(self, ceremony: ClientCeremony, store: StoreHalf) -> tuple[ClientCeremony, Step]:
        machine, half = self._machine, store.half
        if ceremony.check is None:
            raise AssertionError("a half is stored after the words are known")
        walk = pairing.proposed(
            half,
            label=label_for(machine, half.label, half.house_static),
            session=self._stream.handshake_hash,
            invite=invite_id(self._invite.secret),
            address=None,
            genesis=False,
            preapproved=False,
            shown={"words": " ".join(ceremony.check.words).encode(), "digits": ceremony.check.digits.encode()},
            now_ns=time.time_ns(),
            extra=house_log_keys(half),
        )
        with keeping(machine):
            await effects_of(machine).run(walk)
        addresses = self._invite.addresses
        keep_addresses(machine, half.pairing_id, [self._dialled.address, *(each for each in addresses if each != self._dialled.address)])
        if self._stream.pong is not None:
            time_ns, sent_ns, received_ns = self._stream.pong
            PairClock(machine.memory, half.pairing_id).taught(time_ns, sent_ns=sent_ns, received_ns=received_ns)
        human = None
        if store.human is not None and self._signer is not None:
            human = await asyncio.to_thread(self._signer.sign, store.human)
        keys = machine.vault
        return ceremony.stored(signing=keys.machine.signing.sign(store.signing), witness=keys.witness.sign(store.witness), human=human)

    async def _proposed(self, ceremony: ClientCeremony, proposed: Proposed) -> tuple[ClientCeremony, Step]:
        row = self._row(ceremony)
        if ceremony.welcome_message is None:
            raise AssertionError("a ceremony in this state has its welcome")
        self._redeemed = Redeemed(
            pairing_id=row.pairing,
            state="waiting",
            words=proposed.check.words,
            digits=proposed.check.digits,
            pair_type=self._invite.pair_type,
            house_label=row.label,
            house=KeyId(ceremony.welcome_message.house_id),
            proposal=proposed.proposal,
        )
        shown = self._show_words(proposed.check.words, proposed.check.digits)
        if shown is not None and inspect.isawaitable(shown):
            self._judging = asyncio.ensure_future(self._judge(shown))
        if self._human is None:
            return ceremony, Step()
        return ceremony.approve(
            await sign_approval(ceremony, proposed.proposal, self._human, PairClock(self._machine.memory, row.pairing).now_ns())
        )

    async def _judge(self, shown: Awaitable[bool]) -> None:
        """A person compares the words; only their no matters here, the yes is the house's to have."""
        if await shown is False:
            self._stream.inbox.put_nowait(Reason.CANCELLED)

    # --- Ends ------------------------------------------------------------------------------------------------------------

    async def _stood(self, ceremony: ClientCeremony, standing: Standing) -> None:
        """The house shows its statement and its newest checkpoint: believed, recorded, and the pair stands here too."""
        machine, row = self._machine, self._row(ceremony)
        try:
            own = None if self._signer is None else self._signer.public
            signed = read_standing(machine, ceremony, standing, own, self._stream.handshake_hash)
            event, _ = await asyncio.to_thread(Witness(machine, row).judge, Show(standing.checkpoint, ()), time.time_ns())
        except (Malformed, Unproven) as error:
            # An abort after `standing` severs the pair at the house: a client that does not believe it keeps no half.
            self._stream.send(encode_message(Abort(reason=Reason.BAD_STATEMENT)))
            await drop(machine, row.pairing, reason="bad-statement")
            raise Unproven(f"the house says that the pairing stands, but {error.message}", "pair again with a new invite") from None
        await stand(machine, row, signed)
        if event is not None:
            await machine.store.record(event)
        if self._redeemed is None:
            raise AssertionError("a pairing stands after it was proposed")
        self._redeemed = replace(self._redeemed, state="standing")

    async def _over(self, ended: Ended) -> None:
        """No pair came of it. Raises: Refused, Unavailable."""
        if ended.forget is not None:
            with contextlib.suppress(Refused):
                await drop(self._machine, ended.forget, reason=ended.reason.name.lower().replace("_", "-"))
        if ended.by_peer and ended.reason is Reason.UNSPECIFIED and ended.forget is None:
            raise Unavailable("the connection ended in the middle of the pairing", "the invite is used up: ask for a new one")
        raise Refused(f"no pair came of it: {WORDS[ended.reason]}", "ask for a new invite; each works once")

    async def _give_up(self) -> None:
        """Something failed on our own side, a signature that was not given for one: say so, and keep nothing."""
        if self._ceremony is None or self._ceremony.state in OVER:
            return
        self._ceremony, step = self._ceremony.cancel(Reason.UNAVAILABLE)
        for message in step.send:
            self._stream.send(message)
        if isinstance(step.effect, Ended) and step.effect.forget is not None and self._machine.store.pair(step.effect.forget) is not None:
            await drop(self._machine, step.effect.forget, reason="unavailable")

    def _row(self, ceremony: ClientCeremony) -> PairRow:
        row = None if ceremony.secrets is None else self._machine.store.pair(ceremony.secrets.pairing_id)
        if row is None:
            raise AssertionError("the half was recorded before")
        return row
