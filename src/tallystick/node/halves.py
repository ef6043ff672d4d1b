"""A client's half of a pair: how it comes to stand, and how it ends. Each way is a passage; here is what goes with it at a client."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from typing import Final

from tallystick.errors import Misuse, Refused, Unavailable
from tallystick.node.dialling import forget_keys, forget_pair
from tallystick.node.effects import Effects, NoDoors
from tallystick.node.machine import Machine
from tallystick.pair.pairing import Role, free_label
from tallystick.passage import pairing
from tallystick.passage.effect import SECRET_PREFIX, secret_name
from tallystick.passage.pairing import Shown, Signed
from tallystick.storage.rows import PairRow

ALIVE: Final = frozenset({"pending", "standing", "restored"})


def effects_of(machine: Machine) -> Effects:
    """The effects of a machine that is nobody's house."""
    return Effects(machine.store, machine.vault, NoDoors(), machine.reserve)


async def stand(machine: Machine, pair: PairRow, signed: Signed | Shown | None) -> None:
    """The house has let the pairing stand, and this is how we know.

    Args: signed: its statement, proven or only shown; None when a session of the pair was confirmed, which takes a standing pair.
    An older pair with the same house ends here: the house lets one pair of two machines stand, so it has ended there. When another
    process of this machine was first, that is as good.
    Raises: Refused: it does not wait, or waited too long.  Unavailable.
    """
    for old in machine.store.pairs():
        if old.stands and old.role is Role.CLIENT and old.static_key == pair.static_key and old.pairing != pair.pairing:
            await end(machine, old.pairing, reason="paired-anew")
    walk = pairing.approved(
        pair=pair.pairing,
        pair_type=pair.pair_type,
        label=pair.label,
        keys=(),
        genesis=False,
        signed=signed,
        by="statement" if isinstance(signed, Signed) else "peer",
        now_ns=time.time_ns(),
    )
    try:
        await effects_of(machine).run(walk)
    except Refused:
        row = machine.store.pair(pair.pairing)
        if row is None or not row.stands:
            raise


async def end(machine: Machine, pair: bytes, *, reason: str) -> None:
    """The house has ended the pair: recorded, then the secret destroyed. Ended already is as good. Raises: Unavailable."""
    try:
        await effects_of(machine).run(
            pairing.severed(pair=pair, by="peer", signed=None, reason=reason, tell=False, now_ns=time.time_ns(), actor="pair")
        )
    except Refused:
        return
    forget_pair(machine, pair)


async def drop(machine: Machine, pair: bytes, *, reason: str) -> None:
    """No pair came of a half: recorded, then its secret destroyed. Raises: Unavailable."""
    await effects_of(machine).run(pairing.denied(pair=pair, signed=None, reason=reason, now_ns=time.time_ns()))
    forget_pair(machine, pair)


def sweep(machine: Machine) -> None:
    """Destroy the secrets of pairs that are no more, which a process that died between an entry and its effect has left.

    A half whose entry is still being written has a secret and no pair yet: `keeping` says so. A house sweeps its own at its start.
    Raises: Unavailable.
    """
    if machine.role is Role.HOUSE:
        return
    with _locked(machine, wait=False) as mine:
        if not mine:
            return
        alive = {secret_name(row.pairing) for row in machine.store.pairs() if row.state in ALIVE}
        for name in machine.vault.list(SECRET_PREFIX):
            if name not in alive:
                machine.vault.delete_secret(name)


@contextlib.contextmanager
def keeping(machine: Machine) -> Iterator[None]:
    """While a half is on its way into vault and ledger, nobody sweeps. Raises: Unavailable."""
    with _locked(machine, wait=True):
        yield


@contextlib.contextmanager
def _locked(machine: Machine, *, wait: bool) -> Iterator[bool]:
    """flock(2) on `pairing.lock`: several may keep at once, one sweeps alone or not at all."""
    path = machine.home.path / "pairing.lock"
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise Unavailable(f"cannot open {path.name}: {error.strerror}", "check the owner and the free space of the home") from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_SH if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = True
        except BlockingIOError:
            mine = False
        yield mine
    finally:
        os.close(file)


async def lapse(machine: Machine, pair: bytes) -> None:
    """Nobody let the pairing stand in time. Raises: Unavailable."""
    await effects_of(machine).run(pairing.lapsed(pair=pair, now_ns=time.time_ns()))
    forget_pair(machine, pair)


async def usable(machine: Machine, pair: PairRow, now_ns: int) -> PairRow:
    """The pair as the ledger has it now. Raises: Refused, Misuse."""
    row = machine.store.pair(pair.pairing)
    name = pair.label or pair.pairing.hex()[:8]
    if row is None or row.state not in ("pending", "standing"):
        forget_keys(machine, pair.pairing)
        raise Refused(f"the pair with {name} is {row.state if row else 'unknown'}", "pair again with a new invite")
    if row.role is not Role.CLIENT:
        raise Misuse(f"{name} is a client of this house", "a house never connects to the machines that are paired to it")
    if row.state == "pending" and row.expires_ns is not None and row.expires_ns <= now_ns:
        await lapse(machine, row.pairing)
        raise Refused(f"nobody approved the pairing with {name} in time", "ask for a new invite")
    return row


def label_for(machine: Machine, wanted: str, house_static: bytes) -> str:
    """What this machine calls a house: the name it gives itself, or with a number where another house has that name already.

    A house that is paired anew keeps its name: its older pair ends when the new one stands.
    """
    rows = machine.store.pairs()
    return free_label(wanted, {row.label for row in rows if row.state in ("standing", "pending") and row.static_key != house_static})
