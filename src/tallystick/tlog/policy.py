"""Trust policies (C2SP tlog-policy): which logs and which witnesses, and how many of them make a checkpoint valid.

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> <k|any|all> <member>...
    quorum <name|none>

A checkpoint is valid when one of the logs signed it and the witnesses that cosigned it make the quorum. A witness outside the quorum is
optional: its cosignature is kept, and nothing waits for it. Each name is a member of one group at most, so each witness counts once.

People write these files: lines are separated by newlines, words by spaces and tabs, `#` begins a comment line. Names are bytes, compared
as bytes; text that is not UTF-8 is kept as it is.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from tallystick.canonical import decimal, to_decimal
from tallystick.errors import Malformed, Misuse, Unproven
from tallystick.tlog.checkpoint import SignedCheckpoint, read_checkpoint
from tallystick.tlog.cosignature import verifier
from tallystick.tlog.note import Note, SignatureType, Verifier, VerifierKey, parse_verifier_key

MAX_POLICY_BYTES: Final = 1 << 20
MAX_OF_EACH: Final = 256  # the specification asks for 32
NONE: Final = "none"

_LOG_TYPES: Final = frozenset({SignatureType.ED25519, SignatureType.ML_DSA_44})
_WITNESS_TYPES: Final = frozenset({SignatureType.COSIGNATURE, SignatureType.ML_DSA_44})


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyLog:
    """A log that may have signed. The key's name is the log's origin."""

    key: VerifierKey
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyWitness:
    """A witness. `name` is what the policy calls it, not the name of its key."""

    name: str
    key: VerifierKey
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyGroup:
    """A group: it has witnessed what `k` of its members have witnessed."""

    name: str
    k: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy that holds together. Made by `read_policy`, or by hand and then checked."""

    logs: tuple[PolicyLog, ...] = ()
    witnesses: tuple[PolicyWitness, ...] = ()
    groups: tuple[PolicyGroup, ...] = ()
    quorum: str = NONE

    def __post_init__(self) -> None:
        """Raises: Malformed: a name that is missing, taken or used twice, a key twice, a threshold that cannot be met."""
        if max(len(self.logs), len(self.witnesses), len(self.groups)) > MAX_OF_EACH:
            raise Malformed(f"a policy has at most {MAX_OF_EACH} logs, witnesses and groups each")
        for what, keys, types in (
            ("log", [log.key for log in self.logs], _LOG_TYPES),
            ("witness", [witness.key for witness in self.witnesses], _WITNESS_TYPES),
        ):
            if len({key.public for key in keys}) != len(keys):
                raise Malformed(f"a {what} stands twice in the policy")
            if any(key.type not in types for key in keys):
                raise Malformed(f"a {what}'s key is of a type that no {what} signs with")
        known: set[str] = {NONE}
        for witness in self.witnesses:
            _define(witness.name, known)
        used: set[str] = {NONE}  # `none` is no member of any group
        for group in self.groups:
            if not 1 <= group.k <= len(group.members):
                raise Malformed(f"the group {_shown(group.name)} wants {group.k} of {len(group.members)}")
            for member in group.members:
                if member not in known or member in used:
                    raise Malformed(f"{_shown(member)} is not defined before the group {_shown(group.name)}, or is in a group already")
                used.add(member)
            _define(group.name, known)
        if self.quorum not in known:
            raise Malformed(f"the quorum {_shown(self.quorum)} is not defined")

    @property
    def verifiers(self) -> list[Verifier]:
        """What checks the signatures of every log and witness."""
        return [verifier(key) for key in (*(log.key for log in self.logs), *(witness.key for witness in self.witnesses))]

    @property
    def needed(self) -> int:
        """The fewest witnesses that make the quorum."""
        costs: dict[str, int] = {NONE: 0, **{witness.name: 1 for witness in self.witnesses}}
        for group in self.groups:
            costs[group.name] = sum(sorted(costs[member] for member in group.members)[: group.k])
        return costs[self.quorum]

    def satisfied(self, names: Collection[str]) -> bool:
        """Whether the witnesses with these names in the policy make the quorum."""
        held = {witness.name for witness in self.witnesses if witness.name in names} | {NONE}
        for group in self.groups:
            if sum(member in held for member in group.members) >= group.k:
                held.add(group.name)
        return self.quorum in held

    def reached(self, sizes: Mapping[str, int]) -> int:
        """The most entries that the quorum has witnessed, each of its members these many or more; 0 for none.

        Args: sizes: by the witness's name in the policy, the size of the newest checkpoint of one history that it cosigned. A history
            of that size holds every smaller one, so the members need not have cosigned the same checkpoint.
        """
        for size in sorted({size for size in sizes.values() if size > 0}, reverse=True):
            if self.satisfied([name for name, cosigned in sizes.items() if cosigned >= size]):
                return size
        return 0

    def witnessed(self, note: Note) -> tuple[str, ...]:
        """The names of the witnesses whose cosignatures a proven note carries, each with a time."""
        return tuple(w.name for w in self.witnesses if (found := note.by(w.key)) is not None and found.time_s)

    def check(self, data: bytes) -> SignedCheckpoint:
        """Check a signed checkpoint against this policy.

        Raises: Malformed; Unproven: a signature does not hold, no log of the policy signed, the quorum is not met. Misuse: no log in it.
        """
        if not self.logs:
            raise Misuse("this policy names no log", "add a line: log VKEY")
        checkpoint, unproven = read_checkpoint(data)
        logs = [log.key for log in self.logs if log.key.name == checkpoint.origin]
        if not logs:
            raise Unproven(f"the policy knows no log called {checkpoint.origin[:64]}")
        note = unproven.verify([verifier(key) for key in (*logs, *(witness.key for witness in self.witnesses))])
        if all(note.by(key) is None for key in logs):
            raise Unproven("no log of the policy has signed this checkpoint")
        found = self.witnessed(note)
        if not self.satisfied(found):
            raise Unproven(f"{len(found)} of the policy's witnesses have cosigned, which is no quorum ({self.needed} at least)")
        return SignedCheckpoint(checkpoint=checkpoint, note=note)

    def to_bytes(self) -> bytes:
        """The policy as a file that `read_policy` reads. Raises: Misuse: a name or address that no line can hold."""
        lines = [_line("log", str(log.key), log.url) for log in self.logs]
        lines += [_line("witness", witness.name, str(witness.key), witness.url) for witness in self.witnesses]
        lines += [_line("group", group.name, to_decimal(group.k), *group.members) for group in self.groups]
        lines.append(_line("quorum", self.quorum))
        try:
            data = "".join(lines).encode("utf-8", "surrogateescape")
            same = read_policy(data) == self
        except UnicodeEncodeError:
            raise Misuse("this policy has a name that is neither text nor bytes") from None
        except Malformed as error:
            raise Misuse(f"this policy cannot be read: {error}") from None
        if not same:
            raise Misuse("this policy would be read as another")
        return data


