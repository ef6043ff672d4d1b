"""The invite: one string that lets one machine ask to be paired, once, for ten minutes (docs/spec/pairing.md, section 1).

    tally1-2GJQ3-...                    79 characters of base32 and 6 of check for each block of 49 bytes

The text carries a 128-bit secret, the house's static key and where to knock. Tag, MAC, mask and psk follow from the secret;
the ledger gets only a hash of it. Blocks, each with its own check: one BCH checksum over 150 characters would be past
the length for which it promises anything, and a typing error is named by its block.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from tallystick.canonical import decode, encode, id_text, parse_id
from tallystick.errors import Malformed, Misuse, Refused, TallyError
from tallystick.pair.pairing import PairType
from tallystick.primitives import hkdf_expand_sha256, hkdf_extract_sha256, sha256, x25519_public_is_safe

# Specification constants (docs/spec/pairing.md, section 1).
INVITE_PROTOCOL: Final = "Noise_IKpsk1_25519_ChaChaPoly_BLAKE2s"
INVITE_SECRET_BYTES: Final = 16
INVITE_TAG_BYTES: Final = 16
MAX_TTL_S: Final = 600
MAX_YES_TTL_S: Final = 120
MAX_ADDRESSES: Final = 4
MAX_INVITE_BYTES: Final = 1_200
_VERSION: Final = 1
_MAX_EXPIRES_S: Final = 2**40
_PREFIX: Final = "tally1"
_BLOCK_BYTES: Final = 49
_BLOCK_CHARACTERS: Final = 85  # 79 of base32 and 6 of check: 17 groups
_TYPE_CODES: Final = {PairType.ADMIN: 1, PairType.INPUT: 2, PairType.USER: 3, PairType.INTERFACE: 4}
_TYPES: Final = {code: kind for kind, code in _TYPE_CODES.items()}
HOST_FORM: Final = re.compile(r"[A-Za-z0-9.:_%-]{1,253}")
_IGNORED: Final = re.compile(r"[\s\u00a0\-\u2010-\u2015\u2212]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Invite:
    """What the string says. `expires_s`: UTC, seconds since 1970; `addresses`: where to knock, best first."""

    secret: bytes = field(repr=False)
    house_static: bytes
    addresses: tuple[tuple[str, int], ...]
    pair_type: PairType
    expires_s: int
    house_id: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InviteKeys:
    """The keys of an invite's knock: the fixed tag (16 bytes), and MAC, mask and pre-shared key (32 bytes each)."""

    tag: bytes = field(repr=False)
    mac: bytes = field(repr=False)
    mask: bytes = field(repr=False)
    psk: bytes = field(repr=False)


class InviteState(StrEnum):
    """The life of an invite. A burned invite is a consumed one."""

    OPEN = "open"
    CONSUMED = "consumed"
    REVOKED = "revoked"
    EXPIRED = "expired"


class InviteEvent(StrEnum):
    """What can happen to an invite."""

    CONSUME = "consume"
    REVOKE = "revoke"
    EXPIRE = "expire"


_TABLE: Final = {
    (InviteState.OPEN, InviteEvent.CONSUME): InviteState.CONSUMED,
    (InviteState.OPEN, InviteEvent.REVOKE): InviteState.REVOKED,
    (InviteState.OPEN, InviteEvent.EXPIRE): InviteState.EXPIRED,
}


def next_invite_state(state: InviteState, event: InviteEvent) -> InviteState:
    """Where an event takes an invite. Raises: Refused for every cell the table does not have."""
    after = _TABLE.get((state, event))
    if after is None:
        raise Refused(f"the invite is {state.value}: it cannot be {event.value}d", "Make a new one with `tally invite`.")
    return after


@dataclass(frozen=True, slots=True, kw_only=True)
class InviteTerms:
    """What the house promises with an invite; only `invite_terms` makes one, so no other terms exist.

    `for_key`: KeyId (32 bytes) of the only signing key it is for.  `yes`: pre-approved.  `ttl_s`: life in seconds.
    """

    pair_type: PairType
    ttl_s: int
    yes: bool
    for_key: bytes | None
    label: str | None


def invite_terms(
    *,
    pair_type: PairType = PairType.INPUT,
    ttl_s: int | None = None,
    yes: bool = False,
    for_key: bytes | None = None,
    label: str | None = None,
    genesis: bool = False,
) -> InviteTerms:
    """Check the rules of an invite (docs/spec/pairing.md, section 1).

    Args: ttl_s: seconds, None for the default (600, or 120 for a pre-approved invite without a key).
        genesis: the house has no human key yet.
    Raises: Misuse when a rule does not allow these terms.
    """
    short = yes and for_key is None
    if ttl_s is None:
        ttl_s = MAX_YES_TTL_S if short else MAX_TTL_S
    if not 1 <= ttl_s <= MAX_TTL_S:
        raise Misuse(f"an invite lives 1 to {MAX_TTL_S} seconds, not {ttl_s}", "Leave --ttl out for the default.")
    if yes and pair_type is PairType.ADMIN:
        raise Misuse("an ADMIN pairing is never approved in advance", "Leave --yes out and approve it with `tally inbox`.")
    if short and ttl_s > MAX_YES_TTL_S:
        raise Misuse(
            f"a pre-approved invite lives at most {MAX_YES_TTL_S} seconds unless it is for one key",
            "Add --for KEYID, or a --ttl of 120 or less.",
        )
    if for_key is not None and len(for_key) != 32:
        raise Misuse("--for takes a KeyId of 32 bytes")
    if genesis and (pair_type is not PairType.ADMIN or yes):
        raise Misuse("the first pairing of a house is ADMIN", "Use `tally invite --type ADMIN`.")
    return InviteTerms(pair_type=pair_type, ttl_s=ttl_s, yes=yes, for_key=for_key, label=label)


