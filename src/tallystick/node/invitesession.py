"""A session of an invite at its house: the ceremony, until the pair stands or nobody wants it. It stands on a `Connection`."""

import asyncio
import contextlib
import logging
import secrets
from typing import TYPE_CHECKING, Final

from tallystick.channel.event import Confirmed, End, Event, Pairing
from tallystick.errors import Refused, TallyError, Unproven
from tallystick.gate.signal import check_age, check_audience
from tallystick.gate.statement import parse_bundle
from tallystick.keys import KeyId
from tallystick.ledger.receipt import Receipt
from tallystick.node.bundles import bundle_of, signed_of
from tallystick.node.connection import Connection
from tallystick.node.host import has_aes_hardware
from tallystick.pair.ceremony import HouseCeremony
from tallystick.pair.genesis import check_genesis
from tallystick.pair.message import Reason
from tallystick.pair.outcome import OVER, Ended, NeedQuote, NeedWelcome, State, Step, StoreHalf, Submitted
from tallystick.pair.statement import PairApprove
from tallystick.passage import knock as knocks
from tallystick.passage import pairing
from tallystick.passage.effect import secret_name
from tallystick.primitives import mlkem768_encapsulate
from tallystick.storage.rows import InviteRow

if TYPE_CHECKING:
    from tallystick.node.house import House

CEREMONY_S: Final = 600.0
HANDSHAKE_S: Final = 30.0  # until both have proven themselves: machines talk, nobody types
LATE_S: Final = 10.0  # for the client to read the statement by which the pair stands
MAX_BACKLOG: Final = 16

log = logging.getLogger("tallystick")


