"""Conversations with other people's Noise: what no vector file covers (fallback, P-256, REKEY) is spoken with them live.

dissononce (PyPI) has the fallback modifier and lets a Diffie-Hellman function be plugged in; the P-256 plugged in here
is 40 lines of integers, so neither the state machine nor the curve is ours on the other side. noiseprotocol (PyPI) has REKEY.
"""

import importlib
from typing import Any, Final

import pytest

from tallystick.noise import CipherState, HandshakeState
from tests.noise.vectors import key_pair
from tests.support import missing

SECRETS: Final = {name: bytes([number]) * 56 for number, name in enumerate(("alice s", "alice e", "bob s", "bob e"), start=0x41)}


def peer(module: str) -> Any:
    """A module of a peer, or the one clear line that it is not there."""
    try:
        return importlib.import_module(module)
    except ImportError:
        missing(f"peer not installed: {module.split('.')[0]}")


class IntegerP256:
    """P-256 in plain integers (SP 800-186 3.2.1.3); slow, not constant in time, and nobody else's code."""

    P: Final = 2**256 - 2**224 + 2**192 + 2**96 - 1
    B: Final = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    G: Final = (
        0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
        0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
    )

    @classmethod
    def _add(cls, a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
        if a == b:
            slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, cls.P)
        else:
            slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, cls.P)
        x = (slope * slope - a[0] - b[0]) % cls.P
        return x, (slope * (a[0] - x) - a[1]) % cls.P

    @classmethod
    def multiply(cls, scalar: int, point: tuple[int, int]) -> tuple[int, int]:
        result: tuple[int, int] | None = None
        while scalar:
            if scalar & 1:
                result = point if result is None else cls._add(result, point)
            point = cls._add(point, point)
            scalar >>= 1
        if result is None:
            raise AssertionError("zero is no private key")
        return result

    @classmethod
    def public(cls, private: bytes) -> bytes:
        x, y = cls.multiply(int.from_bytes(private, "big"), cls.G)
        return b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")

    @classmethod
    def exchange(cls, private: bytes, public: bytes) -> bytes:
        x, y = int.from_bytes(public[1:33], "big"), int.from_bytes(public[33:], "big")
        if (y * y - x * x * x + 3 * x - cls.B) % cls.P:
            raise AssertionError("not a point of the curve")
        return cls.multiply(int.from_bytes(private, "big"), (x, y))[0].to_bytes(32, "big")


def _dissononce_dh(name: str) -> Any:
    """The Diffie-Hellman function of dissononce, or for P256 the integers above behind its interface."""
    if name == "25519":
        return peer("dissononce.dh.x25519.x25519").X25519DH()
    if name == "448":
        return peer("dissononce.dh.x448.x448").X448DH()
    pairs, publics, privates = (peer(f"dissononce.dh.{part}") for part in ("keypair", "public", "private"))

    class P256DH(peer("dissononce.dh.dh").DH):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__("P256", 65)

        def create_public(self, data: bytes) -> Any:
            return publics.PublicKey(65, data)

        def generate_keypair(self, privatekey: Any = None) -> Any:
            return pairs.KeyPair(self.create_public(IntegerP256.public(privatekey.data)), privates.PrivateKey(privatekey.data))

        def dh(self, key_pair: Any, public_key: Any) -> bytes:
            return IntegerP256.exchange(key_pair.private.data, public_key.data)

    return P256DH()