def invite_keys(secret: bytes) -> InviteKeys:
    """Derive the knock's keys from an invite's secret (16 bytes). Source: docs/spec/pairing.md, section 1."""
    prk = hkdf_extract_sha256(b"tally invite v1", secret)
    return InviteKeys(
        tag=hkdf_expand_sha256(prk, b"tally invite v1 tag", INVITE_TAG_BYTES),
        mac=hkdf_expand_sha256(prk, b"tally invite v1 mac", 32),
        mask=hkdf_expand_sha256(prk, b"tally invite v1 mask", 32),
        psk=hkdf_expand_sha256(prk, b"tally invite v1 psk", 32),
    )


def invite_id(secret: bytes) -> bytes:
    """The 32 bytes by which the ledger knows an invite. Nothing about the secret follows from them."""
    return sha256(b"tally invite v1 id", secret)


def invite_prologue(*, house_static: bytes, pair_type: PairType) -> bytes:
    """The Noise prologue of an invite's handshake: a changed key or type in the string makes it fail."""
    return b"tally invite v1" + house_static + bytes((_TYPE_CODES[pair_type],))


def check_for_key(for_key: bytes | None, signing_key_id: bytes) -> None:
    """Is this the machine the invite is for? Raises: Refused when it is for another key."""
    if for_key is not None and for_key != signing_key_id:
        raise Refused("the invite is for another machine", "Compare `tally key ls` on that machine with --for.")


def invite_text(invite: Invite) -> str:
    """Write an invite as a string for people and QR codes (upper case of it is QR alphanumeric).

    Raises: Misuse when a field is out of range: it was made here, not received.
    """
    raw = encode(
        [
            _VERSION,
            invite.secret,
            invite.house_static,
            invite.house_id,
            [[host, port] for host, port in invite.addresses],
            _TYPE_CODES[invite.pair_type],
            invite.expires_s,
        ]
    )
    try:
        _parse_raw(raw)
    except TallyError as error:
        raise Misuse(error.message, error.hint) from None
    blocks = [raw[at : at + _BLOCK_BYTES] for at in range(0, len(raw), _BLOCK_BYTES)]
    texts = [id_text(_block_prefix(place), block)[len(_block_prefix(place)) :] for place, block in enumerate(blocks)]
    return _PREFIX + "".join(texts)


def parse_invite(text: str) -> Invite:
    """Read an invite that a person typed, pasted or scanned; case, spaces, dashes and look-alikes do not matter.

    Raises: Malformed when it is no invite; the hint names the block with the wrong character.
    """
    if len(text) > 4 * MAX_INVITE_BYTES:
        raise Malformed("invite: far too long", "Paste the invite and nothing else.")
    bare = _IGNORED.sub("", text)
    if bare[: len(_PREFIX)].lower() != _PREFIX:
        raise Malformed("invite: does not begin with tally1", "Paste the whole string that `tally invite` printed.")
    bare = bare[len(_PREFIX) :]
    blocks: list[bytes] = []
    for place, at in enumerate(range(0, len(bare), _BLOCK_CHARACTERS)):
        prefix = _block_prefix(place)
        try:
            block = parse_id(prefix + "-" + bare[at : at + _BLOCK_CHARACTERS], prefix)
        except Malformed as error:
            first = at // 5 + 1
            raise Malformed(error.message.replace("id:", "invite:", 1), f"Look at the groups from number {first} on.") from None
        blocks.append(block)
    raw = b"".join(blocks)
    if len(raw) > MAX_INVITE_BYTES:
        raise Malformed("invite: too long")
    return _parse_raw(raw)


def _block_prefix(place: int) -> str:
    """The prefix that enters the check of a block: tally1, tally1b, tally1c, ..., so that blocks cannot change places."""
    return _PREFIX if place == 0 else _PREFIX + chr(ord("a") + place)


def _parse_raw(raw: bytes) -> Invite:
    match decode(raw, max_bytes=MAX_INVITE_BYTES, max_depth=3, max_items=32):
        case [int() as version, *_] if version != _VERSION or isinstance(version, bool):
            raise Malformed(f"invite: version {version} is not known here", "Update tallystick on this machine.")
        case [
            int(),
            bytes() as secret,
            bytes() as static,
            (bytes() | None) as house_id,
            list() as addresses,
            int() as code,
            int() as expires_s,
        ]:
            pass
        case _:
            raise Malformed("invite: not seven fields of the right types")
    if len(secret) != INVITE_SECRET_BYTES or (house_id is not None and len(house_id) != 32):
        raise Malformed("invite: a field of the wrong length")
    if not x25519_public_is_safe(static):
        raise Malformed("invite: the house's key is not a safe X25519 key")
    if isinstance(code, bool) or code not in _TYPES:
        raise Malformed("invite: unknown PairType")
    if isinstance(expires_s, bool) or not 0 <= expires_s <= _MAX_EXPIRES_S:
        raise Malformed("invite: time out of range")
    return Invite(
        secret=secret,
        house_static=static,
        house_id=house_id,
        addresses=_addresses(addresses),
        pair_type=_TYPES[code],
        expires_s=expires_s,
    )


def _addresses(values: Sequence[object]) -> tuple[tuple[str, int], ...]:
    if not 1 <= len(values) <= MAX_ADDRESSES:
        raise Malformed(f"invite: 1 to {MAX_ADDRESSES} addresses")
    addresses: list[tuple[str, int]] = []
    for value in values:
        match value:
            case [str() as host, int() as port] if HOST_FORM.fullmatch(host) and not isinstance(port, bool) and 1 <= port <= 65_535:
                addresses.append((host, port))
            case _:
                raise Malformed("invite: an address is a host and a port from 1 to 65535")
    return tuple(addresses)
