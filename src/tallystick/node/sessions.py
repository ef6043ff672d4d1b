"""A house's sessions: one of a pair with its door, and one of an invite with its ceremony. Each stands on a `Connection`."""

import asyncio
import contextlib
import logging
import secrets
from typing import TYPE_CHECKING, Final

from tallystick.channel.event import Checkpoint, Confirmed, Data, End, Event, Pairing
from tallystick.channel.event import Telemetry as TelemetryFrame
from tallystick.diode.telemetry import Severed, Telemetry, encode_telemetry, parse_telemetry, sanitise
from tallystick.errors import Refused, TallyError, Unproven
from tallystick.gate.signal import check_age, check_audience
from tallystick.gate.statement import parse_bundle
from tallystick.gate.stream import StreamBook
from tallystick.keys import KeyId
from tallystick.ledger.receipt import Receipt
from tallystick.node.bundles import bundle_of, signed_of
from tallystick.node.checkpointwire import Closed
from tallystick.node.connection import Connection
from tallystick.node.exchange import Exchange
from tallystick.node.host import has_aes_hardware
from tallystick.node.http import ServerStream
from tallystick.pair.ceremony import HouseCeremony
from tallystick.pair.genesis import check_genesis
from tallystick.pair.message import Reason
from tallystick.pair.outcome import OVER, Ended, NeedQuote, NeedWelcome, State, Step, StoreHalf, Submitted
from tallystick.pair.pairing import Role
from tallystick.pair.statement import PairApprove
from tallystick.passage import knock as knocks
from tallystick.passage import pairing
from tallystick.passage.effect import secret_name
from tallystick.passage.signal import Asker
from tallystick.primitives import mlkem768_encapsulate
from tallystick.storage.rows import InviteRow, PairRow

if TYPE_CHECKING:
    from tallystick.node.house import House

CEREMONY_S: Final = 600.0
HANDSHAKE_S: Final = 30.0  # until both have proven themselves: machines talk, nobody types
LATE_S: Final = 10.0  # for the client to read the statement by which the pair stands
MAX_BACKLOG: Final = 16

log = logging.getLogger("tallystick")


