"""The ceremony of both sides: what may come when, and what it brings about (docs/spec/pairing.md, sections 2 to 4).

Both machines are frozen values. `receive` and the shell's answers return the next value and a `Step`: bytes to send
as frames of type 5, and at most one effect for the shell (pair/outcome.py). Whatever the peer sends, `receive` raises
nothing: a message of another form, out of order or with a proof that does not hold ends the ceremony, with nothing
kept. Calls of our own shell in the wrong state are Misuse.

The tables at the end of each class are the whole truth about order; a missing cell is an abort.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from tallystick.errors import Malformed, Misuse, TallyError
from tallystick.keys import KeyId, PublicKey
from tallystick.pair.exchange import Exchange, StopError, Table
from tallystick.pair.invite import check_for_key
from tallystick.pair.message import (
    Approve,
    Attest,
    ClientConfirm,
    Hello,
    HostFacts,
    HouseConfirm,
    Open,
    Reason,
    RefusedPairing,
    Standing,
    Welcome,
    encode_message,
)
from tallystick.pair.outcome import Ended, NeedQuote, NeedWelcome, Proposed, State, Step, Stood, Submitted
from tallystick.pair.pairing import PairType, Role, Suite
from tallystick.pair.statement import InviteCreate, PairApprove, bundle_body
from tallystick.pair.transcript import check_words, commitment, confirmation, first_transcript
from tallystick.primitives import equal, mlkem768_decapsulate, mlkem768_public


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCeremony(Exchange):
    """The side that asks. Begin with `ClientCeremony.begin`."""

    role: ClassVar[Role] = Role.CLIENT
    peer: ClassVar[Role] = Role.HOUSE

    invite_id: bytes = b""
    house_id: bytes | None = None
    kem_seed: bytes = field(default=b"", repr=False)
    nonce: bytes = field(default=b"", repr=False)

    @classmethod
    def begin(
        cls,
        *,
        handshake_hash: bytes,
        chaining_key: bytes,
        client_static: bytes,
        house_static: bytes,
        pair_type: PairType,
        invite_id: bytes,
        house_id: bytes | None,
        signing: PublicKey,
        witness: PublicKey,
        human: PublicKey | None,
        facts: HostFacts,
        label: str,
        aes: bool,
        kem_seed: bytes,
        nonce: bytes,
    ) -> tuple[Self, Step]:
        """Say hello.

        Args: pair_type, invite_id, house_id: of the invite.  aes: this machine has AES hardware.
            kem_seed, nonce: fresh entropy, 64 and 32 bytes.
        Raises: Misuse when a field is out of range, or a human key is given for another type than ADMIN or missing for it.
        """
        if (human is not None) != (pair_type is PairType.ADMIN):
            raise Misuse("a human key is given exactly for an ADMIN pairing", "Make one with `tally key new --human` first.")
        hello = Hello(
            kem_public=mlkem768_public(kem_seed),
            signing=signing,
            witness=witness,
            human=human,
            facts=facts,
            label=label,
            commit=commitment(nonce),
            aes=aes,
        )
        raw = encode_message(hello)
        ceremony = cls(
            handshake_hash=handshake_hash,
            chaining_key=chaining_key,
            client_static=client_static,
            house_static=house_static,
            pair_type=pair_type,
            aes=aes,
            state=State.GREETED,
            hello=hello,
            hello_raw=raw,
            invite_id=invite_id,
            house_id=house_id,
            kem_seed=kem_seed,
            nonce=nonce,
        )
        return ceremony, Step(send=(raw,))

    def _on_welcome(self, welcome: Welcome, raw: bytes) -> tuple[Self, Step]:
        if welcome.pair_type is not self.pair_type or (welcome.suite is Suite.AESGCM and not self.aes):
            raise StopError(Reason.WRONG_TYPE)
        if self.house_id is not None and welcome.house_id != self.house_id:
            raise StopError(Reason.BAD_KEY)
        opened = encode_message(Open(nonce=self.nonce))
        t1 = first_transcript(handshake_hash=self.handshake_hash, hello=self.hello_raw, welcome=raw, opened=opened)
        after = replace(
            self,
            state=State.OPENED,
            welcome_message=welcome,
            welcome_raw=raw,
            kem_secret=mlkem768_decapsulate(self.kem_seed, welcome.kem_ciphertext),
            t1=t1,
            check=check_words(handshake_hash=self.handshake_hash, client_nonce=self.nonce, house_nonce=welcome.nonce),
        )
        return after, Step(send=(opened,), effect=NeedQuote(t1=t1, peer_quote=None))

    def attested(self, quote: bytes | None) -> tuple[Self, Step]:
        """The own quote over T1, or none. Raises: Misuse in another state or when the quote is too long."""
        self._need(State.OPENED)
        raw = encode_message(Attest(sender=Role.CLIENT, quote=quote))
        return replace(self, state=State.ATTESTED, client_quote=quote), Step(send=(raw,))

    def _on_attest(self, attest: Attest, raw: bytes) -> tuple[Self, Step]:
        after = replace(self, house_quote=attest.quote)
        after = replace(after, state=State.DERIVED, secrets=after._secrets())
        return after, Step(effect=after._store_half())

    def stored(self, *, signing: bytes, witness: bytes, human: bytes | None) -> tuple[Self, Step]:
        """The half is stored; these are the signatures asked for. Raises: Misuse in another state or without a signature."""
        self._need(State.DERIVED)
        hello, _, secrets = self._known()
        if (human is not None) != (hello.human is not None):
            raise Misuse("a human signature is given exactly for an ADMIN pairing")
        confirm = ClientConfirm(mac=confirmation(secrets, Role.CLIENT), signing=signing, witness=witness, human=human)
        return replace(self, state=State.CONFIRMED), Step(send=(encode_message(confirm),))

    def _on_confirm(self, confirm: HouseConfirm, raw: bytes) -> tuple[Self, Step]:
        _, welcome, _ = self._known()
        self._prove(confirm.mac, (("signing", welcome.signing, confirm.signing), ("witness", welcome.witness, confirm.witness)))
        if self.check is None:
            raise AssertionError("a ceremony that was opened has its words")
        return replace(self, state=State.PROPOSED), Step(effect=Proposed(proposal=confirm.proposal, check=self.check))

    def approve(self, bundle: bytes) -> tuple[Self, Step]:
        """Send the own human key's statement (genesis). Raises: Misuse in another state, for another type or another pairing."""
        self._need(State.PROPOSED)
        statement = _own_statement(bundle)
        if self.pair_type is not PairType.ADMIN or not self._matches(statement):
            raise Misuse("this statement approves another pairing")
        return self, Step(send=(encode_message(Approve(bundle=bundle)),))

    def _on_standing(self, standing: Standing, raw: bytes) -> tuple[Self, Step]:
        _, _, secrets = self._known()
        try:
            statement = bundle_body(standing.bundle)
        except Malformed:
            raise StopError(Reason.BAD_STATEMENT) from None
        match statement:
            case PairApprove() if self._matches(statement):
                pass
            case InviteCreate(yes=True) if statement.invite_id == self.invite_id and statement.pair_type is self.pair_type:
                pass
            case _:
                raise StopError(Reason.BAD_STATEMENT)
        stood = Stood(pairing_id=secrets.pairing_id, standing=standing, statement=statement)
        return replace(self, state=State.STANDING), Step(effect=stood)

    def _on_refused(self, refused: RefusedPairing, raw: bytes) -> tuple[Self, Step]:
        _, _, secrets = self._known()
        ended = Ended(reason=refused.reason, by_peer=True, forget=secrets.pairing_id)
        return replace(self, state=State.REFUSED), Step(effect=ended)

    table: ClassVar[Table] = {
        (State.GREETED, Welcome): _on_welcome,
        (State.ATTESTED, Attest): _on_attest,
        (State.CONFIRMED, HouseConfirm): _on_confirm,
        (State.PROPOSED, Standing): _on_standing,
        (State.PROPOSED, RefusedPairing): _on_refused,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseIdentity:
    """The public keys a house shows in its welcome. `house_id`: KeyId of its first signing key; `origin_hash`: of its log."""

    house_id: KeyId
    signing: PublicKey
    witness: PublicKey
    log: PublicKey
    log_pq: PublicKey
    log_name: str
    recovery: PublicKey
    origin_hash: bytes
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseCeremony(Exchange):
    """The side that is paired to. Begin with `HouseCeremony.begin`; the invite is consumed already."""

    role: ClassVar[Role] = Role.HOUSE
    peer: ClassVar[Role] = Role.CLIENT

    identity: HouseIdentity
    for_key: bytes | None = None

    @classmethod
    def begin(
        cls,
        *,
        handshake_hash: bytes,
        chaining_key: bytes,
        client_static: bytes,
        house_static: bytes,
        pair_type: PairType,
        identity: HouseIdentity,
        for_key: bytes | None,
        aes: bool,
    ) -> Self:
        """Wait for a hello. Args: pair_type, for_key: of the invite.  aes: this machine has AES hardware and allows it."""
        return cls(
            handshake_hash=handshake_hash,
            chaining_key=chaining_key,
            client_static=client_static,
            house_static=house_static,
            pair_type=pair_type,
            identity=identity,
            for_key=for_key,
            aes=aes,
        )

    def _on_hello(self, hello: Hello, raw: bytes) -> tuple[Self, Step]:
        if (hello.human is not None) != (self.pair_type is PairType.ADMIN):
            raise StopError(Reason.BAD_KEY)
        try:
            check_for_key(self.for_key, hello.signing.key_id)
        except TallyError:
            raise StopError(Reason.OTHER_KEY) from None
        return replace(self, state=State.GREETED, hello=hello, hello_raw=raw), Step(effect=NeedWelcome(hello=hello))

    def welcome(self, *, kem_secret: bytes, kem_ciphertext: bytes, nonce: bytes) -> tuple[Self, Step]:
        """Show who we are.

        Args: kem_secret, kem_ciphertext: encapsulated to the hello's key.  nonce: fresh entropy, 32 bytes.
        Raises: Misuse in another state or when a field is out of range.
        """
        self._need(State.GREETED)
        if self.hello is None:
            raise AssertionError("a greeted house has a hello")
        who = self.identity
        welcome = Welcome(
            kem_ciphertext=kem_ciphertext,
            house_id=who.house_id,
            signing=who.signing,
            witness=who.witness,
            log=who.log,
            log_pq=who.log_pq,
            log_name=who.log_name,
            recovery=who.recovery,
            origin_hash=who.origin_hash,
            nonce=nonce,
            pair_type=self.pair_type,
            suite=Suite.AESGCM if self.aes and self.hello.aes else Suite.CHACHAPOLY,
            label=who.label,
        )
        raw = encode_message(welcome)
        after = replace(self, state=State.WELCOMED, welcome_message=welcome, welcome_raw=raw, kem_secret=kem_secret)
        return after, Step(send=(raw,))

    def _on_open(self, opened: Open, raw: bytes) -> tuple[Self, Step]:
        if self.hello is None or self.welcome_message is None:
            raise AssertionError("a house that sent its welcome has both")
        if not equal(commitment(opened.nonce), self.hello.commit):
            raise StopError(Reason.BAD_COMMITMENT)
        t1 = first_transcript(handshake_hash=self.handshake_hash, hello=self.hello_raw, welcome=self.welcome_raw, opened=raw)
        check = check_words(handshake_hash=self.handshake_hash, client_nonce=opened.nonce, house_nonce=self.welcome_message.nonce)
        return replace(self, state=State.OPENED, t1=t1, check=check), Step()

    def _on_attest(self, attest: Attest, raw: bytes) -> tuple[Self, Step]:
        after = replace(self, state=State.ASKED, client_quote=attest.quote)
        return after, Step(effect=NeedQuote(t1=self.t1, peer_quote=attest.quote))

    def attested(self, quote: bytes | None) -> tuple[Self, Step]:
        """The client's quote is judged good; this is our own, or none. Raises: Misuse in another state or when too long."""
        self._need(State.ASKED)
        raw = encode_message(Attest(sender=Role.HOUSE, quote=quote))
        after = replace(self, house_quote=quote)
        return replace(after, state=State.ATTESTED, secrets=after._secrets()), Step(send=(raw,))

    def _on_confirm(self, confirm: ClientConfirm, raw: bytes) -> tuple[Self, Step]:
        hello, _, _ = self._known()
        proofs = [("signing", hello.signing, confirm.signing), ("witness", hello.witness, confirm.witness)]
        if (hello.human is None) != (confirm.human is None):
            raise StopError(Reason.BAD_CONFIRMATION)
        if hello.human is not None and confirm.human is not None:
            proofs.append(("human", hello.human, confirm.human))
        self._prove(confirm.mac, tuple(proofs))
        return replace(self, state=State.DERIVED), Step(effect=self._store_half())

    def proposed(self, *, entry: int, signing: bytes, witness: bytes) -> tuple[Self, Step]:
        """The half is stored, the proposal is entry number `entry`. Raises: Misuse in another state."""
        self._need(State.DERIVED)
        _, _, secrets = self._known()
        confirm = HouseConfirm(mac=confirmation(secrets, Role.HOUSE), signing=signing, witness=witness, proposal=entry)
        return replace(self, state=State.PROPOSED), Step(send=(encode_message(confirm),))

    def _on_approve(self, approve: Approve, raw: bytes) -> tuple[Self, Step]:
        try:
            statement = bundle_body(approve.bundle)
        except Malformed:
            raise StopError(Reason.BAD_STATEMENT) from None
        if self.pair_type is not PairType.ADMIN or not isinstance(statement, PairApprove) or not self._matches(statement):
            raise StopError(Reason.BAD_STATEMENT)
        return self, Step(effect=Submitted(bundle=approve.bundle, statement=statement))

    def stand(self, *, bundle: bytes, entry: int, checkpoint: bytes) -> tuple[Self, Step]:
        """The pairing statement is in the ledger as `entry`. Raises: Misuse in another state or when a field is out of range."""
        self._need(State.PROPOSED)
        raw = encode_message(Standing(bundle=bundle, entry=entry, checkpoint=checkpoint))
        return replace(self, state=State.STANDING), Step(send=(raw,))

    def refuse(self, reason: Reason = Reason.DENIED) -> tuple[Self, Step]:
        """A human denied the pairing; the shell has recorded it. Raises: Misuse in another state."""
        self._need(State.PROPOSED)
        _, _, secrets = self._known()
        ended = Ended(reason=reason, by_peer=False, forget=secrets.pairing_id)
        return replace(self, state=State.REFUSED), Step(send=(encode_message(RefusedPairing(reason=reason)),), effect=ended)

    table: ClassVar[Table] = {
        (State.NEW, Hello): _on_hello,
        (State.WELCOMED, Open): _on_open,
        (State.OPENED, Attest): _on_attest,
        (State.ATTESTED, ClientConfirm): _on_confirm,
        (State.PROPOSED, Approve): _on_approve,
    }


def _own_statement(bundle: bytes) -> PairApprove:
    try:
        statement = bundle_body(bundle)
    except Malformed as error:
        raise Misuse(error.message) from None
    if not isinstance(statement, PairApprove):
        raise Misuse("this statement approves no pairing")
    return statement
