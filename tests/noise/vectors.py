"""Reading the Noise vector files: cacophony.txt (cacophony, snow and others share it) and snow.txt."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tallystick.noise import KeyPair
from tallystick.primitives import P256KeyPair, X448KeyPair, X25519KeyPair
from tests.support import vectors


def key_pair(protocol_name: str, private: bytes) -> KeyPair:
    """The key pair of a private key for the Diffie-Hellman function in a protocol name."""
    makers: dict[str, Callable[[bytes], KeyPair]] = {
        "25519": X25519KeyPair.from_private,
        "448": X448KeyPair.from_private,
        "P256": P256KeyPair.from_private,
    }
    return makers[protocol_name.split("_")[2]](private)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """The arguments of one side."""

    prologue: bytes
    psks: tuple[bytes, ...]
    s: KeyPair | None
    rs: bytes | None
    ephemeral: KeyPair | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """One conversation: `messages` are (payload, ciphertext), handshake first, then transport."""

    name: str
    sides: tuple[Side, Side]
    handshake_hash: bytes | None
    messages: tuple[tuple[bytes, bytes], ...]


def noise_vectors(file: str) -> Iterator[Vector]:
    """All conversations of `noise/<file>`."""
    for entry in json.loads(vectors("noise", file).read_bytes())["vectors"]:
        yield Vector(
            name=entry["protocol_name"],
            sides=(_side(entry, "init"), _side(entry, "resp")),
            handshake_hash=bytes.fromhex(entry["handshake_hash"]) if "handshake_hash" in entry else None,
            messages=tuple((bytes.fromhex(m["payload"]), bytes.fromhex(m["ciphertext"])) for m in entry["messages"]),
        )


def _side(entry: dict[str, Any], role: str) -> Side:
    def octets(what: str) -> bytes | None:
        text = entry.get(f"{role}_{what}")
        return None if text is None else bytes.fromhex(text)

    def pair(what: str) -> KeyPair | None:
        private = octets(what)
        return None if private is None else key_pair(entry["protocol_name"], private)

    return Side(
        prologue=octets("prologue") or b"",
        psks=tuple(bytes.fromhex(psk) for psk in entry.get(f"{role}_psks", ())),
        s=pair("static"),
        rs=octets("remote_static"),
        ephemeral=pair("ephemeral"),
    )
