"""How much is at stake: the risk level that the inbox shows beside what waits (docs/spec/rights.md, section 6).

The table is fixed: a level that a signal could choose, or that came out of a model, would be the first thing an attacker sets. It only
orders the inbox and words the question; no level allows anything. A verb that is not in the table has the level of its action class, one
step above the known verbs of that class: nobody here has said what it does.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from tallystick.rights.action import ActionClass


class Risk(IntEnum):
    """What it costs if it was wrong to say yes."""

    LOW = 0  # nothing changes and nothing leaves
    MEDIUM = 1  # it can be undone
    HIGH = 2  # it cannot be undone, or something leaves the house
    CRITICAL = 3  # who may do what changes

    @property
    def word(self) -> str:
        """The word of the ledger and the command line."""
        return self.name.lower()


RISKS: Final[Mapping[str, Risk]] = {
    "house.status": Risk.LOW,
    "house.checkpoint": Risk.LOW,
    "archive.summary": Risk.LOW,
    "pair.ping": Risk.LOW,
    "archive.get": Risk.LOW,
    "archive.ls": Risk.LOW,
    "archive.stat": Risk.LOW,
    "archive.versions": Risk.LOW,
    "archive.uploads": Risk.LOW,
    "house.log": Risk.LOW,
    "house.tile": Risk.LOW,
    "house.entries": Risk.LOW,
    "house.inbox": Risk.LOW,
    "house.pairs": Risk.LOW,
    "house.verbs": Risk.LOW,
    "house.explain": Risk.LOW,
    "house.keys": Risk.LOW,
    "house.facts": Risk.LOW,
    "house.rights": Risk.LOW,
    "house.plan": Risk.LOW,
    "statement.submit": Risk.LOW,
    "signal.submit": Risk.LOW,
    "archive.put": Risk.MEDIUM,
    "archive.commit": Risk.MEDIUM,
    "archive.mv": Risk.MEDIUM,
    "archive.give-up": Risk.MEDIUM,
    "archive.rm": Risk.HIGH,
    "invite.revoke": Risk.MEDIUM,
    "pair.deny": Risk.MEDIUM,
    "pair.downgrade": Risk.MEDIUM,
    "pair.sever": Risk.HIGH,
    "invite.create": Risk.HIGH,
    "pair.approve": Risk.CRITICAL,
    "pair.resign": Risk.CRITICAL,
    "key.grant": Risk.CRITICAL,
    "key.resume": Risk.CRITICAL,
    "key.revoke": Risk.HIGH,
    "key.replace-admins": Risk.CRITICAL,
    "house.restore": Risk.CRITICAL,
    "house.migrate": Risk.CRITICAL,
    "body.erase": Risk.HIGH,
    "grant.withdraw": Risk.MEDIUM,
    "fact.add": Risk.MEDIUM,
    "fact.withdraw": Risk.MEDIUM,
    "signal.approve": Risk.CRITICAL,
    "signal.deny": Risk.MEDIUM,
    "scope.grant": Risk.CRITICAL,
    "scope.withdraw": Risk.MEDIUM,
    "gate.plan": Risk.CRITICAL,
    "program.run": Risk.CRITICAL,
    "context.begin": Risk.HIGH,
    "context.end": Risk.MEDIUM,
}
UNLISTED: Final[Mapping[ActionClass, Risk]] = {
    ActionClass.METADATA: Risk.LOW,
    ActionClass.READ: Risk.MEDIUM,
    ActionClass.PROPOSE: Risk.MEDIUM,
    ActionClass.EGRESS: Risk.HIGH,
    ActionClass.WRITE: Risk.HIGH,
    ActionClass.ADMIN: Risk.CRITICAL,
}


def risk_of(verb: str, action: ActionClass) -> Risk:
    """The level of a verb; of one that is not in the table that of its action class. Raises: nothing."""
    listed = RISKS.get(verb)
    return UNLISTED[action] if listed is None else listed
