"""The invite of a house's first ADMIN, given at the house itself, while it runs or before; and what an invite looks like to people."""

import secrets
import time
from collections.abc import Mapping
from typing import Any, Final

from tallystick.channel.knock import MAX_INVITES
from tallystick.errors import Misuse, Refused
from tallystick.node.effects import Effects, NoDoors
from tallystick.node.machine import Machine
from tallystick.node.records import whole_number
from tallystick.pair.invite import Invite, InviteTerms, invite_id, invite_terms, invite_text
from tallystick.pair.message import LABEL_FORM
from tallystick.pair.pairing import PairType
from tallystick.passage import invite as invites

_NS: Final = 10**9
MAX_OPEN: Final = MAX_INVITES - 24  # some room for invites that arrive together


def check_room(machine: Machine) -> None:
    """Raises: Refused: as many invites are open as a doorkeeper hears."""
    if machine.store.open_invites() >= MAX_OPEN:
        raise Refused(f"{MAX_OPEN} invites are open already", "wait ten minutes, or revoke some")


def make_invite(machine: Machine, terms: InviteTerms, addresses: tuple[tuple[str, int], ...], now_ns: int) -> tuple[Invite, bytes]:
    """A fresh invite of this house and its secret."""
    secret = secrets.token_bytes(16)
    invite = Invite(
        secret=secret,
        house_static=machine.vault.machine.static.public,
        addresses=addresses,
        pair_type=terms.pair_type,
        expires_s=(now_ns + terms.ttl_s * _NS) // _NS,
    )
    return invite, secret


def invite_view(invite: Invite, label: str, approved: bool) -> dict[str, Any]:
    """An invite as `tally invite` shows it."""
    host, port = invite.addresses[0]
    return {
        "id": invite_id(invite.secret).hex()[:8],
        "invite": invite_text(invite),
        "type": invite.pair_type.value,
        "label": label,
        "address": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        "expires_ns": invite.expires_s * _NS,
        "approved": approved,
    }


async def invite_at_house(
    machine: Machine, effects: Effects, addresses: tuple[tuple[str, int], ...], args: Mapping[str, Any], now_ns: int
) -> dict[str, Any]:
    """An invite for an ADMIN, given at the house itself while no ADMIN pair stands: before genesis, or when all were lost.

    It opens nothing by itself: the pairing stands only by a human key with admin, and at genesis by the owner's.
    Raises: Misuse: an ADMIN pair stands.
    """
    if machine.store.has_admin_pair():
        raise Misuse("this house has its owner already", "make invites on a machine with an ADMIN pair: `tally invite`")
    _local_only(str(args.get("type") or PairType.ADMIN.value))
    ttl, label = args.get("ttl_s"), args.get("label") or None
    if label is not None and not LABEL_FORM.fullmatch(str(label)):
        raise Misuse("a label has 1 to 63 of A-Z a-z 0-9 . _ -, and begins with a letter or digit")
    terms = invite_terms(ttl_s=whole_number(ttl) if ttl else None, pair_type=PairType.ADMIN, label=label and str(label), genesis=True)
    invite, secret = make_invite(machine, terms, addresses, now_ns)
    await effects.run(invites.created(terms, secret, expires_ns=invite.expires_s * _NS, signed=None, now_ns=now_ns))
    return invite_view(invite, terms.label or "", approved=False)


async def invite_offline(machine: Machine, addresses: tuple[tuple[str, int], ...], args: Mapping[str, Any]) -> dict[str, Any]:
    """The same while no house runs: it is heard from the next start on."""
    return await invite_at_house(machine, Effects(machine.store, machine.vault, NoDoors()), addresses, args, time.time_ns())


def _local_only(pair_type: str) -> None:
    """The rule for invites given at the house itself: before genesis, for the first ADMIN. Raises: Misuse."""
    if pair_type != PairType.ADMIN.value:
        raise Misuse(
            "at the house itself only an ADMIN is invited", "Use `tally invite --type ADMIN`; other invites come from an ADMIN machine."
        )
