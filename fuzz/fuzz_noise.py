"""Fuzz what a stranger can send to a Noise handshake, and the names a caller can ask for.

The first byte chooses a handshake and a message of it. The second chooses how the rest becomes that message: as it is, in
place of the genuine one's beginning or end, or mixed over it. Reading raises Malformed or Unproven and nothing else, and
the genuine message is always read afterwards. A name is refused with Misuse or gives a protocol of that very name.

python fuzz/fuzz_noise.py -runs=100000
"""

import contextlib
import sys
from collections.abc import Callable

import atheris

with atheris.instrument_imports():
    from tallystick.errors import Malformed, Misuse, Unproven
    from tallystick.noise import CipherState, HandshakeState, KeyPair, Protocol
    from tallystick.primitives import P256KeyPair, X25519KeyPair

MAKERS: dict[str, Callable[[bytes], KeyPair]] = {"25519": X25519KeyPair.from_private, "P256": P256KeyPair.from_private}


def _scene(name: str, with_rs: tuple[bool, bool], with_s: tuple[bool, bool]) -> list[tuple[HandshakeState, bytes]]:
    """Each reading state of a handshake, with the genuine message it waits for."""
    make = MAKERS[name.split("_")[2]]
    statics, ephemerals = [make(bytes([n]) * 32) for n in (1, 2)], [make(bytes([n]) * 32) for n in (3, 4)]
    sides = [
        HandshakeState.initialize(
            name,
            initiator=side == 0,
            prologue=b"tally",
            s=statics[side] if with_s[side] else None,
            rs=statics[1 - side].public if with_rs[side] else None,
            psks=(bytes(32),) * Protocol.parse(name).pattern.psk_count,
        )
        for side in (0, 1)
    ]
    scene, number = [], 0
    while not sides[0].finished:
        writer, reader = number % 2, 1 - number % 2
        ephemeral = ephemerals[writer] if sides[writer].needs_ephemeral else None
        message, sides[writer] = sides[writer].write_message(b"payload", ephemeral=ephemeral)
        scene.append((sides[reader], message))
        _, sides[reader] = sides[reader].read_message(message)
        number += 1
    return scene


SCENES = [
    *_scene("Noise_KKpsk0_25519_ChaChaPoly_BLAKE2s", (True, True), (True, True)),
    *_scene("Noise_IKpsk1_25519_ChaChaPoly_BLAKE2s", (True, False), (True, True)),
    *_scene("Noise_XXpsk3_25519_AESGCM_SHA512", (False, False), (True, True)),
    *_scene("Noise_XX_P256_AESGCM_SHA256", (False, False), (True, True)),
]
CIPHER = Protocol.parse("Noise_NN_25519_ChaChaPoly_SHA256").cipher


def target(data: bytes) -> None:
    """One message to one reading state, one name, one transport message."""
    if len(data) < 2:
        return
    state, genuine = SCENES[data[0] % len(SCENES)]
    rest = data[2:]
    match data[1] % 4:
        case 0:
            message = rest
        case 1:
            message = rest + genuine[len(rest) :]
        case 2:
            message = genuine[: max(len(genuine) - len(rest), 0)] + rest
        case _:
            mask = rest.ljust(len(genuine), b"\0")
            message = bytes(a ^ b for a, b in zip(genuine, mask, strict=False))
    with contextlib.suppress(Malformed, Unproven):
        state.read_message(message)
    payload, _ = state.read_message(genuine)
    if payload != b"payload":
        raise AssertionError("a forged message changed what the genuine one says")

    name = data.decode("latin-1")
    with contextlib.suppress(Misuse):
        if Protocol.parse(name).name != name:
            raise AssertionError("a protocol with another name")
    receiver = CipherState(CIPHER, bytes(32))
    with contextlib.suppress(Malformed, Unproven):
        receiver.decrypt_with_ad(b"", data)


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
