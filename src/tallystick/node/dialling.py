"""Knocking at a house, and opening the connection it answers with: the client's side (docs/spec/knock.md, sections 3, 4 and 7).

    dialled = await dial(machine, pair)                  # or an invite
    dialled.handshake, dialled.opened                    # not trusted with anything before the first frame of the stream verifies

One lane (node/lane.py) for each address, the later ones a little behind; the first that connects wins. What worked is remembered: the
address, and the mode for each network. When nobody has answered in any mode, the machine's clock may be the reason: the house is
asked for the time, once, and the round begins again.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from tallystick.canonical import Encodable
from tallystick.channel.datagram import ASKED_MODES, Mode
from tallystick.channel.knocker import Knocker
from tallystick.errors import Refused, TallyError, Unavailable
from tallystick.ledger.event import Kind
from tallystick.net.address import Endpoint, resolve
from tallystick.node.lane import Address, Call, Dialled, Lane, nothing, race, spare
from tallystick.node.machine import Machine
from tallystick.node.pairclock import InviteClock, PairClock
from tallystick.pair.invite import Invite, invite_keys
from tallystick.pair.pairing import PairKeys, derive_pair_keys
from tallystick.passage.effect import secret_name
from tallystick.storage.rows import PairRow

__all__ = ["Address", "Dialled", "addresses_of", "dial", "forget_keys", "forget_pair", "keep_addresses", "prepare"]

MAX_ADDRESSES: Final = 8
FAILURES: Final = 2  # connections in one mode that opened and then came to nothing: once may be chance
_NS: Final = 10**9


async def dial(
    machine: Machine,
    whom: PairRow | Invite,
    addresses: Sequence[Address] = (),
    *,
    timeout_s: float | None = None,
    modes: Sequence[Mode] = (),
    meanwhile: Callable[[], object] = nothing,
) -> Dialled:
    """Knock until a connection with the house opens.

    Args: addresses: where it may be, best first; those of the invite or those remembered unless told.  timeout_s: of all of it.
        modes: to try, in this order; the settings, then what worked on this network before, then 1, 2, 3 unless told.
        meanwhile: done once, when the first knock has left.
    Raises: Unavailable: silence, or no connection; the hint says what silence may mean.  Refused: the pair's secret is gone.
    """
    call = _of_invite(machine, whom, modes) if isinstance(whom, Invite) else _of_pair(machine, whom, modes, meanwhile)
    places = list(addresses or (whom.addresses if isinstance(whom, Invite) else addresses_of(machine, whom.pairing)))[:MAX_ADDRESSES]
    if not places:
        raise Unavailable(f"no address of {call.name} is known", "pair again with a new invite: it carries the address")
    try:
        async with asyncio.timeout(machine.settings.timeout_s if timeout_s is None else timeout_s):
            dialled = await race([partial(_address, call, place) for place in places])
    except TimeoutError:
        raise _silence(call, places, isinstance(whom, Invite)) from None
    except Unavailable as error:
        raise (error if call.failure is None and not call.answered else _silence(call, places, isinstance(whom, Invite))) from None
    if isinstance(whom, PairRow):
        _remember(machine, whom.pairing, places, dialled)
    return dialled


def addresses_of(machine: Machine, pairing: bytes) -> tuple[Address, ...]:
    """Where this pair's house was reached, best first."""
    row = machine.memory.get(f"address/{pairing.hex()}")
    found: list[Address] = []
    for each in row if isinstance(row, list) else ():
        match each:
            case [str(host), int(port)]:
                found.append((host, port))
    return tuple(found)


def keep_addresses(machine: Machine, pairing: bytes, addresses: Sequence[Address]) -> None:
    """Remember where this pair's house is, best first. Raises: Unavailable."""
    row: Encodable = [[host, port] for host, port in list(addresses)[:MAX_ADDRESSES]]
    machine.memory.change(f"address/{pairing.hex()}", lambda _: (row, None))


def forget_pair(machine: Machine, pairing: bytes) -> None:
    """Drop what is remembered of a pair that is no more. Raises: Unavailable."""
    forget_keys(machine, pairing)
    for prefix in ("address", "mode", "offset", "asked", "live"):
        machine.memory.forget(f"{prefix}/{pairing.hex()}")
    machine.memory.times.forget(pairing)


def forget_keys(machine: Machine, pairing: bytes) -> None:
    """What was prepared to knock with is made anew: the house may have other keys now."""
    machine.knockers.pop(pairing, None)
    machine.spares.drop(pairing)


