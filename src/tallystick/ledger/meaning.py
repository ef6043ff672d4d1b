"""What entries mean, as far as the ledger itself can prove it: signatures, references, statements, roots, cosignatures.

    meaning = Meaning(root_at)
    flaws = meaning.take(index, event)      # for each entry, in order; or `meaning.plain(...)` for those of a known form
    flaws += check(meaning.claims_made())   # the signatures, many at once; `check` may run in another process

Keys come from the entries alone: whoever signed must have been introduced by an earlier entry. A hostile house can write any entry
and sign any checkpoint over it, but not a signature of a key it does not hold; so what a person or another machine is said to have
done stands only with that signature. Rules of the state (one use of an invite, no way back from severance) are the projection's.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from tallystick import canonical
from tallystick.errors import Malformed, TallyError, Unproven
from tallystick.keys.cose import UnprovenSign1, parse_sign1
from tallystick.keys.identity import KeyKind, PublicKey, parse_cose_key
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.stated import SAID, as_stated, differing
from tallystick.primitives import ed25519_verify, p256_verify, sha256
from tallystick.tlog.checkpoint import Checkpoint, verify_checkpoint
from tallystick.tlog.cosignature import log_verifiers, verifier
from tallystick.tlog.note import SignatureType, Verifier, VerifierKey, parse_signature

BODY_TAG: Final = b"tally body v1"
CLOCK_NS: Final = 60 * 10**9  # how far a clock may be off without a word (DESIGN 6, pair time)
HUMAN, ADMIN = "human", "admin"
MAX_STEP: Final = 64  # as in storage/rules/house.py

# What a statement says, and in which field of its event the same must stand. Verbs that are not here are checked as signals only.
STATED: Final[Mapping[str, tuple[frozenset[Kind], Mapping[str, str]]]] = {
    "pair.approve": (frozenset({Kind.PAIRING_APPROVED, Kind.KEY_INTRODUCED}), {"pairing": "pair", "type": "pair_type"}),
    "pair.deny": (frozenset({Kind.PAIRING_DENIED}), {"pairing": "pair", "reason": "reason"}),
    "pair.sever": (frozenset({Kind.SEVERED}), {"pairing": "pair", "reason": "reason"}),
    "pair.downgrade": (frozenset({Kind.DOWNGRADED}), {"pairing": "pair", "type": "pair_type"}),
    "invite.create": (frozenset({Kind.INVITE_CREATED}), {"invite": "invite", "type": "pair_type", "for": "for_key"}),
    "invite.revoke": (frozenset({Kind.INVITE_REVOKED}), {"invite": "invite"}),
    "key.replace-admins": (frozenset({Kind.ADMINS_REPLACED}), {}),
    "key.resume": (frozenset({Kind.KEY_RESUMED}), {"key": "subject"}),
    "body.erase": (frozenset({Kind.BODY_ERASED}), {"entry": "entry", "erased": "erased", "reason": "reason"}),
    "pair.resign": (frozenset({Kind.PAIRING_RESIGNED}), {"pairing": "pair", "as": "pair_type"}),
    "program.run": (frozenset({Kind.EFFECT_BEGUN}), {"name": "effect", "pairing": "pairing"}),
    "house.restore": (frozenset({Kind.RESTORED}), {"log": "log_name"}),
    "house.migrate": (frozenset({Kind.MIGRATED}), {"signing": "successor", "static": "static_key", "witness": "witness_key"}),
}
# These stand only with a statement of theirs, at a house.
SIGNED: Final = frozenset({Kind.PAIRING_RESIGNED, Kind.ADMINS_REPLACED, Kind.RESTORED, Kind.MIGRATED, Kind.APPROVAL, Kind.GRANT})
_EARLIER: Final = ("entry", "cause", "replaces")
# Every kind of which `take` looks at more than the references: those have no form (ledger/form.py).
MEANT: Final = frozenset(
    {
        Kind.ORIGIN, Kind.STARTED, Kind.INVITE_CREATED, Kind.PAIRING_PROPOSED, Kind.PAIRING_APPROVED, Kind.KEY_INTRODUCED, Kind.KEY_ROTATED,
        Kind.ADMINS_REPLACED, Kind.SIGNAL_FORK, Kind.EFFECT_BEGUN, Kind.EFFECT_DONE, Kind.EFFECT_FAILED, Kind.EFFECT_UNKNOWN,
        Kind.CHECKPOINT_SIGNED, Kind.CHECKPOINT_COSIGNED, Kind.RESTORED, Kind.MIGRATED, Kind.BACKED_UP, Kind.MAINTAINED, Kind.ANCHORED,
        Kind.NV_COUNTER, Kind.CLOCK_JUMPED, Kind.APPROVAL, Kind.PAIRING_RESIGNED, Kind.ARRIVED, Kind.GRANT,
    }
)  # fmt: skip


class Flaw(NamedTuple):
    """What is wrong with an entry; `grave` is False for what is only worth knowing."""

    entry: int
    meaning: str
    grave: bool = True


class Claim(NamedTuple):
    """A signature to be checked: cheap to send to another process."""

    entry: int
    kind: str
    public: bytes
    signature: bytes
    message: bytes
    meaning: str


def check(claims: Iterable[Claim]) -> list[Flaw]:
    """The claims whose signature does not hold."""
    flaws = []
    for claim in claims:
        try:
            (ed25519_verify if claim.kind == KeyKind.ED25519 else p256_verify)(claim.public, claim.signature, claim.message)
        except (Malformed, Unproven):
            flaws.append(Flaw(claim.entry, claim.meaning))
    return flaws


@dataclass(frozen=True, slots=True, kw_only=True)
class Era:
    """From entry `since` on, checkpoints stand under this name and these keys."""

    since: int
    name: str
    keys: tuple[tuple[int, bytes], ...]

    @property
    def log(self) -> list[Verifier]:
        """Who must have signed."""
        return log_verifiers(self.name, self.keys)


class Meaning:
    """The keys and names that entries brought so far. `take` every entry in order."""

    def __init__(self, root_at: Callable[[int], bytes | None], *, whole: bool = True) -> None:
        """`root_at`: the root of this log at a size, recomputed; None when it cannot be known any more.  `whole`: every entry is
        taken; False: only some, so that what others would show is not missed."""
        self._whole = whole
        self._root_at = root_at
        self._claims: list[Claim] = []
        self._latest_ns = 0
        self._restored = 0
        self._moved_to: PublicKey | None = None
        self._unsigned: dict[bytes, int] = {}  # human keys that the approval which follows must name
        self._approved_before: set[bytes] = set()  # invites with a signed yes
        self._open: set[int] = set()  # effects
        self.role = ""
        self.house = b""
        self.houses: set[bytes] = set()  # at a client: the houses it is paired with
        self.eras: list[Era] = []
        self.keys: dict[bytes, PublicKey] = {}
        self.brought: dict[bytes, int] = {}  # the entry that introduced a key
        self.witnesses: dict[bytes, VerifierKey] = {}  # by pairing
        self.logs: dict[bytes, tuple[str, tuple[tuple[int, bytes], ...]]] = {}  # at a client: of the house of a pairing

    def eras_of(self, size: int) -> list[Era]:
        """Under which name and keys a checkpoint of this size may stand: of the last change in it, or of before that change when it is
        the last entry (the house that moves signs its own farewell)."""
        found = [era for era in self.eras if era.since < size]
        return [*reversed(found[-2:])] if len(found) > 1 and found[-1].since == size - 1 else found[-1:]

    def origin_hashes(self) -> set[bytes]:
        """SHA-256 of every name that this log had."""
        return {sha256(era.name.encode()) for era in self.eras}

    @property
    def waiting(self) -> int:
        """How many signatures wait for a check."""
        return len(self._claims)

    def witnesses_known(self) -> list[Verifier]:
        """The witness keys of the pairs, each once."""
        return [verifier(key) for key in dict.fromkeys(self.witnesses.values())]

    def claims_made(self) -> list[Claim]:
        """The signatures that wait for a check; they are handed out once."""
        claims, self._claims = self._claims, []
        return claims

    def plain(self, index: int, time_ns: int, references: Iterable[int]) -> list[Flaw]:
        """An entry of a known form: its time, and the entries it names."""
        flaws = [Flaw(index, f"it names entry {at}, which is not before it") for at in references if at >= index]
        if time_ns < self._latest_ns - CLOCK_NS:
            flaws.append(Flaw(index, "the clock stood earlier here than for an entry before it", grave=False))
        elif time_ns > self._latest_ns:
            self._latest_ns = time_ns
        return flaws

    def take(self, index: int, event: Event) -> list[Flaw]:
        """One entry, read in full. What it claims to be signed waits in `claims_made`."""
        flaws = self.plain(index, event.time_ns, (event.number(name) for name in _EARLIER if name in event.fields))
        if index == 0 and event.kind is not Kind.ORIGIN:
            flaws.append(Flaw(index, "a ledger begins with its origin"))
        try:
            flaws += [Flaw(index, text) for text in self._take(index, event)]
        except TallyError as error:
            flaws.append(Flaw(index, error.message))
        if not self._whole:
            self._unsigned.clear()
        elif self._unsigned and event.kind not in (Kind.KEY_INTRODUCED, Kind.PAIRING_APPROVED):
            flaws += [Flaw(at, "a human key came in that nobody signed in") for at in self._unsigned.values()]
            self._unsigned.clear()
        return flaws

    def _take(self, index: int, event: Event) -> Iterable[str]:
        signed: UnprovenSign1 | None = None
        if "signal" in event.fields:
            signed = parse_sign1(event.blob("signal"))
            yield from self._signal(index, event, signed)
        elif event.kind in SIGNED and self.role == "house":
            yield "this needs the signature of a person, and has none"
        match event.kind:
            case Kind.ORIGIN:
                yield from self._origin(index, event)
            case Kind.CLOCK_JUMPED:
                self._latest_ns = event.time_ns
            case Kind.INVITE_CREATED if event.get("preapproved") and signed is not None:
                self._approved_before.add(event.blob("invite"))
            case Kind.PAIRING_PROPOSED:
                yield from self._proposed(index, event)
            case Kind.PAIRING_APPROVED:
                yield from self._approved(event, signed)
            case Kind.KEY_INTRODUCED:
                key = self._learn(index, event.blob("cose_key"))
                if key.key_id != event.blob("subject"):
                    yield "the subject is not the KeyId of the key"
                if event.text("key_kind") == HUMAN and signed is None and self.role == "house":
                    self._unsigned[event.blob("cose_key")] = index
            case Kind.ADMINS_REPLACED:
                yield from self._replaced(index, event)
            case Kind.KEY_ROTATED | Kind.MIGRATED | Kind.RESTORED:
                yield from self._changed(index, event)
            case Kind.ARRIVED:
                yield from self._arrived(index, event)
            case Kind.SIGNAL_FORK:
                yield from self._fork(index, event)
            case Kind.EFFECT_BEGUN:
                self._open.add(index)
            case Kind.EFFECT_DONE | Kind.EFFECT_FAILED | Kind.EFFECT_UNKNOWN:
                if self._whole and event.number("entry") not in self._open:
                    yield f"entry {event.number('entry')} began no effect that is open"
                self._open.discard(event.number("entry"))
            case Kind.CHECKPOINT_COSIGNED:
                yield from self._cosigned(index, event)
        if "size" in event.fields and "root" in event.fields and "origin_hash" not in event.fields:
            yield from self._own_root(index, event)

    def _learn(self, index: int, cose_key: bytes) -> PublicKey:
        key = parse_cose_key(cose_key)
        self.keys.setdefault(key.key_id, key)
        self.brought.setdefault(key.key_id, index)
        return key

    def _origin(self, index: int, event: Event) -> Iterable[str]:
        if index:
            yield "a ledger has one origin, its first entry"
            return
        self.role, self.house = event.text("role"), event.blob("house")
        key = self._learn(index, event.blob("cose_key"))
        if key.key_id != self.house and event.get("predecessor") is None and self.role == "house":
            yield "the house id is not the KeyId of its first signing key"
        if event.get("recovery_key"):
            self._learn(index, event.blob("recovery_key"))
        self.eras.append(Era(since=-1, name=event.text("log_name"), keys=_log_keys(event)))

    def _proposed(self, index: int, event: Event) -> Iterable[str]:
        key = self._learn(index, event.blob("cose_key"))
        if key.key_id != event.blob("subject"):
            yield "the subject is not the KeyId of the key"
        pair = event.blob("pair")
        name = f"tallystick/{key.key_id.hex()}"
        self.witnesses[pair] = VerifierKey(name=name, type=SignatureType.COSIGNATURE, public=event.blob("witness_key"))
        if event.get("log_keys"):
            self.logs[pair] = (event.text("log_name"), _log_keys(event))
        if event.get("house") and event.text("role") == "client":
            self.houses.add(event.blob("house"))
        if event.get("recovery_key"):
            parse_cose_key(event.blob("recovery_key"))

    def _approved(self, event: Event, signed: UnprovenSign1 | None) -> Iterable[str]:
        named = _text_map(event.blob("statement")).get(HUMAN) if signed is not None else None
        for cose_key, at in self._unsigned.items():
            if cose_key != named:
                yield f"entry {at} brings in a human key that this approval does not name"
        self._unsigned.clear()
        if self.role != "house" or signed is not None:
            return
        if event.text("by") != "policy":
            yield "this needs the signature of a person, and has none"

    def _replaced(self, index: int, event: Event) -> Iterable[str]:
        admins = event.get("admin_keys")
        stated = _text_map(event.blob("statement")).get("admins")
        if not isinstance(admins, tuple) or list(admins) != stated:
            yield "these are not the admins that the statement names"
        for cose_key in admins if isinstance(admins, tuple) else ():
            self._learn(index, cose_key)
        if event.get("recovery_key"):
            self._learn(index, event.blob("recovery_key"))

    def _changed(self, index: int, event: Event) -> Iterable[str]:
        """Another name or other keys: of this house, or at a client of a house that it follows."""
        successor = event.get("successor")
        if event.get("pair") is not None:
            name, keys = self.logs.get(event.blob("pair"), ("", ()))
            self.logs[event.blob("pair")] = (event.text("log_name") or name, _log_keys(event) or keys)
            return
        last = self.eras[-1]
        if event.kind is Kind.RESTORED:
            # It may leave out names that only its pairs know of: of restorations that are lost (docs/spec/restore.md, section 4).
            first, name = self.eras[0].name, event.text("log_name")
            later = {f"{first}/{times}": times for times in range(self._restored + 1, self._restored + MAX_STEP)}
            if name not in later:
                yield f"from here on the log must be called {first}/{self._restored + 1}, or by one of the next names"
            self._restored = later.get(name, self._restored + 1)
            self.eras.append(Era(since=index, name=name, keys=last.keys))
        elif event.get("log_keys") is not None:
            self.eras.append(Era(since=index, name=last.name, keys=_log_keys(event)))
        if isinstance(successor, bytes) and event.text("use") not in ("static", "log"):
            self._learn(index, successor)
            if event.kind is Kind.MIGRATED:
                self._moved_to = parse_cose_key(successor)

    def _arrived(self, index: int, event: Event) -> Iterable[str]:
        signed = parse_sign1(event.blob("value"))
        if self._moved_to is None or signed.kid != self._moved_to.key_id:
            yield "this is not signed by the machine that the house moved to"
            return
        meaning = "the signature of the machine that the house moved to does not hold"
        self._claims.append(_claim(index, self._moved_to, signed, meaning))

    def _signal(self, index: int, event: Event, signed: UnprovenSign1) -> Iterable[str]:
        """A signal as it stands in an entry: its key, its audience, and that the entry says what was signed."""
        payload = canonical.decode(signed.payload)
        if not isinstance(payload, dict):
            raise Malformed("its signal has no payload of version 1")
        if event.get("key") is not None and event.blob("key") != signed.kid:
            yield "it names another key than the one that signed"
        audience = payload.get(2)
        if audience != self.house and audience not in self.houses:
            yield "its signal is for another house"
        yield from self._predecessors(index, payload.get(10))
        public = self.keys.get(signed.kid)
        if public is not None:
            meaning = "the signature in this entry does not hold under the key that it names"
            self._claims.append(_claim(index, public, signed, meaning))
        elif self.role == "house" and event.kind is not Kind.FINDING:
            yield "it is signed by a key that no entry before it introduces"
        if "statement" in event.fields:
            yield from _statement(event, payload)

    def _predecessors(self, index: int, prev: object) -> Iterable[str]:
        for reference in prev if isinstance(prev, list) else ():
            match reference:
                case [bytes(origin), int(at)] if origin in self.origin_hashes() and at >= index:
                    yield f"its signal follows entry {at}, which is not before it"

    def _fork(self, index: int, event: Event) -> Iterable[str]:
        fork = event.get("fork")
        if isinstance(fork, tuple) and isinstance(fork[0], int) and fork[0] >= index:
            yield f"it names entry {fork[0]}, which is not before it"
        public = self.keys.get(event.blob("subject"))
        if public is not None and isinstance(fork, tuple) and isinstance(fork[1], bytes):
            second = parse_sign1(fork[1])
            meaning = "the second statement of this fork is not signed by its key"
            if second.kid != public.key_id:
                yield meaning
            self._claims.append(_claim(index, public, second, meaning))

    def _own_root(self, index: int, event: Event) -> Iterable[str]:
        size = event.number("size")
        if size > index:
            yield f"it speaks of {size} entries before they were there"
            return
        root = self._root_at(size)
        if root is not None and root != event.blob("root"):
            yield f"the root it gives for {size} entries is not theirs"

    def _cosigned(self, index: int, event: Event) -> Iterable[str]:
        """A cosignature on record: of a pair over our checkpoint, or ours over a house's."""
        pair, size = event.blob("pair"), event.number("size")
        if event.text("by") == "peer":
            era = next((era for era in self.eras if sha256(era.name.encode()) == event.blob("origin_hash")), None)
            if era is None:
                yield "it cosigns the checkpoint of another log"
                return
            yield from self._own_root(index, event)
            line, key = _extension(event, "cosignature"), self.witnesses.get(pair)
            if line and key is not None:
                signature = parse_signature(line.decode("utf-8", "replace").removesuffix("\n"))
                text = Checkpoint(origin=era.name, size=size, root=event.blob("root")).text
                if signature.name != key.name or signature.key_id != key.key_id:
                    yield "its cosignature is not by this pair's witness key"
                    return
                try:
                    verifier(key).verify(text.encode(), signature.signature)
                except (Malformed, Unproven):
                    yield "the pair's cosignature does not hold"
        elif event.get("checkpoint") is not None and pair in self.logs:
            name, keys = self.logs[pair]
            try:
                found = verify_checkpoint(event.blob("checkpoint"), log=Era(since=0, name=name, keys=keys).log, origin=name).checkpoint
            except (Malformed, Unproven):
                yield "the house's checkpoint that it keeps does not hold"
                return
            if (found.size, found.root, found.origin_hash) != (size, event.blob("root"), event.blob("origin_hash")):
                yield "it names another size or root than the house's checkpoint that it keeps"


