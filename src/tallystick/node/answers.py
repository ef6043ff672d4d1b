"""What a house may answer to each question, and the one reader of it (docs/spec/door.md, section 6).

A house is another machine: it may be old, new, broken or hostile. Whatever it sends, nobody behind this reader meets a missing name,
another type or a number that is none. A name that is not in the table is left out: a newer house may say more.
"""

from typing import Annotated, Any, Final, NotRequired, TypedDict, TypeVar

import msgspec

from tallystick.errors import Malformed
from tallystick.pair.pairing import PairType

_T = TypeVar("_T")

Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Hash = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Hex = Annotated[str, msgspec.Meta(pattern=r"\A(?:[0-9a-f]{2})*\Z")]
Id = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
_WHY_CHARS: Final = 200


class Pong(TypedDict):
    """`GET /v1/ping`."""

    time_ns: Count


class Status(TypedDict):
    """`GET /v1/status`. `static` and `advertise` are for ADMIN pairs."""

    house: Hash
    name: str
    type: PairType
    label: str
    entries: Count
    pairs_standing: Count
    sessions_open: Count
    uptime_seconds: Count
    static: NotRequired[Hash]
    advertise: NotRequired[list[tuple[str, Annotated[int, msgspec.Meta(ge=1, le=65_535)]]]]


class Summary(TypedDict):
    """`GET /v1/summary`."""

    files: Count
    bytes: Count
    versions: Count
    version_bytes: Count


class SignedCheckpoint(TypedDict):
    """`GET /v1/checkpoint`."""

    checkpoint: str
    proof: list[Hash]


class Proposal(TypedDict):
    """A pairing that waits."""

    id: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{8}\Z")]
    label: str
    type: PairType
    key: str
    key_class: str
    words: list[str]
    digits: str
    address: str | None
    since_ns: Count
    expires_ns: Count
    facts: dict[str, str]


class Signer(TypedDict):
    """How a house calls a key."""

    key: Hash
    number: Count | None
    label: str
    kind: str
    state: str


Link = TypedDict(
    "Link",
    {
        "key": Hash,
        "number": Count | None,
        "label": str,
        "kind": str,
        "state": str,
        "entry": Count | None,
        "class": str,
        "verb": str,
        "verdict": str,
        "time_ns": Count,
    },
)


class Held(TypedDict):
    """A held signal. `signal`, `opening` and `key` prove themselves (node/held.py); the rest is the house's word."""

    id: Count
    state: str
    why: str
    reason: str
    rule: str
    facts: list[Count]
    time_ns: Count
    expires_ns: Count
    replaces: Count | None
    signal_entry: Count
    signal: Hex
    opening: Hex
    body_bytes: Count | None
    key: Hex | None
    signer: Signer
    chain: Annotated[list[Link], msgspec.Meta(max_length=64)]


class Suspended(TypedDict):
    """What stands no more until a human says so. `kind`: key, grant, fact, scope, pair."""

    kind: str
    id: Hex
    entry: Count
    cause: Count
    name: str


class Inbox(TypedDict):
    """`GET /v1/inbox`. `more`: where the next page of held signals begins."""

    proposals: list[Proposal]
    held: NotRequired[list[Held]]
    more: NotRequired[Count | None]
    suspended: NotRequired[list[Suspended]]


class ReleasedItem(TypedDict):
    """What became of one proposal of an approval. `status`: of what was done: as HTTP says it, or a program's."""

    id: Count
    state: str
    why: str
    entry: Count | None
    result: str
    status: Count | None
    reason: str


class Approved(TypedDict):
    """`GET /v1/approvals/ID`."""

    items: list[ReleasedItem]


class SignalTaken(TypedDict):
    """`POST /v1/signals`."""

    verdict: str
    entry: Count | None
    proposal: NotRequired[Count | None]


