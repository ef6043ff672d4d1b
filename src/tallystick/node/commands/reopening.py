"""restore --show, --sign, --pair: how the owner of a closed house opens it again (docs/spec/restore.md, section 4; docs/house.md)."""

from collections.abc import Mapping, Sequence
from typing import Any

from tallystick.errors import Misuse, Refused
from tallystick.keys import KeyId, Signer
from tallystick.node import answers
from tallystick.node.checkpointwire import Closed, Why
from tallystick.node.client import HouseSession
from tallystick.node.commands.here import at_the_house, run
from tallystick.node.commands.where import Passphrase, bundle_for, describe, human_key, submit, text_of, the_house
from tallystick.node.machine import Machine
from tallystick.node.settings import Settings
from tallystick.node.terms import read_terms, terms_of
from tallystick.node.view import reason_of
from tallystick.pair.pairing import PairType, Role
from tallystick.pair.statement import HouseRestore, KeyResume, PairResign
from tallystick.storage.rows import PairRow


def restore_show(settings: Settings, *, house: str) -> dict[str, Any]:
    """What a closed house has, and what its pairs showed: at the house itself, or on the machine of its owner."""
    if at_the_house(settings):
        with Machine.open(settings) as machine:
            return _shown_here(machine)
    with Machine.open(settings) as machine:
        row = the_house(machine, house)
        closed, _ = run(_look(machine, row))
        if closed is None or closed.terms is None:
            pairs = run(_pairs(machine, row)) if closed is None else []
            return _view(row.label, "" if closed is None else closed.why.name.lower(), None, None, pairs)
        owner, terms = read_terms(closed.terms)
        return _view(row.label, closed.why.name.lower().replace("_", "-"), owner, terms, [])


def _shown_here(machine: Machine) -> dict[str, Any]:
    house = machine.store.house()
    pairs = [
        {
            "name": row.label or row.pairing.hex()[:8],
            "label": row.label,
            "type": row.effective.value,
            "state": row.state,
            "pairing": row.pairing.hex(),
            "last_knock_ns": _knock(machine.memory.get(f"live/{row.pairing.hex()}")),
            "showed": None if row.showed is None else row.showed.size,
        }
        for row in machine.store.pairs()
        if row.role is Role.HOUSE and row.state in ("standing", "restored")
    ]
    owner = None if house.owner is None else bytes(house.owner)
    terms = terms_of(machine, house) if house.state == "closed" else None
    return _view(machine.settings.name, house.why if reason_of(house) else "", owner, terms, pairs)


def _knock(live: object) -> int | None:
    match live:
        case [int(knock), *_]:
            return knock
    return None


def _view(name: str, why: str, owner: bytes | None, terms: HouseRestore | None, pairs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "house": name,
        "closed": why or None,
        "owner": None if owner is None else str(KeyId(owner)),
        "entries": None if terms is None else terms.size,
        "root": None if terms is None else terms.root.hex(),
        "log": None if terms is None else terms.log,
        "seen": [] if terms is None else [{"size": size, "root": root.hex()} for _, size, root in terms.seen],
        "pairs": list(pairs),
    }


async def _pairs(machine: Machine, house: PairRow) -> list[dict[str, Any]]:
    async with await HouseSession.open(machine, house) as session:
        rows = (await session.get_json("/v1/pairs", verb="house.pairs", kind=answers.Pairs))["pairs"]
    return [
        {**{name: row[name] for name in ("name", "label", "type", "state", "pairing", "last_knock_ns")}, "showed": row.get("showed")}
        for row in rows
        if row["state"] in ("standing", "restored")
    ]


async def _look(machine: Machine, house: PairRow) -> tuple[Closed | None, HouseSession]:
    """What a closed house says of itself; None when it is open."""
    async with await HouseSession.open(machine, house, patient=True) as session:
        told = await session.told()
        return told if isinstance(told, Closed) else None, session


def restore_sign(settings: Settings, *, house: str, passphrase: Passphrase) -> dict[str, Any]:
    """On the owner's machine: open the house again, and stand by this machine's own pair. Two signatures of the human key."""
    with Machine.open(settings) as machine:
        row = the_house(machine, house)
        closed, _ = run(_look(machine, row))
        if closed is None:
            raise Refused(f"{row.label} is open", "`tally restore --pair NAME` signs a pair that waits")
        if closed.why is Why.MOVED or (closed.terms is None and closed.why is not Why.UNSIGNED):
            raise Refused(
                f"{row.label} says nothing of what it takes to open it", "at the house: `tally restore --owner KEYID`; then again here"
            )
        if row.pair_type is not PairType.ADMIN:
            raise Misuse("the owner's machine has an ADMIN pair", "give the command there")
        owner, terms = (None, None) if closed.terms is None else read_terms(closed.terms)
        key = human_key(machine, owner)
        words = text_of(passphrase(describe(key)))

        def signer() -> Signer:
            return machine.vault.human_signer(key.key_id, words)

        async def sign() -> tuple[int | None, int]:
            async with await HouseSession.open(machine, row, patient=True) as session:
                opened = None if terms is None else await session.submit_alone(bundle_for(session, row, signer(), terms))
                stands = await session.submit_alone(
                    bundle_for(session, row, signer(), PairResign(pairing_id=row.pairing, pair_type=row.effective))
                )
                return opened, stands

        opened, stands = run(sign())
        return {
            "house": row.label,
            "entry": opened,
            "pair_entry": stands,
            "entries": None if terms is None else terms.size,
            "log": None if terms is None else terms.log,
            "seen": 0 if terms is None else len(terms.seen),
        }


def restore_pair(settings: Settings, *, house: str, names: Sequence[str], keys: Sequence[str], passphrase: Passphrase) -> dict[str, Any]:
    """On the owner's machine: stand by pairs, and by other people's keys, that wait since a restore; one signature each."""
    others = [KeyId.parse(each) for each in keys]
    with Machine.open(settings) as machine:
        row = the_house(machine, house)
        key = human_key(machine)
        words = text_of(passphrase(describe(key)))
        signed: list[dict[str, Any]] = []
        stand: list[dict[str, Any]] = []

        async def sign() -> None:
            async with await HouseSession.open(machine, row) as session:
                rows = (await session.get_json("/v1/pairs", verb="house.pairs", kind=answers.Pairs))["pairs"]
                for name in names:
                    found = [each for each in rows if name in (each["name"], each["pairing"]) and each["state"] == "restored"]
                    if len(found) != 1:
                        raise Refused(f"{'no pair' if not found else 'more than one pair'} called {name[:60]} waits to be signed again")
                    statement = PairResign(pairing_id=bytes.fromhex(found[0]["pairing"]), pair_type=PairType(found[0]["type"]))
                    answer = await submit(session, row, machine.vault.human_signer(key.key_id, words), statement)
                    signed.append({"name": found[0]["name"], "type": found[0]["type"], "entry": answer["entry"]})
                for other in others:
                    answer = await submit(session, row, machine.vault.human_signer(key.key_id, words), KeyResume(key=other))
                    stand.append({"key": str(other), "entry": answer["entry"]})

        run(sign())
        return {"pairs": signed, "keys": stand}
