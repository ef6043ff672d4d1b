"""Random but possible histories of a house, from a seed: the events a store is offered, most of which it takes."""

import random
from collections.abc import Iterator
from typing import Any

from tallystick.ledger.event import Event, Kind
from tallystick.primitives import sha256
from tests.storage.house import (
    OWNER,
    RECOVERY,
    START,
    Key,
    answer,
    approved,
    invite_consumed,
    invite_created,
    origin,
    owner_introduced,
    proposed,
    severed,
    signal,
)

TYPES = ("ADMIN", "INPUT", "USER", "INTERFACE")
MACHINES = [Key.named(f"machine {n}") for n in range(6)]
HUMANS = [OWNER, *(Key.named(f"human {n}") for n in range(3))]


def requests(seed: int, count: int) -> Iterator[tuple[tuple[Event, ...], tuple[bytes, ...]]]:
    """`count` requests of one to four events, with openings for some of the signals."""
    dice = random.Random(seed)
    yield (origin(), owner_introduced()), ()
    for n in range(count):
        events = tuple(event(dice, n) for _ in range(dice.choice((1, 1, 1, 2, 4))))
        openings = tuple(dice.randbytes(dice.randrange(700)) if e.kind is Kind.SIGNAL else b"" for e in events)
        yield events, openings if any(openings) else ()


def event(dice: random.Random, n: int) -> Event:
    """One event that may or may not be possible now: names are drawn from few, so that they meet."""
    now = START + 1000 + n
    tag, pairing = (sha256(bytes((kind, dice.randrange(12)))) for kind in (1, 2))
    machine, human = dice.choice(MACHINES), dice.choice(HUMANS)
    pair_type, entry = dice.choice(TYPES), dice.randrange(1, n + 3)
    by: dict[str, Any] = {"key": bytes(human.id)}
    match dice.randrange(19):
        case 0:
            return invite_created(tag, pair_type=pair_type, time_ns=now, lives_ns=dice.choice((5, 500)), label=f"m{n}")
        case 1:
            return invite_consumed(tag, time_ns=now, session=sha256(b"%d" % n))
        case 2:
            return Event.of(dice.choice((Kind.INVITE_REVOKED, Kind.INVITE_EXPIRED)), now, invite=tag)
        case 3:
            return proposed(machine, pairing, pair_type=pair_type, time_ns=now, invite=dice.choice((tag, None)), expires=now + 300)
        case 4 | 5:
            return approved(pairing, pair_type=pair_type, time_ns=now, by=human)
        case 6:
            return severed(pairing, time_ns=now)
        case 7:
            return Event.of(Kind.DOWNGRADED, now, "local", pair=pairing, pair_type=pair_type)
        case 8:
            new = dice.choice(HUMANS)
            return Event.of(
                Kind.KEY_INTRODUCED,
                now,
                "pair",
                subject=bytes(new.id),
                key_kind="human",
                cose_key=new.public.cose_key(),
                classes=("human",),
                actions=("read", "admin"),
                targets=("/a", "/b"),
                **by,
            )
        case 9:
            how = dice.choice(("retired", "compromised"))
            return Event.of(Kind.KEY_REVOKED, now, "pair", subject=bytes(dice.choice(HUMANS).id), revocation=how, **by)
        case 10:
            return Event.of(Kind.EFFECT_BEGUN, now, effect="archive.rename")
        case 11:
            return Event.of(Kind.EFFECT_DONE, now, entry=entry)
        case 12:
            return Event.of(Kind.PROPOSAL, now, signal_hash=sha256(b"%d" % n), expires=now + 50)
        case 13:
            return Event.of(Kind.PROPOSAL_DENIED, now, entry=entry, **by)
        case 14:
            return Event.of(Kind.CHECKPOINT_COSIGNED, now, pair=pairing, origin_hash=bytes(32), size=n, root=sha256(b"%d" % n), by="local")
        case 15:
            return Event.of(Kind.BODY_ERASED, now, entry=entry, reason="asked")
        case 16 if not dice.randrange(12):
            fields: dict[str, Any] = {"admin_keys": (OWNER.public.cose_key(),), "statement": b"x", "statement_salt": bytes(32)}
            return Event.of(Kind.ADMINS_REPLACED, now, signal=signal(RECOVERY, n), **fields)
        case 16 | 17:
            raw = signal(machine, dice.randrange(max(2, n // 2)), salt=bytes([dice.randrange(20) == 0]))
            return Event.of(Kind.SIGNAL, now, "pair", verdict="allow", pairing=pairing, signal=raw)
        case _:
            return answer(n, pairing=pairing)
