"""Scopes: what a human key approved in advance, and of what it therefore lifts the rows (DESIGN section 8).

A scope is for one key and one verb. Each further term narrows it: targets, one exact body, the keys that may be behind the signal, a
number of uses, an end. It lifts the row of its key, and of the keys that it names as origins, for what it covers; it lifts no cap, no
layer, no confidence, and never `admin`, which a human signs each time.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from tallystick.keys import KeyId
from tallystick.rights.action import ActionClass
from tallystick.rights.grant import covers_target

MAX_ORIGINS: Final = 64
MAX_USES: Final = 1_000_000
UNKNOWN: Final = KeyId(bytes(32))
"""Stands among the keys behind a signal for whatever did not pass the house."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a scope names. `targets`: patterns, none means all.  `body`: SHA-256 of the one body it is for.

    `origins`: the only keys that may be behind the signal beside its signer; None: any, and only the signer's own row is lifted.
    `uses`: how often, None without end.  `until_ns`: exclusive, UTC.
    """

    verb: str
    targets: tuple[str, ...] = ()
    body: bytes | None = None
    origins: tuple[KeyId, ...] | None = None
    uses: int | None = None
    until_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a signal asks for, as rights see it. `target`: None where it has none.  `body`: SHA-256 of its body, None for no body.

    `behind`: the keys of the provenance without the signer's, `UNKNOWN` for a predecessor nobody knows.
    """

    key: KeyId
    signal_class: str
    action: ActionClass
    verb: str
    target: str | None = None
    body: bytes | None = None
    behind: Collection[KeyId] = ()
    now_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """A standing scope. `scope`: its id.  `uses_left`: None without end."""

    scope: bytes
    subject: KeyId
    terms: Terms
    uses_left: int | None = None
    entry: int = 0

    def lifts(self, key: KeyId) -> bool:
        """Whether the row of this key is one of those it names."""
        return key == self.subject or (self.terms.origins is not None and key in self.terms.origins)


def covers(scope: Scope, request: Request) -> bool:
    """Whether exactly this was approved in advance: the key, the verb, the target, the body, the origins, the number and the time."""
    terms = scope.terms
    return (
        request.key == scope.subject
        and request.verb == terms.verb
        and request.action is not ActionClass.ADMIN
        and request.now_ns < terms.until_ns
        and (scope.uses_left is None or scope.uses_left > 0)
        and (terms.body is None or request.body == terms.body)
        and (not terms.targets or (request.target is not None and any(covers_target(each, request.target) for each in terms.targets)))
        and (terms.origins is None or all(key == request.key or key in terms.origins for key in request.behind))
    )
