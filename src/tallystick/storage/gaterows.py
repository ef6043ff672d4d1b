"""What `store.gate` returns: one frozen value per row, with the types of the core (docs/spec/state.md, section 6)."""

from dataclasses import dataclass

from tallystick.facts.fact import Fact, KnownKey, Place
from tallystick.keys.identity import KeyId, PublicKey

UNKNOWN: KeyId = KeyId(bytes(32))
"""Stands among signers for a predecessor that nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKeyRow:
    """A key as the gate needs it. `pairing`: of a machine's key, the pair that brought it."""

    known: KnownKey
    public: PublicKey
    pairing: bytes | None

    @property
    def stands(self) -> bool:
        """Does it stand? Its expiry is the caller's to check: that needs a clock."""
        return self.known.state == "standing"


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantRow:
    """A row of the matrix: the one a key was introduced with (`entry` = its introduction), or a grant. No `targets`: every target."""

    entry: int
    classes: tuple[str, ...]
    actions: tuple[str, ...]
    targets: tuple[str, ...]
    schedule: str
    place: Place | None
    expires_ns: int | None
    by: KeyId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FactRow:
    """A fact with its state: standing, suspended, withdrawn. `by`: who signed it, or whose signal the house took it from.

    `personal`: its value stands in an opening and can be erased; `fact.value` is None then.
    """

    fact: Fact
    state: str
    by: KeyId | None
    personal: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalRow:
    """A signal as it was recorded: of an entry `signal` or `finding`, or a human's statement (its verdict is `allow`).

    `reference`: SHA-256 of its signature; `signed_hash`: SHA-256 of its whole COSE bytes; `signers`: the other keys behind it, zero bytes
    for an unknown one; `depth`: links to the farthest predecessor.
    """

    entry: int
    reference: bytes
    signed_hash: bytes
    key: KeyId
    signal_class: str
    verb: str
    action: str
    verdict: str
    reduced: bool
    reason: str
    signers: tuple[KeyId, ...]
    depth: int
    time_ns: int
    actor: str
    pairing: bytes | None

    @property
    def behind(self) -> frozenset[KeyId]:
        """Every key behind it, its own among them."""
        return frozenset((self.key, *self.signers))


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextRow:
    """What was delivered to a key since its context began, at entry `begun`. `last`: of the last delivery, else `begun`.

    `root`: over the references; `signers`: every key behind them; `has_unknown`: something came from nobody known; `depth`: of the
    deepest signal delivered.
    """

    begun: int
    last: int
    count: int
    root: bytes
    signers: tuple[KeyId, ...]
    has_unknown: bool
    depth: int

    @property
    def field(self) -> tuple[int, int, bytes]:
        """As the event `signal` says it."""
        return self.begun, self.last, self.root


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeRow:
    """An advance approval. None in `verb`, `targets`, `body`, `origins`: any; `uses_left` None: any number of times.

    `state`: open, used, suspended, ended, void. Whether `until_ns` has passed is the caller's to see.
    """

    scope: bytes
    entry: int
    state: str
    subject: KeyId
    verb: str | None
    targets: tuple[str, ...] | None
    body: bytes | None
    origins: tuple[KeyId, ...] | None
    uses: int | None
    uses_left: int | None
    until_ns: int
    by: KeyId


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalRow:
    """A signal that waits for a human. `state`: held, approved, begun (its effect), denied, ended, void.

    `signal_entry`, `key`: of the signal, None where a ledger of before the gate does not say; `signal_hash`: SHA-256 of its COSE bytes;
    `body`: SHA-256 of the quarantined body; `approved`: the approval's entry, `approved_by` its key; `ended`: the entry that set `state`.
    """

    entry: int
    state: str
    signal_entry: int | None
    signal_hash: bytes
    key: KeyId | None
    expires_ns: int | None
    risk: str
    preconditions: bytes | None
    body: bytes | None
    replaces: int | None
    approved: int | None
    approved_by: KeyId | None
    ended: int | None
    reason: str
    time_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspendedRow:
    """What stands no more because of something else, until a human resumes it or lets it go.

    `kind`: key, grant, fact, scope, pair; `identity`: KeyId, scope or pairing id, empty for the others; `entry`: of it; `cause`: the entry
    that suspended it. The key of a pair's machine goes with its pair and is not listed beside it.
    """

    kind: str
    identity: bytes
    entry: int
    cause: int