class PairSession:
    """A session of a pair. Requests go to the door, checkpoints to the publisher, a severance to the passage."""

    def __init__(self, house: "House", connection: Connection, pair: PairRow, knock: knocks.Connection) -> None:
        self._house = house
        self._connection = connection
        self._knock = knock
        self._stream: ServerStream | None = None
        self._exchange = Exchange(house, connection)
        self._severing = False
        self.pair = pair
        self.asker: Asker = self._asker(pair)
        self.book = StreamBook.of(machine=bytes(pair.subject), handshake_hash=connection.session.handshake_hash)
        self.confirmed = False
        self.recorded = True
        self.under_way: bytes | None = None

    def _asker(self, pair: PairRow) -> Asker:
        return Asker(
            house=self._house.machine.house_id,
            pair=pair.pairing,
            cap=pair.effective,
            key=pair.signing_key,
            session=self._connection.session.handshake_hash,
        )

    def narrow(self, pair: PairRow) -> None:
        """The pair has a narrower type from now on."""
        self.pair = pair
        self.asker = self._asker(pair)

    def cut(self, reason: str) -> None:
        """End the session: the other side broke the protocol, or the pair is no more."""
        self._connection.cut(reason)

    @property
    def over(self) -> bool:
        """Whether the session was cut or has ended."""
        return self._connection.over

    def tell_severed(self) -> None:
        """Say that the pairing has ended, then end."""
        if self.confirmed and not self._connection.over and not self._connection.session.sent_end:
            record = encode_telemetry(Severed(pairing_id=self.pair.pairing))
            self._connection.write(self._connection.session.send_telemetry(record))
        # The rest of an answer that fills every buffer on the way is not for a stranger, and the word would come after it.
        self._connection.cut("severed", unread=False)

    def tell(self, record: Telemetry) -> None:
        """Report something, as far as the pair's type may see it. Who does not read is told nothing: a report is not worth the memory."""
        shown = sanitise(record, self.pair.effective)
        connection = self._connection
        if shown is None or not self.confirmed or connection.over or connection.session.sent_end or connection.unread_bytes:
            return
        connection.write(connection.session.send_telemetry(encode_telemetry(shown)))

    def shutdown(self) -> None:
        """Answer what is under way, then end in order."""
        if self._stream is not None:
            self._stream.shutdown()
        else:
            self._connection.end(None)

    @property
    def bytes_in(self) -> int:
        """Bytes received in sealed frames."""
        return self._connection.bytes_in

    @property
    def bytes_out(self) -> int:
        """Bytes sent in sealed frames."""
        return self._connection.bytes_out

    def on_event(self, event: Event) -> None:
        """What the connection brings."""
        match event:
            case Confirmed():
                self._confirm()
            case Data(data=data):
                if self._stream is not None:
                    self._stream.feed(data)
            case End():
                if self._stream is not None:
                    self._stream.end_of_input()
                else:
                    self._connection.end(None)
            case TelemetryFrame(record=record):
                self._severed(record)
            case Checkpoint(message=message):
                self._exchange.take(message, self.pair, self.asker)
            case _:
                pass

    def _confirm(self) -> None:
        """Key confirmation: the session is recorded, then its requests are read. The ledger keeps the order of its callers, so
        whatever a request brings stands behind these entries; if they cannot be written, neither can anything else."""
        house = self._house
        if not house.hears(self.pair.pairing):
            self._connection.cut("severed")
            return
        room = house.porter.session(self.pair.pairing, self.pair.effective)
        if room is None:
            self._connection.cut("limits")  # a session is entries too; nothing is recorded of this one
            return
        self._connection.flush()  # the pong: nothing the client waits for depends on what follows
        self.confirmed = True
        house.session_confirmed(self)
        pair, session = self.pair, self._connection.session
        self.recorded = room and not house.closing.moved  # a house that has moved records nothing more; it tells where it went
        if self.recorded:
            walk = knocks.confirmed(
                self._knock,
                pair=pair.pairing,
                pair_type=pair.effective.value,
                suite=pair.suite.value,
                stream=session.stream,
                now_ns=house.clock(),
            )
            house.spawn(house.effects.run(walk, urgent=house.machine.reserve.low), self._unrecorded)
        if not house.closing.reason and pair.stands:
            self._stream = house.http.open(self._connection, self)  # else checkpoints are all that is looked at

    def _unrecorded(self, error: BaseException) -> None:
        self._connection.cut("unrecorded")

    def _severed(self, record: bytes) -> None:
        try:
            told = parse_telemetry(record, receiver=Role.HOUSE)
        except TallyError:
            self._connection.cut("malformed")
            return
        if isinstance(told, Severed) and told.pairing_id == self.pair.pairing and not self._severing:
            self._severing = True  # thousands of these frames are one severance
            self._house.spawn(self._house.sever(self.pair.pairing, by="peer", reason="peer", tell=False, actor="pair"))

    def tell_closed(self, closed: Closed) -> None:
        """Say that the house takes no commands any more, then end: an answer that is under way is none any more."""
        if self.confirmed:
            self._exchange.say(closed)
        self._connection.cut("closed", unread=False)

    def pause_writing(self) -> None:
        """The socket has enough."""
        if self._stream is not None:
            self._stream.pause_writing()

    def resume_writing(self) -> None:
        """The socket wants more."""
        if self._stream is not None:
            self._stream.resume_writing()

    def lost(self, reason: str) -> None:
        """The connection is over."""
        if self._stream is not None:
            self._stream.lost()
        self._house.session_lost(self, reason)
        unfinished = self.under_way
        if self.confirmed and self.recorded:
            voided = None if reason == "end" or unfinished is None else (self.book.stream, unfinished)
            self._house.spawn(
                self._house.effects.run(
                    knocks.ended(
                        session=self._connection.session.handshake_hash,
                        pair=self.pair.pairing,
                        reason=reason,
                        bytes_in=self.bytes_in,
                        bytes_out=self.bytes_out,
                        now_ns=self._house.clock(),
                        voided=voided,
                    )
                )
            )


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
