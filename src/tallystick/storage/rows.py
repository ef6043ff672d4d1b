"""What the readers return: one frozen value per row, with the types of the core."""

from dataclasses import dataclass

from tallystick.keys.identity import KeyId, PublicKey
from tallystick.ledger import entry
from tallystick.ledger.event import Event
from tallystick.pair.pairing import PairType, Role, Suite


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenCheckpoint:
    """The newest checkpoint of another log that this machine cosigned. `note` is the signed note, if it was kept."""

    origin_hash: bytes
    size: int
    root: bytes
    note: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRow:
    """A pair: `role` is ours, the keys are the other side's. `created`, `stood`, `ended` are entries."""

    pairing: bytes
    state: str
    role: Role
    pair_type: PairType
    effective: PairType
    suite: Suite
    label: str
    subject: KeyId
    signing_key: PublicKey
    static_key: bytes
    witness_key: bytes
    house: KeyId | None
    invite: bytes | None
    expires_ns: int | None
    genesis: bool
    created_ns: int
    created: int
    stood: int | None
    ended: int | None
    seen: SeenCheckpoint | None
    cosigned_size: int | None
    log_name: str = ""
    log_keys: tuple[tuple[int, bytes], ...] = ()
    followed: int | None = None
    showed: SeenCheckpoint | None = None
    """At a house: a checkpoint of ours that this pair showed and that we do not have."""

    @property
    def stands(self) -> bool:
        """May this machine connect?"""
        return self.state == "standing"

    @property
    def heard(self) -> bool:
        """Are its knocks answered? One that waits to be signed again is told so (docs/spec/restore.md, section 3)."""
        return self.state in ("standing", "restored")


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseRow:
    """The house itself. `state`: open, closed, moved; `size`: of the tree before it was closed; `owner`: who may open it again."""

    state: str
    why: str
    size: int
    owner: KeyId | None
    first_name: str
    log_name: str
    log_keys: tuple[tuple[int, bytes], ...]
    restored: int
    successor: PublicKey | None

    @property
    def is_open(self) -> bool:
        """Does it take commands?"""
        return self.state == "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """A key known to this machine. `number` is its short number; `since` the entry from which on it is compromised."""

    key_id: KeyId
    number: int
    kind: str
    state: str
    public: PublicKey
    classes: tuple[str, ...]
    actions: tuple[str, ...]
    targets: tuple[str, ...]
    schedule: str
    place: bytes | None
    expires_ns: int | None
    label: str
    pairing: bytes | None
    introduced: int
    introduced_by: KeyId | None
    changed: int
    since: int | None

    @property
    def stands(self) -> bool:
        """May it sign? Its expiry is the caller's to check: that needs a clock."""
        return self.state == "standing"


@dataclass(frozen=True, slots=True, kw_only=True)
class InviteRow:
    """An invite; `invite` is the hash of its fixed tag."""

    invite: bytes
    state: str
    pair_type: PairType
    label: str
    for_key: KeyId | None
    preapproved: bool
    created_ns: int
    expires_ns: int
    session: bytes | None
    created: int
    ended: int | None
    created_by: KeyId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxItem:
    """What waits for a human: a `pairing` or a `proposal`. `entry` is where it stands in the ledger."""

    kind: str
    entry: int
    identity: bytes
    label: str
    pair_type: PairType | None
    time_ns: int
    expires_ns: int | None


@dataclass(frozen=True, slots=True)
class EntryRow:
    """An entry: its index and the bytes of its leaf."""

    index: int
    leaf: bytes

    @property
    def event(self) -> Event:
        """What happened, decoded. Raises: Malformed when the leaf is not ours (a damaged database)."""
        return entry.decode(self.leaf)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenEffect:
    """An effect that was begun and has not ended."""

    begun: int
    effect: str
    time_ns: int
    signal_hash: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRow:
    """A checkpoint that this log signed."""

    size: int
    root: bytes
    time_ns: int
    note: bytes