class Dissononce:
    """One side, spoken by dissononce. `alice` is who wrote the first message before any fallback."""

    def __init__(self, name: str, *, alice: bool, prologue: bytes, rs: bytes | None, re: bytes | None, pre_e: bool) -> None:
        _, pattern_name, dh_name, cipher_name, hash_name = name.split("_")
        base, _, modifier = pattern_name.partition("fallback" if "fallback" in pattern_name else "psk")
        pattern_module = peer(f"dissononce.processing.handshakepatterns.interactive.{base}")
        pattern = getattr(pattern_module, f"{base}HandshakePattern")()
        if "fallback" in pattern_name:
            pattern = peer("dissononce.processing.modifiers.fallback").FallbackPatternModifier().modify(pattern)
        elif modifier:
            pattern = peer("dissononce.processing.modifiers.psk").PSKPatternModifier(int(modifier)).modify(pattern)
        cipher = {"ChaChaPoly": ("chachapoly", "ChaChaPolyCipher"), "AESGCM": ("aesgcm", "AESGCMCipher")}[cipher_name]
        hash_class = {"SHA256": "SHA256Hash", "SHA512": "SHA512Hash", "BLAKE2s": "Blake2sHash", "BLAKE2b": "Blake2bHash"}[hash_name]
        dh = _dissononce_dh(dh_name)
        private = peer("dissononce.dh.private").PrivateKey
        secret = {"25519": 32, "448": 56, "P256": 32}[dh_name]
        who = "alice" if alice else "bob"
        static, ephemeral = (dh.generate_keypair(private(SECRETS[f"{who} {key}"][:secret])) for key in ("s", "e"))
        nogen = peer("dissononce.extras.dh.dangerous.dh_nogen").NoGenDH(dh, ephemeral.private)
        self.symmetric = peer("dissononce.processing.impl.symmetricstate").SymmetricState(
            peer("dissononce.processing.impl.cipherstate").CipherState(getattr(peer(f"dissononce.cipher.{cipher[0]}"), cipher[1])()),
            getattr(peer(f"dissononce.hash.{hash_name.lower()}"), hash_class)(),
        )
        self.state = peer("dissononce.processing.impl.handshakestate").HandshakeState(self.symmetric, nogen)
        self.state.initialize(
            pattern,
            alice,
            prologue,
            s=static,
            e=ephemeral if pre_e else None,
            rs=None if rs is None else dh.create_public(rs),
            re=None if re is None else dh.create_public(re),
            psks=(bytes(range(32)),),
        )
        self.transport: Any = None

    def write(self, payload: bytes) -> bytes:
        buffer = bytearray()
        self.transport = self.state.write_message(payload, buffer)
        return bytes(buffer)

    def read(self, message: bytes) -> bytes:
        buffer = bytearray()
        self.transport = self.state.read_message(message, buffer)
        return bytes(buffer)


def converse(ours: HandshakeState, ephemeral: Any, theirs: Dissononce) -> tuple[CipherState, CipherState]:
    """Speak a handshake to its end and a transport message each way; both must agree on everything."""
    number = 0
    while not ours.finished:
        payload = b"message %d" % number
        if ours.writes_next:
            message, ours = ours.write_message(payload, ephemeral=ephemeral if ours.needs_ephemeral else None)
            assert theirs.read(message) == payload
        else:
            read, ours = ours.read_message(theirs.write(payload))
            assert read == payload
        number += 1
    assert theirs.symmetric.get_handshake_hash() == ours.handshake_hash
    first, second = ours.split()
    assert theirs.transport[0].decrypt_with_ad(b"", first.encrypt_with_ad(b"", b"one")) == b"one"
    assert second.decrypt_with_ad(b"", theirs.transport[1].encrypt_with_ad(b"", b"two")) == b"two"
    return first, second


FALLBACK_SUITES: Final = [
    *(
        f"{dh}_{cipher}_{function}"
        for dh in ("25519", "448")
        for cipher in ("ChaChaPoly", "AESGCM")
        for function in ("SHA256", "SHA512", "BLAKE2s", "BLAKE2b")
    ),
    "P256_AESGCM_SHA256",
]


@pytest.mark.parametrize("suite", FALLBACK_SUITES)
@pytest.mark.parametrize("base", ["NN", "NX", "XN", "XX", "IN", "IX"])
def test_fallback_with_dissononce(base: str, suite: str) -> None:
    """Both roles of every fallback dissononce can speak: Bob writes first, Alice's first keys are pre-messages."""
    name = f"Noise_{base}fallback_{suite}"
    dh = suite.split("_")[0]
    secret = {"25519": 32, "448": 56, "P256": 32}[dh]
    alice_s, alice_e, bob_s, bob_e = (key_pair(name, value[:secret]) for value in SECRETS.values())
    alice_sends_s_early = base.startswith("I")  # then s is part of the pre-message
    prologue = b"tally"

    ours = HandshakeState.initialize(
        name,
        initiator=True,  # Bob
        prologue=prologue,
        s=bob_s if base.endswith("X") else None,
        re=alice_e.public,
        rs=alice_s.public if alice_sends_s_early else None,
    )
    rs = alice_s.public if alice_sends_s_early else None
    theirs = Dissononce(name, alice=True, prologue=prologue, rs=None, re=None, pre_e=True)
    converse(ours, bob_e, theirs)

    ours = HandshakeState.initialize(name, initiator=False, prologue=prologue, s=alice_s if not base.startswith("N") else None, e=alice_e)
    theirs = Dissononce(name, alice=False, prologue=prologue, rs=rs, re=alice_e.public, pre_e=False)
    converse(ours, None, theirs)


