"""The gate of a machine, made from its settings: the plan settled and recorded, the owner's rules read, the layers chosen."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tallystick.errors import Misuse, Refused, Unavailable
from tallystick.facts.rulefile import NO_RULES, RuleFile, read_rules
from tallystick.gate.deterministic import Deterministic
from tallystick.gate.plan import Settled, plan_of, settle
from tallystick.gate.question import GateLayer, Layer
from tallystick.ledger.event import Event, Kind
from tallystick.node.effects import Effects
from tallystick.node.gatekeeper import Gatekeeper
from tallystick.node.machine import Machine
from tallystick.node.settings import Settings
from tallystick.primitives import sha256
from tallystick.storage.sqlite import Store

RULES_FILE: Final = "gate.rules"
MAX_RULES_BYTES: Final = 65_536

log = logging.getLogger("tallystick")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A gate and what its start settled."""

    keeper: Gatekeeper
    settled: Settled


def read_rules_file(home: Path) -> RuleFile:
    """The owner's rules; none where there is no file. Raises: Malformed: with line and column.  Misuse: too long.  Unavailable."""
    path = home / RULES_FILE
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_RULES_BYTES + 1)
    except FileNotFoundError:
        return NO_RULES
    except OSError as error:
        raise Unavailable(f"cannot read {path}: {error.strerror}", "check its owner and mode") from error
    if len(raw) > MAX_RULES_BYTES:
        raise Misuse(f"{path} is longer than {MAX_RULES_BYTES} bytes", "it holds one short rule for each thing you know")
    return read_rules(raw)


def recorded_rules(store: Store) -> bytes:
    """SHA-256 of the rules that the ledger says are in force, in their one form: an auditor who is shown a file can compare."""
    for row in store.entries(kinds=(Kind.SETTINGS,), newest_first=True):
        if row.event.get("what") == RULES_FILE:
            return row.event.blob("digest")
    return sha256(NO_RULES.text().encode("utf-8"))


def settled_plan(store: Store, settings: Settings) -> Settled:
    """The plan a start of now would go on with; nothing is recorded. Raises: Misuse, Unavailable."""
    recorded = store.gate.plan()
    return settle(None if recorded is None else plan_of(recorded[1]), settings.auth_layers)


def open_gate(machine: Machine, effects: Effects, clock: Callable[[], int]) -> Gate:
    """Make the gate of a machine; where plan or rules are not the recorded ones, record them.

    Raises: Misuse: a plan that cannot be, naming the setting.  Malformed: the rule file, with its line.  Unavailable: the ledger; or
        clingo is wanted (setting `reason`) and not installed.
    """
    store, settings = machine.store, machine.settings
    rules = read_rules_file(machine.home.path)
    layers: dict[Layer, GateLayer] = {Layer.DETERMINISTIC: Deterministic(rules=rules)}
    settled = settled_plan(store, settings)
    if settled.not_taken:
        log.warning(
            "a weaker plan is configured and not taken: it needs a human's signature (`tally plan set`)",
            extra={"classes": ", ".join(settled.not_taken)},
        )
    changed = [Event.of(Kind.PLAN, clock(), plan=settled.plan.words())] if settled.changed else []
    digest = sha256(rules.text().encode("utf-8"))
    if digest != recorded_rules(store):
        changed.append(Event.of(Kind.SETTINGS, clock(), digest=digest, what=RULES_FILE))
    if changed:
        try:
            store.append(*changed).result()
        except Refused as error:  # a house that is closed records nothing, and takes no signal either
            log.warning("the plan and the owner's rules could not be recorded", extra={"reason": error.message})
    keeper = Gatekeeper(
        store,
        effects,
        house_id=machine.house_id,
        signer=machine.vault.machine.signing,
        origin=lambda: sha256(machine.log_name.encode()),
        clock=clock,
        plan=settled.plan,
        layers=layers,
        rate=settings.rate_key,
    )
    if settings.reason:
        from tallystick.node.searching import searched  # needs clingo, which is an extra

        keeper.search = searched
    return Gate(keeper=keeper, settled=settled)
