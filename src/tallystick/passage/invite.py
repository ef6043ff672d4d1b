"""An invite's way: its secret kept, then recorded, then heard; and the statement of the recovery key."""

from tallystick.errors import TallyError
from tallystick.keys import PublicKey
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.receipt import Receipt
from tallystick.pair.invite import InviteTerms, invite_id
from tallystick.passage.effect import Destroy, Forget, Keep, Listen, Passage, Record, Unlisten, invite_name
from tallystick.passage.pairing import Signed, actor_of


def created(terms: InviteTerms, secret: bytes, *, expires_ns: int, signed: Signed | None, now_ns: int) -> Passage[Receipt]:
    """An invite exists: heard only after its entry; the ledger gets a hash of its secret."""
    identity = invite_id(secret)
    name = invite_name(identity)
    # The event first: one that the table does not allow must leave no secret behind.
    event = Event.of(
        Kind.INVITE_CREATED,
        now_ns,
        actor_of(signed),
        invite=identity,
        pair_type=terms.pair_type.value,
        expires=expires_ns,
        label=terms.label,
        preapproved=terms.yes or None,
        for_key=None if terms.for_key is None else bytes(terms.for_key),
        **({} if signed is None else signed.fields()),
    )
    yield Keep(name, secret)
    try:
        (receipt,) = yield Record((event,))
    except TallyError:
        yield Forget(name)
        raise
    yield Listen(identity, receipt)
    creation: Receipt = receipt
    return creation


def revoked(identity: bytes, *, signed: Signed | None, now_ns: int) -> Passage[Receipt]:
    """An invite is void."""
    event = Event.of(Kind.INVITE_REVOKED, now_ns, actor_of(signed), invite=identity, **({} if signed is None else signed.fields()))
    return (yield from _gone(event, identity))


def expired(identity: bytes, *, now_ns: int) -> Passage[Receipt]:
    """An invite's time is over."""
    return (yield from _gone(Event.of(Kind.INVITE_EXPIRED, now_ns, invite=identity), identity))


def _gone(event: Event, identity: bytes) -> Passage[Receipt]:
    (receipt,) = yield Record((event,), urgent=True)
    yield Unlisten(identity, receipt)
    yield Destroy(invite_name(identity), receipt)
    end: Receipt = receipt
    return end


def admins_replaced(admins: tuple[PublicKey, ...], *, signed: Signed, now_ns: int) -> Passage[Receipt]:
    """The recovery key's one statement: these human keys have admin, and no others."""
    keys = tuple(key.cose_key() for key in admins)
    actor = "local" if signed.pairing is None else "pair"
    event = Event.of(Kind.ADMINS_REPLACED, now_ns, actor, admin_keys=keys, **signed.fields())
    (receipt,) = yield Record((event,), urgent=True)
    replacement: Receipt = receipt
    return replacement
