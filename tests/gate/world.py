"""Signals to test with: real keys, fixed salts."""

from dataclasses import replace

from tallystick.gate.opening import BodyDigest, Opening, Target, commitments_of, make_opening
from tallystick.gate.signal import Commitments, EntryRef, ProvenSignal, Signal, encode_signal, parse_signal
from tallystick.keys import KeyClass, KeyKind, PublicKey, sign1
from tallystick.primitives import Ed25519KeyPair, P256KeyPair, sha256

NOW_NS = 1_795_000_000 * 10**9


def seed(name: str) -> bytes:
    """32 bytes that only depend on the name."""
    return sha256(b"test gate", name.encode())


class Key:
    """A signing key in memory."""

    key_class = KeyClass.FILE

    def __init__(self, name: str, kind: KeyKind = KeyKind.ED25519) -> None:
        self.pair: Ed25519KeyPair | P256KeyPair
        self.pair = P256KeyPair.from_private(seed(name)) if kind is KeyKind.P256 else Ed25519KeyPair.from_private(seed(name))
        self.public = PublicKey(kind, self.pair.public)

    def sign(self, message: bytes) -> bytes:
        return self.pair.sign(message)


MACHINE = Key("machine")
HUMAN = Key("human", KeyKind.P256)
HOUSE_ID = seed("house id")
SALTS = b"".join(seed(f"salt {i}") for i in range(40))

OPENING = make_opening(
    SALTS,
    target=Target(method="PUT", path="/v1/files/a%20b?x=1"),
    headers=(("accept", "*/*"), ("host", "house"), ("x-two", "2"), ("x-two", "1")),
    body=BodyDigest(length=5, sha256=sha256(b"hello")),
)


def signal(opening: Opening = OPENING, **change: object) -> Signal:
    """A machine's write, with some fields changed."""
    commitments, sensor = commitments_of(opening)
    base = Signal(
        aud=HOUSE_ID,
        signal_class="machine",
        action="write",
        verb="archive.put",
        commitments=commitments,
        issued_at_ns=NOW_NS,
        stream=seed("stream")[:16],
        n=0,
        sensor=sensor,
    )
    return replace(base, **change)  # type: ignore[arg-type]


FULL = signal(
    make_opening(
        SALTS,
        target=Target(method="GET", path="/"),
        headers=(),
        body=None,
        place=["home", 3],
        observations=(b"frame 1", {"frame": 2}),
        sensor="camera 12",
    ),
    signal_class="sensor/camera/front",
    prev=(seed("a"), EntryRef(seed("origin"), 5), seed("b")),
    challenge=b"c",
    token=b"t" * 4096,
    scope=EntryRef(seed("origin"), 2**63 - 1),
    expires_ns=NOW_NS + 1,
    ext=(("a.b", b""), ("zz-1", b"x" * 4096)),
    crit=("a.b", "zz-1"),
    n=2**63 - 1,
)


def signed(claims: Signal, key: Key = MACHINE) -> bytes:
    """The COSE_Sign1."""
    return sign1(key, encode_signal(claims))


def proven(claims: Signal, key: Key = MACHINE) -> ProvenSignal:
    """Signed, read and proven."""
    return parse_signal(signed(claims, key), known_ext=("a.b", "zz-1")).prove(key.public)


EMPTY = Commitments()
