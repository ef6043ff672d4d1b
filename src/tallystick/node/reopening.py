"""How a closed house is opened again: the terms, and the statement of the human key that was named at the house (docs/spec/restore.md, 4).

The statement comes in a session of any pair that is still heard, or at the house itself. Who carries it does not matter; who signed does.
"""

from collections.abc import Callable

from tallystick.errors import Refused, Unproven
from tallystick.gate.signal import check_age, check_audience
from tallystick.gate.statement import parse_bundle
from tallystick.ledger.receipt import Receipt
from tallystick.node.bundles import signed_of
from tallystick.node.effects import Effects
from tallystick.node.machine import Machine
from tallystick.node.terms import terms_of, write_terms
from tallystick.pair.pairing import PairType
from tallystick.pair.statement import HouseMigrate, HouseRestore, PairResign, parse_statement
from tallystick.passage import house as passages
from tallystick.passage.pairing import Signed
from tallystick.passage.signal import Asker
from tallystick.primitives import sha256
from tallystick.storage.rows import PairRow


class Reopening:
    """One house's way back."""

    def __init__(self, machine: Machine, effects: Effects, clock: Callable[[], int]) -> None:
        self._machine = machine
        self._effects = effects
        self._clock = clock

    def terms(self) -> bytes | None:
        """What it takes to open this house; None while nobody was named at the house. Raises: Unavailable."""
        house = self._machine.store.house()
        return None if house.state != "closed" or house.owner is None else write_terms(terms_of(self._machine, house), house.owner)

    async def submit(self, bundle: bytes, pair: PairRow | None, carried: Asker | None) -> int:
        """`house.restore`; `pair.resign` for a pair that could not carry it otherwise; `house.migrate`. Returns: its entry.

        Args: pair, carried: through which pair it came; None when it was given at the house itself.
        Raises: Malformed, Unproven, Refused, Unavailable.
        """
        machine, now_ns = self._machine, self._clock()
        unproven = parse_bundle(bundle)
        key = machine.store.key(unproven.kid)
        if key is None or key.kind != "human" or not key.stands or "admin" not in key.actions:
            raise Unproven("the statement is not signed by a human key with admin that stands", "see `tally key ls` at the house")
        proven = unproven.prove(key.public)
        check_audience(proven.signal, machine.house_id)
        check_age(proven.signal, now_ns)
        signed = signed_of(proven, carried)
        match parse_statement(proven.body):
            case HouseRestore() as statement:
                self._check(statement, bytes(key.key_id))
                receipt = await self._effects.run(passages.restored(statement, signed=signed, now_ns=now_ns))
            case PairResign(pairing_id=resigned, pair_type=pair_type):
                receipt = await self._effects.run(passages.resigned(pair=resigned, pair_type=pair_type, signed=signed, now_ns=now_ns))
            case HouseMigrate() as statement:
                if pair is not None and not (pair.stands and pair.effective is PairType.ADMIN):
                    raise Refused("only an ADMIN pair that stands carries this statement")
                receipt = await self._migrate(statement, signed, now_ns)
            case _:
                raise Refused("a closed house takes the statement that opens it, and no other")
        return receipt.index

    async def _migrate(self, statement: HouseMigrate, signed: Signed, now_ns: int) -> Receipt:
        """The house moves: its last entry here. Raises: Refused, Unproven."""
        machine = self._machine
        own = machine.vault.machine
        if statement.origin != sha256(machine.log_name.encode()):
            raise Unproven("the statement moves another house, or this one under an earlier name")
        if statement.static == own.static.public or statement.signing == own.signing.public:
            raise Refused("a house moves to another machine, with keys of its own", "there: `tally migrate ticket`")
        size, root = machine.store.head()
        return await self._effects.run(passages.migrated(statement, size=size, root=root, signed=signed, now_ns=now_ns))

    def _check(self, statement: HouseRestore, signer: bytes) -> None:
        house = self._machine.store.house()
        if house.state != "closed" or house.owner is None:
            raise Refused("this house is not waiting to be opened", "at the house: `tally restore --owner KEYID`")
        if signer != house.owner:
            raise Unproven("this is not the human key that was named at the house", "at the house: `tally restore --owner KEYID`")
        terms = terms_of(self._machine, house)
        if (statement.origin, statement.size, statement.root, statement.log) != (terms.origin, terms.size, terms.root, terms.log):
            raise Unproven("the statement opens another house, or this one as it was before", "fetch the terms again, and sign those")
        if not set(statement.seen) <= set(terms.seen):
            raise Unproven("the statement names a checkpoint that no pair has shown here")
