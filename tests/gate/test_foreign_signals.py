"""Signals that other programs signed and read: PyPI cwt and pycose, both ways, over the payload of this house."""

from typing import Any

import pytest
from cwt import COSE, COSEKey
from pycose.headers import KID, Algorithm
from pycose.keys.ec2 import EC2Key
from pycose.keys.okp import OKPKey
from pycose.messages.sign1message import Sign1Message

from tallystick.gate.signal import encode_signal, parse_signal
from tallystick.keys import KeyKind
from tests.gate.world import FULL, Key, seed, signal, signed

KEYS = [Key("a foreign source"), Key("another foreign source", KeyKind.P256)]
CLAIMS = [signal(), FULL, signal(prev=(seed("a"), seed("b")), signal_class="sensor/camera", action="propose", verb="camera.frame")]
EXT = ("a.b", "zz-1")
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # SP 800-186 3.2.1.3


def _names(key: Key) -> tuple[str, int]:
    return ("EdDSA", -8) if key.public.kind is KeyKind.ED25519 else ("ES256", -7)


def _cwt(key: Key) -> Any:
    fields: dict[int, Any] = {2: bytes(key.public.key_id)}
    if key.public.kind is KeyKind.ED25519:
        fields |= {1: 1, -1: 6, -2: key.public.raw, -4: seed("a foreign source"), 3: -8}
    else:
        fields |= {1: 2, -1: 1, -2: key.public.raw[1:33], -3: key.public.raw[33:], -4: seed("another foreign source"), 3: -7}
    return COSEKey.new(fields)


def _pycose(key: Key) -> Any:
    if key.public.kind is KeyKind.ED25519:
        return OKPKey(crv="ED25519", x=key.public.raw, d=seed("a foreign source"))
    return EC2Key(crv="P_256", x=key.public.raw[1:33], y=key.public.raw[33:], d=seed("another foreign source"))


@pytest.mark.parametrize("key", KEYS, ids=["EdDSA", "ES256"])
@pytest.mark.parametrize("claims", CLAIMS, ids=["plain", "full", "source"])
def test_ours_is_read_by_both(key: Key, claims: Any) -> None:
    raw, payload = signed(claims, key), encode_signal(claims)
    assert COSE.new().decode(b"\xd2" + raw, keys=[_cwt(key)]) == payload
    message: Any = Sign1Message.decode(b"\xd2" + raw)
    message.key = _pycose(key)
    assert message.verify_signature() and message.payload == payload


@pytest.mark.parametrize("key", KEYS, ids=["EdDSA", "ES256"])
@pytest.mark.parametrize("claims", CLAIMS, ids=["plain", "full", "source"])
def test_theirs_is_proven_here(key: Key, claims: Any) -> None:
    """Untagged, with the one protected header, and of the two signatures of ES256 the one with low s."""
    payload, (name, number) = encode_signal(claims), _names(key)

    def by_cwt() -> bytes:
        header = {1: number, 4: bytes(key.public.key_id)}
        return bytes(COSE.new().encode_and_sign(payload, _cwt(key), protected=header, unprotected={}))

    def by_pycose() -> bytes:
        message: Any = Sign1Message(phdr={Algorithm: name.upper(), KID: bytes(key.public.key_id)}, payload=payload)
        message.key = _pycose(key)
        return bytes(message.encode(tag=False))

    for sign in (by_cwt, by_pycose):
        proven = parse_signal(_low_s(sign().removeprefix(b"\xd2"), key), known_ext=EXT).prove(key.public)
        assert proven.claims == claims


def _low_s(raw: bytes, key: Key) -> bytes:
    """Foreign signers do not care for low s; s and n - s are both theirs."""
    s = int.from_bytes(raw[-32:], "big")
    return raw if key.public.kind is KeyKind.ED25519 else raw[:-32] + min(s, ORDER - s).to_bytes(32, "big")
