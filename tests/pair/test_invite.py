"""The invite: one string, one use, ten minutes; the rules of pre-approval; the keys that follow from its secret."""

from dataclasses import replace

import pytest
import segno
from hypothesis import given
from hypothesis import strategies as st

from tallystick.canonical import Encodable, encode, id_text
from tallystick.errors import Malformed, Misuse, Refused
from tallystick.pair.invite import (
    Invite,
    InviteEvent,
    InviteState,
    check_for_key,
    invite_id,
    invite_keys,
    invite_prologue,
    invite_terms,
    invite_text,
    next_invite_state,
    parse_invite,
)
from tallystick.pair.pairing import PairType
from tallystick.primitives import hkdf_expand_sha256, hkdf_extract_sha256, sha256
from tests.pair.world import HOUSE, seed

SECRET = seed("secret")[:16]
INVITE = Invite(
    secret=SECRET,
    house_static=HOUSE.static.public,
    addresses=(("192.168.1.10", 51877),),
    pair_type=PairType.INPUT,
    expires_s=1_795_000_000,
)
LONG = replace(
    INVITE, house_id=seed("house id"), addresses=(("2001:db8::1", 1), ("fe80::1%eth0", 65535), ("attic.example", 51877), ("a" * 253, 9))
)
hosts = st.from_regex(r"[a-z0-9.:%_-]{1,40}", fullmatch=True)
invites = st.builds(
    Invite,
    secret=st.binary(min_size=16, max_size=16),
    house_static=st.just(HOUSE.static.public),
    house_id=st.none() | st.binary(min_size=32, max_size=32),
    addresses=st.lists(st.tuples(st.from_regex(r"[a-z0-9.:%_-]{1,40}", fullmatch=True), st.integers(1, 65535)), min_size=1, max_size=4).map(
        tuple
    ),
    pair_type=st.sampled_from(PairType),
    expires_s=st.integers(0, 2**40),
)


@given(invites)
def test_what_is_written_is_read(invite: Invite) -> None:
    """Every invite is read back from its text, however the text was copied."""
    text = invite_text(invite)
    assert parse_invite(text) == invite
    for copied in (text.upper(), text.lower(), text.replace("-", ""), text.replace("-", " "), f"\n {text}\t", text.replace("-", "\u2013")):
        assert parse_invite(copied) == invite
    assert parse_invite(text[:6] + text[6:].replace("0", "o").replace("1", "L")) == invite


def test_it_fits_a_small_qr_code() -> None:
    """A usual invite without dashes is an alphanumeric QR code of version 5 at most: 37 modules, readable from a terminal."""
    code = segno.make(invite_text(INVITE).upper().replace("-", ""), error="l")
    assert code.mode == "alphanumeric"
    assert int(code.version) <= 5


@pytest.mark.parametrize("invite", [INVITE, LONG], ids=["short", "long"])
def test_every_wrong_character_is_found(invite: Invite) -> None:
    """Each single wrong character and each swap of neighbours is Malformed, with a hint where to look."""
    bare = invite_text(invite).replace("-", "")
    step = 1 if invite is INVITE else 7
    for at in range(6, len(bare), step):
        other = "7" if bare[at] != "7" else "8"
        with pytest.raises(Malformed) as caught:
            parse_invite(bare[:at] + other + bare[at + 1 :])
        assert caught.value.message.startswith("invite:")
        assert "number" in caught.value.hint or "again" in caught.value.hint
        if at + 1 < len(bare) and bare[at] != bare[at + 1]:
            with pytest.raises(Malformed):
                parse_invite(bare[:at] + bare[at + 1] + bare[at] + bare[at + 2 :])


def test_the_hint_names_the_block() -> None:
    """A wrong character in the second block is looked for from group 18 on."""
    bare = invite_text(LONG).replace("-", "")
    at = 6 + 85 + 3
    with pytest.raises(Malformed) as caught:
        parse_invite(bare[:at] + ("7" if bare[at] != "7" else "8") + bare[at + 1 :])
    assert "number 18" in caught.value.hint


