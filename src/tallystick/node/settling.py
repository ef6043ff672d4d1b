"""What a house puts in order: at its start what a crash left open, later what lapses."""

import asyncio
import logging
from typing import TYPE_CHECKING

from tallystick import __version__
from tallystick.ledger.event import Event, Kind
from tallystick.node.rotating import forget_older
from tallystick.pair.message import Reason
from tallystick.pair.pairing import Role
from tallystick.passage import invite as invites
from tallystick.passage import pairing
from tallystick.passage.effect import INVITE_PREFIX, SECRET_PREFIX, invite_name, secret_name

if TYPE_CHECKING:
    from tallystick.node.house import House

log = logging.getLogger("tallystick")


async def started(house: "House") -> None:
    """The first entry of a run; a house that has moved records nothing. Raises: Unavailable."""
    if house.closing.reason:
        log.error(house.closing.reason, extra={"next": "tally status"})
    if not house.closing.moved:
        size, root = house.machine.store.head()
        software = f"tallystick {__version__}"
        await house.effects.urgently(Event.of(Kind.STARTED, house.clock(), software=software, size=size, root=root, vault="file"))


async def settle(house: "House") -> None:
    """At a start: secrets without a pair are destroyed, pairs without a secret are broken, what has lapsed is recorded."""
    store, vault = house.machine.store, house.machine.vault
    if house.closing.moved:
        for pair in store.pairs():  # nothing is recorded any more; they are told where it went
            if pair.heard and pair.role is Role.HOUSE:
                await house.open_pair(pair.pairing)
        return
    now_ns = house.clock()
    await asyncio.to_thread(forget_older, house.machine)
    wanted: set[str] = set()
    for pair in store.pairs():
        if pair.state not in ("pending", "standing", "restored"):
            continue
        name = secret_name(pair.pairing)
        if pair.state == "pending" and pair.expires_ns is not None and pair.expires_ns <= now_ns and pair.role is Role.HOUSE:
            await house.effects.run(pairing.lapsed(pair=pair.pairing, now_ns=now_ns))
            continue
        if await asyncio.to_thread(vault.get_secret, name) is None:
            await house.effects.urgently(Event.of(Kind.PAIRING_BROKEN, now_ns, pair=pair.pairing, reason="secret-missing"))
            log.warning("a pair lost its secret; pair again", extra={"pair": pair.label})
            continue
        wanted.add(name)
        if pair.heard and pair.role is Role.HOUSE:
            await house.open_pair(pair.pairing)
    for invite in store.invites():
        if invite.state != "open":
            continue
        if invite.expires_ns <= now_ns:
            await house.effects.run(invites.expired(invite.invite, now_ns=now_ns))
        elif not house.closing.reason:
            wanted.add(invite_name(invite.invite))
            await house.open_invite(invite.invite)
    for name in vault.list():
        if name.startswith((SECRET_PREFIX, INVITE_PREFIX)) and name not in wanted:
            await asyncio.to_thread(vault.delete_secret, name)


async def lapse(house: "House") -> None:
    """Pairings and proposals that nobody decided in time, and invites that nobody used."""
    await house.deciding.lapse()
    store, now_ns = house.machine.store, house.clock()
    for item in store.inbox():
        if item.kind == "pairing" and item.expires_ns is not None and item.expires_ns <= now_ns:
            row = store.pair(item.identity)
            if row is not None and row.role is Role.HOUSE:
                await house.effects.run(pairing.lapsed(pair=item.identity, now_ns=now_ns))
                await house.refused(item.identity, Reason.EXPIRED)
    for invite in store.invites():
        if invite.state == "open" and invite.expires_ns <= now_ns:
            await house.effects.run(invites.expired(invite.invite, now_ns=now_ns))
