"""The closed list of verbs and the action class of each (docs/spec/signal.md, section 6)."""

from collections.abc import Mapping
from typing import Final

from tallystick.errors import Malformed
from tallystick.rights.action import ActionClass

VERBS: Final[Mapping[str, ActionClass]] = {
    "house.status": ActionClass.METADATA,
    "house.checkpoint": ActionClass.METADATA,
    "archive.summary": ActionClass.METADATA,
    "pair.ping": ActionClass.METADATA,
    "archive.get": ActionClass.READ,
    "archive.ls": ActionClass.READ,
    "archive.stat": ActionClass.READ,
    "archive.versions": ActionClass.READ,
    "archive.uploads": ActionClass.READ,
    "house.log": ActionClass.READ,
    "house.tile": ActionClass.READ,
    "house.entries": ActionClass.READ,
    "house.inbox": ActionClass.READ,
    "house.pairs": ActionClass.READ,
    "statement.submit": ActionClass.PROPOSE,
    "archive.put": ActionClass.WRITE,
    "archive.commit": ActionClass.WRITE,
    "archive.rm": ActionClass.WRITE,
    "archive.mv": ActionClass.WRITE,
    "archive.give-up": ActionClass.WRITE,
    "pair.approve": ActionClass.ADMIN,
    "pair.deny": ActionClass.ADMIN,
    "pair.sever": ActionClass.ADMIN,
    "pair.downgrade": ActionClass.ADMIN,
    "invite.create": ActionClass.ADMIN,
    "invite.revoke": ActionClass.ADMIN,
    "key.replace-admins": ActionClass.ADMIN,
}


def action_of(verb: str) -> ActionClass:
    """The action class that a signal with this verb must name. Raises: Malformed for a verb that is not in the list."""
    action = VERBS.get(verb)
    if action is None:
        raise Malformed(f"no verb {verb[:64]!r} is known here", "Update tallystick at the house.")
    return action


def check_verb(verb: str, action: str) -> ActionClass:
    """Does a signal name its verb's action? Raises: Malformed when it names another: a smaller one would pass where this must not."""
    known = action_of(verb)
    if action != known.value:
        raise Malformed(f"the verb {verb} is of class {known.value}, not what the signal says")
    return known