def test_cut_swapped_and_foreign_texts_are_malformed() -> None:
    """Every cut, swapped blocks, blocks of two invites, another prefix, and endless text."""
    bare = invite_text(LONG).replace("-", "")
    for at in range(len(bare)):
        with pytest.raises(Malformed):
            parse_invite(bare[:at])
    blocks = [bare[6 + at : 6 + at + 85] for at in range(0, len(bare) - 6, 85)]
    for order in ([1, 0], [0, 0], [0, 2], [0, 2, 1, *range(3, len(blocks))]):
        with pytest.raises(Malformed):
            parse_invite("tally1" + "".join(blocks[i] for i in order))
    foreign = invite_text(replace(LONG, secret=bytes(16))).replace("-", "")
    # Two invites that differ in their first block only share the rest: mixing them is another invite, and only the house can tell.
    assert parse_invite("tally1" + foreign[6:91] + bare[91:]).secret == bytes(16)
    for text in ("", "tally", "tally1", "tally2" + bare[6:], "x" * 100_000, "tally1" + "0" * 4000, "tally1-ünicode"):
        with pytest.raises(Malformed):
            parse_invite(text)


def _text(value: Encodable) -> str:
    raw = encode(value)
    blocks = [raw[at : at + 49] for at in range(0, len(raw), 49)]
    prefixes = ["tally1", *(f"tally1{letter}" for letter in "bcdefghijklmnopqrstuvwxyz")]
    return "tally1" + "".join(id_text(prefix, block)[len(prefix) :] for prefix, block in zip(prefixes, blocks, strict=False))


def test_short_blocks_and_endless_ones_are_malformed() -> None:
    """A block in the middle that is shorter than 49 bytes, or blocks without end, are no invite although each check holds."""
    long = id_text("tally1", bytes(49)) + "".join(id_text(f"tally1{chr(97 + i)}", bytes(49))[7:] for i in range(1, 25))
    with pytest.raises(Malformed):
        parse_invite(long)


GOOD: list[Encodable] = [1, SECRET, HOUSE.static.public, None, [["h", 1]], 2, 5]
BAD: list[tuple[str, int, Encodable]] = [
    ("version", 0, 2),
    ("version true", 0, True),
    ("short secret", 1, bytes(15)),
    ("long secret", 1, bytes(17)),
    ("secret text", 1, "x" * 16),
    ("short key", 2, bytes(31)),
    ("small-order key", 2, bytes(32)),
    ("non-canonical key", 2, bytes([0xED]) + b"\xff" * 30 + b"\x7f"),
    ("house id", 3, bytes(31)),
    ("house id 0", 3, 0),
    ("no addresses", 4, []),
    ("five addresses", 4, [["h", 1]] * 5),
    ("address text", 4, ["h:1"]),
    ("empty host", 4, [["", 1]]),
    ("host with space", 4, [["a b", 1]]),
    ("host with slash", 4, [["a/b", 1]]),
    ("host with escape", 4, [["\x1b[2J", 1]]),
    ("long host", 4, [["a" * 254, 1]]),
    ("port 0", 4, [["h", 0]]),
    ("port 65536", 4, [["h", 65536]]),
    ("port true", 4, [["h", True]]),
    ("three in an address", 4, [["h", 1, 2]]),
    ("type 0", 5, 0),
    ("type 5", 5, 5),
    ("type true", 5, True),
    ("type text", 5, "ADMIN"),
    ("negative time", 6, -1),
    ("time true", 6, True),
    ("late", 6, 2**40 + 1),
]


def test_the_written_form_is_the_specified_one() -> None:
    """The text is seven canonical CBOR fields in checked blocks of 49 bytes."""
    invite = parse_invite(_text(GOOD))
    assert invite == Invite(secret=SECRET, house_static=HOUSE.static.public, addresses=(("h", 1),), pair_type=PairType.INPUT, expires_s=5)
    assert invite_text(invite) == _text(GOOD)


@pytest.mark.parametrize(("place", "value"), [(place, value) for _, place, value in BAD], ids=[name for name, _, _ in BAD])
def test_other_fields_are_malformed(place: int, value: Encodable) -> None:
    """Checked text that holds another version, a wrong length, type or range is no invite."""
    fields = list(GOOD)
    fields[place] = value
    with pytest.raises(Malformed):
        parse_invite(_text(fields))


@pytest.mark.parametrize("value", [GOOD[:6], [*GOOD, 1], {1: 1}, 1, None], ids=["six", "eight", "map", "number", "null"])
def test_other_shapes_are_malformed(value: Encodable) -> None:
    """Seven fields, no more, no fewer."""
    with pytest.raises(Malformed):
        parse_invite(_text(value))