def prepare(machine: Machine, pairing: bytes, house: Endpoint) -> None:
    """Make ready what the next knock at this house takes, unless it is. Call it while nobody waits.

    Args: house: its address, with its UDP port.
    """
    machine.ephemerals.refill()
    if pairing in machine.knockers and not machine.spares.has(pairing):
        with contextlib.suppress(TallyError):  # whoever knocks is told what is wrong
            machine.spares.keep(pairing, spare(house, machine.knockers[pairing][1], machine.ephemerals))


def _of_pair(machine: Machine, pair: PairRow, modes: Sequence[Mode], meanwhile: Callable[[], object]) -> Call:
    name = pair.label or pair.pairing.hex()[:8]
    keys, knocker = machine.knockers.get(pair.pairing) or _prepare(machine, pair, name)
    clock = PairClock(machine.memory, pair.pairing)

    def order(local: Endpoint) -> tuple[Mode, ...]:
        found = tuple(modes) or fixed_modes(machine)
        if found:
            return found
        last = machine.memory.get(_mode_row(pair.pairing, local))
        return tuple(sorted(ASKED_MODES, key=lambda mode: (mode != last, mode)))

    return Call(
        name=name,
        knocker=knocker,
        mac_key=keys.to_house.mac,
        times=lambda: (clock.next_ns(),),
        ephemerals=machine.ephemerals,
        order=order,
        clock=clock,
        keys=keys,
        spare=partial(machine.spares.take, pair.pairing),
        meanwhile=meanwhile,
    )


def _prepare(machine: Machine, pair: PairRow, name: str) -> tuple[PairKeys, Knocker]:
    """The pair's keys, and the part of its handshake that is the same in every knock; kept until the pair ends or the process does."""
    secret = machine.vault.get_secret(secret_name(pair.pairing))
    if secret is None:
        machine.record_local(Kind.PAIRING_BROKEN, pair=pair.pairing, reason="secret-missing")
        raise Refused(f"the secret of the pair with {name} is gone", "sever it and pair again")
    keys = derive_pair_keys(secret)
    static = machine.vault.machine.static
    knocker = Knocker.of_pair(keys=keys, static=static, house_static=pair.static_key, pair_type=pair.pair_type, suite=pair.suite)
    machine.knockers[pair.pairing] = keys, knocker
    return keys, knocker


def _of_invite(machine: Machine, invite: Invite, modes: Sequence[Mode]) -> Call:
    keys = invite_keys(invite.secret)
    static = machine.vault.machine.static
    return Call(
        name="the house of this invite",
        knocker=Knocker.of_invite(keys=keys, static=static, house_static=invite.house_static, pair_type=invite.pair_type),
        mac_key=keys.mac,
        times=InviteClock(invite.expires_s * _NS).times,
        ephemerals=machine.ephemerals,
        order=lambda _: tuple(modes) or fixed_modes(machine) or ASKED_MODES,
    )


def fixed_modes(machine: Machine) -> tuple[Mode, ...]:
    """The one mode that the settings allow; none where the client may choose."""
    return () if machine.settings.mode == "auto" else (Mode(int(machine.settings.mode)),)


def _mode_row(pairing: bytes, local: Endpoint) -> str:
    """The row that names the mode which worked from this network: an IPv4 /24 or an IPv6 /64."""
    return f"mode/{pairing.hex()}/{local.packed[: 3 if len(local.packed) == 4 else 8].hex()}"


def _remember(machine: Machine, pairing: bytes, places: list[Address], dialled: Dialled) -> None:
    row = _mode_row(pairing, dialled.opened.local)
    if machine.memory.get(row) != dialled.asked:
        machine.memory.change(row, lambda _: (int(dialled.asked), None))
    if places[0] != dialled.address:
        keep_addresses(machine, pairing, [dialled.address, *(place for place in places if place != dialled.address)])


def _silence(call: Call, places: Sequence[Address], invite: bool) -> Unavailable:
    where = ", ".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in places)
    if call.answered:
        why = f": {call.failure.message}" if call.failure is not None else ""
        hint = "a firewall or NAT between you stops the TCP connection: see `tally doctor --firewall` at the house"
        return Unavailable(f"{call.name} answers at {where}, but no connection opens{why}", hint)
    if invite:
        hint = "the house may be off or behind a firewall (UDP), or the invite was used, replaced or has expired"
    else:
        hint = "silence: the house is off, its UDP port is not reached from here, or this pair does not stand there (any more)"
    return Unavailable(f"no answer from {call.name} at {where}", hint)


async def _address(call: Call, place: Address) -> Dialled:
    async def lane(house: Endpoint) -> Dialled:
        return await Lane(call, place, house).run()

    return await race([partial(lane, house) for house in (await resolve(*place))[:MAX_ADDRESSES]])