def _claim(index: int, public: PublicKey, signed: UnprovenSign1, meaning: str) -> Claim:
    return Claim(index, public.kind.value, public.raw, signed.signature, signed.signed_bytes(), meaning)


def _log_keys(event: Event) -> tuple[tuple[int, bytes], ...]:
    keys = event.get("log_keys")
    found = tuple((int(kind), bytes(public)) for kind, public in keys) if isinstance(keys, tuple) else ()
    for kind, _ in found:
        if kind not in SignatureType.__members__.values():
            raise Malformed("a key of the log is of a type we do not know")
    return found


def _extension(event: Event, name: str) -> bytes:
    ext = event.get("ext")
    value = ext.get(name, b"") if isinstance(ext, Mapping) else b""
    return value if isinstance(value, bytes) else b""


def _text_map(raw: bytes) -> Mapping[int | str, object]:
    value = canonical.decode(raw, max_depth=8)
    if not isinstance(value, dict):
        raise Malformed("the statement is not a map")
    return value


def _statement(event: Event, payload: Mapping[int | str, object]) -> Iterable[str]:
    """A person's statement in clear: it is what the signal commits to, and what the entry says came of it."""
    body, salt = event.blob("statement"), event.blob("statement_salt")
    commitment = sha256(BODY_TAG, salt, canonical.encode([len(body), sha256(body)]))
    if payload.get(6) != {3: commitment}:
        yield "the statement in clear is not the one that was signed"
        return
    stated = _text_map(body)
    verb = stated.get("verb")
    if payload.get(3) != HUMAN or payload.get(4) != ADMIN or payload.get(5) != verb:
        yield "its signal is not a person's statement of this verb"
    if not isinstance(verb, str) or verb not in (*STATED, *SAID):
        return
    kinds, same = STATED.get(verb) or SAID[verb]
    if event.kind not in kinds:
        yield f"a statement {verb} does not bring about what this entry says"
        return
    if verb in SAID:
        yield from differing(event, verb, stated)
        return
    for name, field in same.items():
        said = stated.get(name)
        if event.kind is not Kind.KEY_INTRODUCED and said != as_stated(event.get(field)):
            yield f"the statement says another {name} than the entry"