@pytest.mark.parametrize(
    "bad",
    [
        replace(INVITE, secret=bytes(15)),
        replace(INVITE, addresses=()),
        replace(INVITE, addresses=(("a b", 1),)),
        replace(INVITE, expires_s=-1),
        replace(INVITE, house_static=bytes(32)),
    ],
)
def test_our_own_mistakes_are_misuse(bad: Invite) -> None:
    """An invite that no reader would take is not written."""
    with pytest.raises(Misuse):
        invite_text(bad)


def test_the_keys_follow_from_the_secret() -> None:
    """Tag, MAC, mask and psk by HKDF with their labels; the id by hash; all different, none shown."""
    keys = invite_keys(SECRET)
    prk = hkdf_extract_sha256(b"tally invite v1", SECRET)
    assert keys.tag == hkdf_expand_sha256(prk, b"tally invite v1 tag", 16)
    assert keys.mac == hkdf_expand_sha256(prk, b"tally invite v1 mac", 32)
    assert keys.mask == hkdf_expand_sha256(prk, b"tally invite v1 mask", 32)
    assert keys.psk == hkdf_expand_sha256(prk, b"tally invite v1 psk", 32)
    assert invite_id(SECRET) == sha256(b"tally invite v1 id" + SECRET)
    assert len({keys.mac, keys.mask, keys.psk, invite_id(SECRET)}) == 4
    assert repr(keys) == "InviteKeys()"
    assert repr(SECRET)[2:-1] not in repr(INVITE)


def test_the_prologue_binds_house_and_type() -> None:
    """Another house key or PairType is another prologue, so the handshake fails."""
    prologues = {invite_prologue(house_static=static, pair_type=kind) for static in (HOUSE.static.public, bytes(32)) for kind in PairType}
    assert len(prologues) == 8
    assert invite_prologue(house_static=bytes(32), pair_type=PairType.ADMIN) == b"tally invite v1" + bytes(32) + b"\x01"


@pytest.mark.parametrize("kind", list(PairType))
@pytest.mark.parametrize("yes", [False, True])
@pytest.mark.parametrize("for_key", [None, bytes(32)])
@pytest.mark.parametrize("ttl_s", [None, 0, 1, 120, 121, 600, 601])
@pytest.mark.parametrize("genesis", [False, True])
def test_the_rules_of_an_invite(kind: PairType, yes: bool, for_key: bytes | None, ttl_s: int | None, genesis: bool) -> None:
    """10 minutes at most; --yes never ADMIN, and for one key or for 2 minutes; before genesis ADMIN only and never --yes."""
    ceiling = 120 if yes and for_key is None else 600
    allowed = ttl_s is None or 1 <= ttl_s <= ceiling
    allowed &= not (yes and kind is PairType.ADMIN)
    allowed &= not genesis or (kind is PairType.ADMIN and not yes)
    if not allowed:
        with pytest.raises(Misuse):
            invite_terms(pair_type=kind, ttl_s=ttl_s, yes=yes, for_key=for_key, genesis=genesis)
        return
    terms = invite_terms(pair_type=kind, ttl_s=ttl_s, yes=yes, for_key=for_key, genesis=genesis)
    assert terms.ttl_s == (ttl_s or ceiling)


def test_the_default_is_input_for_ten_minutes() -> None:
    """`tally invite` alone."""
    terms = invite_terms()
    assert (terms.pair_type, terms.ttl_s, terms.yes, terms.for_key) == (PairType.INPUT, 600, False, None)
    with pytest.raises(Misuse):
        invite_terms(for_key=bytes(31))


@pytest.mark.parametrize("state", list(InviteState))
@pytest.mark.parametrize("event", list(InviteEvent))
def test_an_invite_is_used_once(state: InviteState, event: InviteEvent) -> None:
    """Only an open invite changes; everything else is refused, so nothing is redeemed twice."""
    if state is InviteState.OPEN:
        after = next_invite_state(state, event)
        assert after is not InviteState.OPEN
        return
    with pytest.raises(Refused):
        next_invite_state(state, event)


def test_for_one_key() -> None:
    """`--for` admits that key alone; without it every key may come."""
    check_for_key(None, bytes(32))
    check_for_key(bytes(32), bytes(32))
    with pytest.raises(Refused):
        check_for_key(bytes(32), seed("another"))
