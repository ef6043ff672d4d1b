"""Where a command runs: at the house itself, or on a machine that is paired with one; and how a human key signs there."""

import secrets
from collections.abc import Callable

from tallystick.canonical import encode
from tallystick.errors import Malformed, Misuse, Refused
from tallystick.gate.statement import sign_statement
from tallystick.keys import HumanKey, Signer
from tallystick.node import answers
from tallystick.node.client import HouseSession
from tallystick.node.machine import Machine
from tallystick.pair.pairing import Role
from tallystick.pair.statement import Statement, encode_statement
from tallystick.rights import statement as gate
from tallystick.storage.rows import PairRow

Passphrase = Callable[[str], bytes]


def the_house(machine: Machine, name: str) -> PairRow:
    """The pair with a house: by name, or the only one. Raises: Refused, Misuse."""
    wanted = name or machine.settings.house
    if wanted:
        row = machine.store.pair_by_name(wanted)
        if row.role is not Role.CLIENT:
            raise Misuse(f"{wanted} is not a house of this machine", "see `tally status`")
    else:
        rows = [row for row in machine.store.pairs() if row.role is Role.CLIENT and row.state in ("standing", "pending")]
        # What an earlier pairing left waiting is no second house, as long as one stands.
        rows = [row for row in rows if row.state == "standing"] or rows
        if not rows:
            raise Refused("this machine is paired with no house", "`tally pair INVITE` pairs it; an owner of the house makes the invite")
        if len(rows) > 1:
            names = ", ".join(row.label for row in rows[:5])
            raise Misuse(f"this machine is paired with several houses: {names}", "name one, or set `house` in tally.toml")
        row = rows[0]
    if row.state not in ("standing", "pending"):
        raise Refused(f"the pair with {row.label} is {row.state}", "pair again with a new invite")
    return row


def human_key(machine: Machine, key_id: bytes | None = None) -> HumanKey:
    """The human key of this machine's vault: the one asked for, or the only one. Raises: Refused, Misuse."""
    keys = machine.vault.humans()
    if key_id is not None:
        keys = tuple(key for key in keys if key.key_id == key_id)
    if not keys:
        raise Refused("there is no human key on this machine", "`tally key new` makes one; it must be an admin of the house to sign")
    if len(keys) > 1:
        raise Misuse("there are several human keys on this machine", "name one with --key")
    return keys[0]


def describe(key: HumanKey) -> str:
    """How a person is asked for a key's passphrase."""
    return f"{key.label or 'the human key'} ({str(key.key_id)[:15]}...)"


def text_of(passphrase: bytes) -> str:
    """A passphrase as the vault takes it. Raises: Malformed: it is not UTF-8."""
    try:
        return passphrase.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("the passphrase is not UTF-8 text", "give it as it was given when the key was made") from None


def open_human(machine: Machine, passphrase: Passphrase, *, key_id: bytes | None = None) -> Signer:
    """This machine's human key, opened for one signature. Raises: Unproven: the wrong passphrase. Refused, Misuse."""
    key = human_key(machine, key_id)
    return machine.vault.human_signer(key.key_id, text_of(passphrase(describe(key))))


def bundle_for(session: HouseSession, house: PairRow, signer: Signer, statement: Statement | gate.Statement, *, reason: str = "") -> bytes:
    """A statement signed for this house, by the time that it goes by. `reason`: in the signer's own words, kept with it for ever."""
    if house.house is None:
        raise AssertionError("a client's half names its house")
    known = isinstance(statement, tuple(gate.VERBS))
    return sign_statement(
        signer,
        gate.encode_statement(statement) if known else encode_statement(statement),  # type: ignore[arg-type]
        house_id=bytes(house.house),
        issued_at_ns=session.now_ns(),
        stream=secrets.token_bytes(16),
        n=0,
        salt=secrets.token_bytes(32),
        ext=(("reason", reason.encode()),) if reason else (),
    )


async def submit(
    session: HouseSession,
    house: PairRow,
    signer: Signer,
    statement: Statement | gate.Statement,
    *,
    secret: bytes | None = None,
    reason: str = "",
) -> answers.Submitted:
    """Sign a human statement and hand it to the house. Raises: what the house answered."""
    bundle = bundle_for(session, house, signer, statement, reason=reason)
    return await session.post_json("/v1/statements", encode([bundle, secret]), verb="statement.submit", kind=answers.Submitted)
