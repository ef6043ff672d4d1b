"""What a house answers about keys, facts, the matrix and the plan (docs/spec/door.md): the types are what is promised to programs.

KeyIds are texts with check characters, other ids hexadecimal; times are UTC nanoseconds since 1970. A key is called `#12` in short.
"""

from typing import TypedDict

from tallystick.node.answers import Count, Hash, Hex


class Key(TypedDict):
    """A key of the house. `place`: null where none was signed or it was erased (`place_erased`).  `since`: compromised from there on."""

    number: Count
    key: str
    label: str
    kind: str
    state: str
    classes: list[str]
    actions: list[str]
    targets: list[str]
    schedule: str | None
    place: str | None
    place_erased: bool
    expires_ns: Count | None
    introduced: Count
    introduced_by: str | None
    pair: Hash | None
    changed: Count
    since: Count | None


class Suspended(TypedDict):
    """What a revocation has suspended. `kind`: key, grant, fact, scope, pair; `id`: in hexadecimal, empty for facts and grants."""

    kind: str
    id: Hex
    entry: Count
    cause: Count


class Keys(TypedDict):
    """`GET /v1/keys`."""

    keys: list[Key]
    suspended: list[Suspended]


class Grant(TypedDict):
    """A row of the matrix beside the one a key was introduced with."""

    entry: Count
    classes: list[str]
    actions: list[str]
    targets: list[str]
    schedule: str | None
    place: str | None
    expires_ns: Count | None
    by: str | None


class Scope(TypedDict):
    """An advance approval for a key."""

    scope: Hash
    entry: Count
    state: str
    verb: str
    targets: list[str]
    uses_left: Count | None
    until_ns: Count


class Fact(TypedDict):
    """A fact. `value`: null where it is personal and erased."""

    entry: Count
    predicate: str
    subject: str | None
    value: str | int | bool | None
    personal: bool
    state: str
    observed_ns: Count
    until_ns: Count | None
    by: str | None


class Change(TypedDict):
    """An entry about a key."""

    entry: Count
    time_ns: Count
    kind: str
    by: str | None


class KeyDetail(Key):
    """`GET /v1/keys?key=`."""

    public: Hex
    grants: list[Grant]
    scopes: list[Scope]
    facts: list[Fact]
    sightings: Count
    context: Count | None
    changes: list[Change]


class Facts(TypedDict):
    """`GET /v1/facts`."""

    facts: list[Fact]


class Cells(TypedDict):
    """A row of the matrix for people: `yes`, `some`, `ask`, `no` for each action."""

    number: Count
    key: str
    label: str
    kind: str
    state: str
    metadata: str
    read: str
    egress: str
    propose: str
    write: str
    admin: str


class Matrix(TypedDict):
    """`GET /v1/rights`."""

    keys: list[Cells]


class Voice(TypedDict):
    """One that has a say in a verdict."""

    source: str
    subject: str
    verdict: str
    why: str


class Line(TypedDict):
    """A row of a key, and what of it does not let a request through: class, action, target, expired, schedule, or the key's state."""

    key: str
    entry: Count
    allows: bool
    misses: str | None
    row: str


Why = TypedDict(
    "Why",
    {
        "key": str,
        "label": str,
        "action": str,
        "class": str,
        "target": str | None,
        "signal": Count | None,
        "cap": str,
        "verdict": str,
        "scope": Hash | None,
        "layers": list[str],
        "layers_from": str,
        "voices": list[Voice],
        "rows": list[Line],
    },
)
"""`GET /v1/rights/why`."""

Planned = TypedDict("Planned", {"class": str, "layers": list[str], "why": str})
"""The layers of a class, and why those."""


class Plan(TypedDict):
    """`GET /v1/plan`. `entry`: null where the default was never recorded; `plan`: as it was signed or recorded."""

    entry: Count | None
    classes: list[Planned]
    plan: dict[str, list[str]]