def read_policy(data: bytes) -> Policy:
    """Read a policy file. Raises: Malformed, naming the line."""
    if len(data) > MAX_POLICY_BYTES:
        raise Malformed(f"a policy has at most {MAX_POLICY_BYTES} bytes")
    if any((byte < 0x20 and byte not in b"\t\n") or byte == 0x7F for byte in data):
        raise Malformed("a policy has no control characters but tabs and newlines")
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    if lines.pop():
        raise Malformed("the last line of a policy ends with a newline")
    reader = _Reader()
    for number, line in enumerate(lines, 1):
        words = [word for word in line.replace("\t", " ").split(" ") if word]
        if words and not words[0].startswith("#"):
            try:
                reader.take(words)
            except Malformed as error:
                raise Malformed(f"line {number} of the policy: {error.message}") from None
    if reader.quorum is None:
        raise Malformed("a policy has one quorum line")
    return Policy(logs=tuple(reader.logs), witnesses=tuple(reader.witnesses), groups=tuple(reader.groups), quorum=reader.quorum)


class _Reader:
    """Line by line: what a line names must stand above it."""

    def __init__(self) -> None:
        self.logs: list[PolicyLog] = []
        self.witnesses: list[PolicyWitness] = []
        self.groups: list[PolicyGroup] = []
        self.quorum: str | None = None
        self._known: set[str] = {NONE}

    def take(self, words: list[str]) -> None:
        match words:
            case ["log", vkey, *url] if len(url) <= 1:
                self.logs.append(PolicyLog(key=_key(vkey), url="".join(url)))
            case ["witness", name, vkey, *url] if len(url) <= 1:
                _define(name, self._known)
                self.witnesses.append(PolicyWitness(name=name, key=_key(vkey), url="".join(url)))
            case ["group", name, k, *members] if members:
                for member in members:
                    if member not in self._known:
                        raise Malformed(f"{_shown(member)} is not defined above")
                _define(name, self._known)
                self.groups.append(PolicyGroup(name=name, k=_threshold(k, len(members)), members=tuple(members)))
            case ["quorum", name]:
                if self.quorum is not None:
                    raise Malformed("a second quorum")
                if name not in self._known:
                    raise Malformed(f"{_shown(name)} is not defined above")
                self.quorum = name
            case _:
                raise Malformed(f"no such line: {_shown(words[0])} with {len(words) - 1} more")
        if max(len(self.logs), len(self.witnesses), len(self.groups)) > MAX_OF_EACH:
            raise Malformed(f"more than {MAX_OF_EACH} of them")


def _define(name: str, known: set[str]) -> None:
    if name in known:
        raise Malformed(f"the name {_shown(name)} is taken")
    known.add(name)


def _threshold(text: str, members: int) -> int:
    k = {"any": 1, "all": members}.get(text) or decimal(text)
    if not 1 <= k <= members:
        raise Malformed(f"{k} of {members} members")
    return k


def _key(text: str) -> VerifierKey:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise Malformed("a verifier key is UTF-8") from None
    return parse_verifier_key(text)


def _line(*words: str) -> str:
    return " ".join(word for word in words if word) + "\n"


def _shown(name: str) -> str:
    return ascii(name[:64])