class Pair(TypedDict):
    """A pair of the house, as `tally status` there shows it."""

    name: str
    label: str
    role: str
    type: PairType
    state: str
    pairing: Hash
    key: str
    key_class: str
    suite: str
    since_ns: Count
    last_knock_ns: Count | None
    address: str | None
    received_bytes: Count
    sent_bytes: Count
    sessions: Count
    mode: Annotated[int, msgspec.Meta(ge=1, le=3)] | None
    visibility: str | None


class PairDetail(TypedDict):
    """What an approval must name."""

    proposal: Count
    origin: Hash
    static: Hash
    signing: Hex
    witness: Hash
    human: Hex | None
    signed_type: PairType


class Pairs(TypedDict):
    """`GET /v1/pairs`. `details` by pairing id."""

    pairs: list[Pair]
    details: dict[Hash, PairDetail]


class Entry(TypedDict):
    """An entry of the house's ledger."""

    index: Count
    time_ns: Count
    kind: str
    name: str | None
    pair: str | None
    key: str | None
    fields: dict[str, Any]


class Entries(TypedDict):
    """`GET /v1/log`."""

    entries: list[Entry]


class File(TypedDict):
    """A name in a folder."""

    name: str
    kind: str
    bytes: Count | None
    modified_ns: int | None
    sha256: Hash | None


class Page(TypedDict):
    """`GET /v1/list`. `after`: the last name of this page, where there is another."""

    files: list[File]
    after: str | None


class Stat(TypedDict):
    """`GET /v1/stat`."""

    path: str
    kind: str
    bytes: Count | None
    modified_ns: int | None
    sha256: Hash | None
    version: Count | None


class Version(TypedDict):
    """A content that a path once had. `kept`: the entry that set it aside, its name for `get`; `version`: the entry that wrote it."""

    kept: Count
    version: Count | None
    bytes: Count
    modified_ns: int
    sha256: Hash | None


class Versions(TypedDict):
    """`GET /v1/versions`."""

    path: str
    versions: list[Version]


class Staged(TypedDict):
    """Where an upload stands."""

    upload: Id
    offset: Count


class Upload(TypedDict):
    """An unfinished upload of this pair."""

    upload: Id
    path: str
    offset: Count
    modified_ns: int


class Uploads(TypedDict):
    """`GET /v1/uploads`."""

    uploads: list[Upload]


class Stored(TypedDict):
    """A file that took its place. `version` names its content, `entry` its entry in the house's ledger."""

    path: str
    size: Count
    sha256: Hash
    version: Count
    entry: Count


class Removed(TypedDict):
    """`DELETE /v1/files`, `DELETE /v1/uploads`: what is gone."""

    path: str
    entry: Count


class Moved(TypedDict):
    """`POST /v1/move`."""

    path: str
    target: str
    entry: Count


class Submitted(TypedDict):
    """`POST /v1/statements`."""

    verb: str
    entry: Count


class Verb(TypedDict):
    """A named program. `action`: its class; `argv`: for ADMIN pairs."""

    name: Annotated[str, msgspec.Meta(pattern=r"\A[a-z][a-z0-9-]{0,31}\Z")]
    action: str
    doc: str
    input_bytes: Count
    output_bytes: Count
    timeout_s: Count
    argv: list[str] | None


class Verbs(TypedDict):
    """`GET /v1/verbs`."""

    verbs: list[Verb]


class RunEnd(TypedDict):
    """The last frame of `POST /v1/verbs/NAME`."""

    ending: str
    status: Annotated[int, msgspec.Meta(ge=0, le=999)]
    said_bytes: Count
    dropped_bytes: Count


def read_answer(raw: bytes, kind: type[_T], house: str) -> _T:
    """The answer of a house, of exactly this kind. Raises: Malformed, with the house's name."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        why = f"{house} answered with something that is not an answer to this: {str(error)[:_WHY_CHARS]}"
        raise Malformed(why, "is its software as new as ours?") from None