@pytest.mark.parametrize("pattern", ["XX", "IK", "KKpsk0", "XXpsk3"])
def test_p256_with_dissononce(pattern: str) -> None:
    """P-256 as snow has it: uncompressed points on the wire, the x coordinate as result; both roles."""
    name = f"Noise_{pattern}_P256_ChaChaPoly_BLAKE2s"
    alice_s, alice_e, bob_s, bob_e = (key_pair(name, value[:32]) for value in SECRETS.values())
    psks = (bytes(range(32)),) if "psk" in pattern else ()
    alice_knows_bob, bob_knows_alice = pattern[1] == "K", pattern[0] == "K"
    for ours_is_alice in (True, False):
        theirs = Dissononce(
            name,
            alice=not ours_is_alice,
            prologue=b"tally",
            rs=(alice_s.public if bob_knows_alice else None) if ours_is_alice else (bob_s.public if alice_knows_bob else None),
            re=None,
            pre_e=False,
        )
        ours = HandshakeState.initialize(
            name,
            initiator=ours_is_alice,
            prologue=b"tally",
            s=alice_s if ours_is_alice else bob_s,
            rs=(bob_s.public if alice_knows_bob else None) if ours_is_alice else (alice_s.public if bob_knows_alice else None),
            psks=psks,
        )
        converse(ours, alice_e if ours_is_alice else bob_e, theirs)


@pytest.mark.parametrize("cipher", ["ChaChaPoly", "AESGCM"])
@pytest.mark.parametrize("we_begin", [True, False])
def test_a_knock_and_rekey_with_noiseprotocol(cipher: str, we_begin: bool) -> None:
    """KKpsk0, the handshake of a pair, then messages with REKEY between them in both directions; counters go on."""
    name = f"Noise_KKpsk0_25519_{cipher}_BLAKE2s"
    connection = peer("noise.connection")
    alice_s, alice_e, bob_s, bob_e = (key_pair(name, value[:32]) for value in SECRETS.values())
    psk = bytes(range(32))
    own, other, ephemeral = (alice_s, bob_s, alice_e) if we_begin else (bob_s, alice_s, bob_e)
    ours = HandshakeState.initialize(name, initiator=we_begin, prologue=b"tally", s=own, rs=other.public, psks=(psk,))
    theirs = connection.NoiseConnection.from_name(name.encode())
    theirs.set_psks(psk)
    theirs.set_prologue(b"tally")
    theirs.set_keypair_from_private_bytes(connection.Keypair.STATIC, SECRETS["bob s" if we_begin else "alice s"][:32])
    theirs.set_keypair_from_public_bytes(connection.Keypair.REMOTE_STATIC, own.public)
    theirs.set_as_responder() if we_begin else theirs.set_as_initiator()
    theirs.start_handshake()
    while not ours.finished:
        if ours.writes_next:
            message, ours = ours.write_message(b"", ephemeral=ephemeral)
            theirs.read_message(message)
        else:
            _, ours = ours.read_message(bytes(theirs.write_message()))
    assert theirs.get_handshake_hash() == ours.handshake_hash
    first, second = ours.split()
    send, receive = (first, second) if we_begin else (second, first)
    for number in range(3):
        assert theirs.decrypt(send.encrypt_with_ad(b"", b"out %d" % number)) == b"out %d" % number
        assert receive.decrypt_with_ad(b"", bytes(theirs.encrypt(b"in %d" % number))) == b"in %d" % number
        send.rekey()
        theirs.rekey_inbound_cipher()
        receive.rekey()
        theirs.rekey_outbound_cipher()
    assert (send.nonce, receive.nonce) == (3, 3)