class InviteSession:
    """A session of an invite: consumed by its first frame, then the ceremony, until the pair stands or nobody wants it."""

    def __init__(
        self, house: "House", connection: Connection, invite: InviteRow, knock: knocks.Connection, chaining_key: bytes, client: bytes
    ) -> None:
        self._house = house
        self._connection = connection
        self._invite = invite
        self._knock = knock
        self._chaining_key = chaining_key
        self._client_static = client
        self._inbox: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_BACKLOG)
        self._ceremony: HouseCeremony | None = None
        self._task: asyncio.Task[None] | None = None
        self._submitted: tuple[PairApprove, bytes] | None = None
        self.pairing: bytes | None = None
        self.owner_confirmed = False

    @property
    def invite(self) -> bytes:
        """The id of the invite."""
        return self._invite.invite

    def cut(self, reason: str) -> None:
        """End the session."""
        self._connection.cut(reason)

    def on_event(self, event: Event) -> None:
        """What the connection brings."""
        match event:
            case Confirmed():
                self._task = self._house.spawn(self._run(), self._failed)
            case Pairing(message=message):
                try:
                    self._inbox.put_nowait(message)
                except asyncio.QueueFull:
                    self._connection.cut("limits")
            case End():
                self._connection.end(None)
            case _:
                pass

    def pause_writing(self) -> None:
        """The ceremony's few messages fit into any buffer."""

    def resume_writing(self) -> None:
        """See `pause_writing`."""

    def lost(self, reason: str) -> None:
        """The connection is over: the ceremony hears of it after what it has not read yet."""
        self._house.ceremony_lost(self)
        try:
            self._inbox.put_nowait(None)
        except asyncio.QueueFull:
            if self._task is not None:
                self._task.cancel()

    def _failed(self, error: BaseException) -> None:
        self._connection.cut("refused" if isinstance(error, Refused) else "failed")

    async def _run(self) -> None:
        house = self._house
        session = self._connection.session
        await house.effects.run(knocks.redeemed(self._knock, invite=self._invite.invite, now_ns=house.clock()))
        self._ceremony = HouseCeremony.begin(
            handshake_hash=session.handshake_hash,
            chaining_key=self._chaining_key,
            client_static=self._client_static,
            house_static=house.machine.vault.machine.static.public,
            pair_type=self._invite.pair_type,
            identity=house.statements.identity(),
            for_key=self._invite.for_key,
            aes=has_aes_hardware(),
        )
        loop = asyncio.get_running_loop()
        deadline = loop.time() + HANDSHAKE_S
        while self._ceremony.state not in OVER:
            if self.pairing is not None and deadline < loop.time() + CEREMONY_S:
                deadline = loop.time() + CEREMONY_S
            try:
                message = await asyncio.wait_for(self._inbox.get(), max(deadline - loop.time(), 0))
            except TimeoutError:
                # After the proofs the pairing waits in the inbox without us; before them it is over.
                after, step = self._ceremony.cut() if self.pairing is not None else self._ceremony.cancel(Reason.EXPIRED)
            else:
                after, step = self._ceremony.cut() if message is None else self._ceremony.receive(message)
            self._ceremony = after
            await self._step(step)
        # A client that does not believe our statement keeps no half and says so: then the pair ends here too. So the client ends first.
        with contextlib.suppress(TimeoutError):
            while self._ceremony.state is State.STANDING and not self._connection.over:
                if (late := await asyncio.wait_for(self._inbox.get(), LATE_S)) is not None:
                    self._ceremony, step = self._ceremony.receive(late)
                    await self._step(step)
        self._connection.end(None)

    async def _step(self, step: Step) -> None:
        """Send what is to be sent, then do what is asked; each answer is a step again."""
        ceremony = self._ceremony
        if ceremony is None:
            raise AssertionError("a step comes from a ceremony")
        for message in step.send:
            if not self._connection.over:
                self._connection.write(self._connection.session.send_pairing(message))
        match step.effect:
            case NeedWelcome(hello=hello):
                secret, ciphertext = mlkem768_encapsulate(hello.kem_public)
                self._ceremony, after = ceremony.welcome(kem_secret=secret, kem_ciphertext=ciphertext, nonce=secrets.token_bytes(32))
            case NeedQuote():
                self._ceremony, after = ceremony.attested(None)
            case StoreHalf() as store:
                await self._propose(store)
                return
            case Submitted(bundle=bundle, statement=statement):
                self._submitted = (statement, bundle)
                await self.try_own_key()
                return
            case Ended(forget=forget):
                if forget is not None:
                    await self._forget(forget)
                return
            case _:
                return
        await self._step(after)

    async def _propose(self, store: StoreHalf) -> None:
        house, ceremony = self._house, self._ceremony
        if ceremony is None or ceremony.check is None:
            raise AssertionError("a half is stored after the words are known")
        half = store.half
        facts = half.hello.facts
        shown = {
            "words": " ".join(ceremony.check.words).encode(),
            "digits": ceremony.check.digits.encode(),
            "facts": "\n".join(
                f"{name}={value}"
                for name, value in (
                    ("name", facts.name),
                    ("os", facts.os),
                    ("arch", facts.arch),
                    ("version", facts.version),
                    ("key_class", facts.key_class.value),
                )
            ).encode(),
        }
        if half.hello.human is not None:
            shown["human"] = half.hello.human.cose_key()
        genesis = house.before_genesis
        receipt = await house.effects.run(
            pairing.proposed(
                half,
                label=self._invite.label or half.label,
                session=self._connection.session.handshake_hash,
                invite=self._invite.invite,
                address=self._knock.address,
                genesis=genesis,
                preapproved=self._invite.preapproved,
                shown=shown,
                now_ns=house.clock(),
            )
        )
        self.pairing = half.pairing_id
        house.ceremony_waits(self)
        keys = house.machine.vault
        self._ceremony, after = ceremony.proposed(
            entry=receipt.index, signing=keys.machine.signing.sign(store.signing), witness=keys.witness.sign(store.witness)
        )
        await self._step(after)
        if self._invite.preapproved and (row := house.machine.store.pair(half.pairing_id)) is not None:
            try:
                await house.statements.stand_preapproved(row, house.clock())
            except (Refused, Unproven) as error:
                # An older pair of this machine stands, or the key behind the invite stands no more: a human decides, in the inbox.
                log.warning("a pairing approved beforehand waits", extra={"pair": row.label, "reason": error.message})

    async def try_own_key(self) -> None:
        """An ADMIN pairing that its own human key signed. It stands by that when the key is an admin's of this house already; or as
        genesis, when the key was named beforehand or its words were compared here. Otherwise it waits for an admin."""
        house = self._house
        if self._submitted is None or self.pairing is None:
            return
        statement, bundle = self._submitted
        if statement.human is None:
            raise AssertionError("an ADMIN pairing names its human key")
        genesis = house.before_genesis
        if genesis:
            if house.machine.owner is None and not self.owner_confirmed:
                return
        elif not house.statements.is_admin(statement.human):
            return
        try:
            proven = parse_bundle(bundle).prove(statement.human)
            if genesis:
                owner = None if house.machine.owner is None else KeyId(house.machine.owner)
                check_genesis(statement, signer=proven.signal.kid, owner=owner, words_confirmed=self.owner_confirmed)
            check_audience(proven.signal, house.machine.house_id)
            check_age(proven.signal, house.clock())
            await house.statements.approve(statement, signed_of(proven, None), now_ns=house.clock(), genesis=genesis)
        except TallyError as error:
            log.warning("an ADMIN pairing was refused", extra={"reason": error.message})
            await self.refuse(Reason.BAD_STATEMENT)

    async def stood(self, receipt: Receipt) -> None:
        """The pair stands: tell the client, if it is still here."""
        house, ceremony = self._house, self._ceremony
        if ceremony is None or ceremony.state in OVER or self._connection.over:
            return
        bundle = await asyncio.to_thread(self._proof, receipt.index)
        checkpoint = await asyncio.to_thread(house.publisher.newest_there_is)
        self._ceremony, step = ceremony.stand(bundle=bundle, entry=receipt.index, checkpoint=checkpoint.note)
        await self._step(step)
        self._wake()

    def _proof(self, index: int) -> bytes:
        """The statement behind a standing pair: the approval's own, or that of the invite that was approved beforehand."""
        store = self._house.machine.store
        row = store.entry(index)
        if row is not None and row.event.get("statement") is not None:
            return bundle_of(row.event)
        created = store.entry(self._invite.created)
        if created is None or created.event.get("statement") is None:
            raise AssertionError("a pair stands by a statement")
        return bundle_of(created.event)

    async def refuse(self, reason: Reason = Reason.DENIED) -> None:
        """A human said no, and it is recorded: tell the client."""
        ceremony = self._ceremony
        if ceremony is None or ceremony.state in OVER:
            return
        self._ceremony, step = ceremony.refuse(reason)
        await self._step(step)
        self._wake()

    def _wake(self) -> None:
        """Let `_run` see that the ceremony is over."""
        with contextlib.suppress(asyncio.QueueFull):
            self._inbox.put_nowait(None)

    async def _forget(self, pair: bytes) -> None:
        """An abort after the half was stored: denied in the ledger, severed where it stands already, unless that is why it ended."""
        house = self._house
        row = house.machine.store.pair(pair)
        if row is not None and row.state == "pending":
            await house.effects.run(pairing.denied(pair=pair, signed=None, reason="aborted", now_ns=house.clock()))
        elif row is not None and row.stands:
            await house.sever(pair, by="peer", reason="aborted", tell=False, actor="invite")
        else:
            await asyncio.to_thread(house.machine.vault.delete_secret, secret_name(pair))
