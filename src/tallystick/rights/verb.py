"""The closed list of verbs and the action class of each (docs/spec/signal.md, section 6).

Beside the list stands one open family, `verb.NAME`: the programs that a house's owner names in its settings. Their class is what the
house says there, so here any of the six fits, and the house compares (docs/verbs.md).
"""

import re
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
    "house.verbs": ActionClass.READ,
    "house.explain": ActionClass.READ,
    "house.keys": ActionClass.READ,
    "house.facts": ActionClass.READ,
    "house.rights": ActionClass.READ,
    "house.plan": ActionClass.READ,
    "statement.submit": ActionClass.PROPOSE,
    "signal.submit": ActionClass.PROPOSE,
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

NAMED: Final = "verb."
_ACTIONS: Final = frozenset(action.value for action in ActionClass)
_NAMED: Final = re.compile(r"verb\.[a-z][a-z0-9-]{0,31}", re.ASCII)


def is_named(verb: str) -> bool:
    """Whether this is a verb of the open family: a program that the house's settings name."""
    return _NAMED.fullmatch(verb) is not None


def action_of(verb: str) -> ActionClass:
    """The action class that a signal with this verb must name. Raises: Malformed for a verb that is not in the list."""
    action = VERBS.get(verb)
    if action is None:
        raise Malformed(f"no verb {verb[:64]!r} is known here", "Update tallystick at the house.")
    return action


def check_verb(verb: str, action: str) -> ActionClass:
    """Does a signal name its verb's action? Raises: Malformed when it names another: a smaller one would pass where this must not.

    Of a named program every class is well-formed; which one it has, the house knows and compares.
    """
    if is_named(verb) and action in _ACTIONS:
        return ActionClass(action)
    known = action_of(verb)
    if action != known.value:
        raise Malformed(f"the verb {verb} is of class {known.value}, not what the signal says")
    return known
