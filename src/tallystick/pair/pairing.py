"""A pairing: the relation of two machines, and the keys that follow from its one secret (docs/spec/pairing.md).

The pair secret has no other use than HKDF-Expand (RFC 5869 2.3, SHA-256) into the keys below: one pre-shared key, and
one tag, MAC and mask key per direction.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum

from tallystick.primitives import hkdf_expand_sha256


class PairType(StrEnum):
    """What a pair may do at most. INPUT is the default; the others are ADMIN or deliberate downgrades."""

    ADMIN = "ADMIN"
    INPUT = "INPUT"
    USER = "USER"
    INTERFACE = "INTERFACE"


class Suite(StrEnum):
    """The Noise protocol of a pair, fixed at pairing; nothing is negotiated afterwards."""

    CHACHAPOLY = "Noise_KKpsk0_25519_ChaChaPoly_BLAKE2s"
    AESGCM = "Noise_KKpsk0_25519_AESGCM_BLAKE2s"


class Role(StrEnum):
    """The side a machine takes in a pairing: the house executes, the client asks."""

    HOUSE = "house"
    CLIENT = "client"


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionKeys:
    """The keys of the datagrams that flow one way; 32 bytes each."""

    tag: bytes = field(repr=False)
    mac: bytes = field(repr=False)
    mask: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairKeys:
    """Everything derived from a pair secret. `to_house` protects knocks, `to_client` the house's time answers."""

    psk: bytes = field(repr=False)
    to_house: DirectionKeys = field(repr=False)
    to_client: DirectionKeys = field(repr=False)


def derive_pair_keys(pair_secret: bytes) -> PairKeys:
    """Expand the pair secret (32 bytes) into its seven keys (docs/spec/pairing.md, section 6)."""

    def expand(label: str) -> bytes:
        return hkdf_expand_sha256(pair_secret, b"tally pair v1 " + label.encode("ascii"), 32)

    return PairKeys(
        psk=expand("psk"),
        to_house=DirectionKeys(tag=expand("c2h tag"), mac=expand("c2h mac"), mask=expand("c2h mask")),
        to_client=DirectionKeys(tag=expand("h2c tag"), mac=expand("h2c mac"), mask=expand("h2c mask")),
    )


def pair_prologue(*, client_static: bytes, house_static: bytes, pair_type: PairType, version: int = 1) -> bytes:
    """The Noise prologue of every knock of a pair: both keys, both roles, the type that was signed, the version."""
    kind = pair_type.value.encode("ascii")
    return b"".join((b"tally knock v", b"%d" % version, b"\x00client", client_static, b"house", house_static, bytes([len(kind)]), kind))


def free_label(wanted: str, taken: Collection[str]) -> str:
    """The label wanted, or with a number behind it where it is taken; at most 63 characters, as any label."""
    label, number = wanted, 2
    while label in taken:
        tail = f"-{number}"
        label, number = wanted[: 63 - len(tail)] + tail, number + 1
    return label
