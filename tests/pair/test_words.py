"""The words and digits that two people compare."""

from hypothesis import given
from hypothesis import strategies as st

from tallystick.pair.pairing import PairType, derive_pair_keys, pair_prologue
from tallystick.pair.transcript import check_words
from tallystick.pair.words import EVEN_WORDS, ODD_WORDS, digits_of, words_of
from tallystick.primitives import hkdf_expand_sha256, hkdf_extract_sha256, sha256
from tests.pair.world import seed

# SHA-256 of "\n".join(even + odd): the list never changes, or two versions would show two people different words.
LIST_SHA256 = "41db18a831d9c40dc35b374ef36f0bf616d4f563768fcc1a5aa11c7b6530cf5e"


def test_the_list_is_the_pgp_word_list() -> None:
    """512 different words, two syllables at even places, three at odd; the ends of the list are where they belong."""
    assert len(EVEN_WORDS) == len(ODD_WORDS) == 256
    assert len({*EVEN_WORDS, *ODD_WORDS}) == 512
    assert all(word.isascii() and word.isalpha() and word.islower() for word in EVEN_WORDS + ODD_WORDS)
    assert sha256("\n".join(EVEN_WORDS + ODD_WORDS).encode()).hex() == LIST_SHA256
    # The example of the list's authors: E582 94F2 E9A2 2748 6E8B 061B 31CC 528F D7FA 3F19.
    example = bytes.fromhex("E58294F2E9A227486E8B061B31CC528FD7FA3F19")
    assert " ".join(words_of(example)) == (
        "topmost istanbul pluto vagabond treadmill pacific brackish dictator goldfish medusa "
        "afflict bravado chatter revolver dupont midsummer stopwatch whimsical cowbell bottomless"
    )


def test_a_swapped_or_dropped_word_is_heard() -> None:
    """No word is in both lists, so every word shows whether its place is even or odd."""
    for byte in range(256):
        assert words_of(bytes([byte, byte])) == (EVEN_WORDS[byte], ODD_WORDS[byte])


def test_words_and_digits_follow_from_hash_and_nonces() -> None:
    """HKDF over handshake hash and both nonces, client's first; 4 words and 6-6 digits."""
    h, n_c, n_h = seed("h"), seed("c"), seed("n")
    check = check_words(handshake_hash=h, client_nonce=n_c, house_nonce=n_h)
    prk = hkdf_extract_sha256(h, n_c + n_h)
    assert check.words == words_of(hkdf_expand_sha256(prk, b"tally words v1", 4))
    assert check.digits == digits_of(hkdf_expand_sha256(prk, b"tally digits v1", 16))
    assert str(check).count(" ") == 3
    for other in (
        check_words(handshake_hash=seed("x"), client_nonce=n_c, house_nonce=n_h),
        check_words(handshake_hash=h, client_nonce=seed("x"), house_nonce=n_h),
        check_words(handshake_hash=h, client_nonce=n_c, house_nonce=seed("x")),
        check_words(handshake_hash=h, client_nonce=n_h, house_nonce=n_c),
    ):
        assert other.words != check.words


@given(st.binary(min_size=16, max_size=16))
def test_digits_are_two_groups_of_six(data: bytes) -> None:
    """Always 6-6 decimal digits, with leading zeros."""
    left, right = digits_of(data).split("-")
    assert (len(left), len(right)) == (6, 6)
    assert (left + right).isdecimal()
    assert int(left + right) == int.from_bytes(data, "big") % 10**12


def test_the_keys_of_a_pair_are_seven_and_different() -> None:
    """HKDF-Expand with the labels of the specification; the prologue binds keys, roles, type and version."""
    keys = derive_pair_keys(seed("pair"))
    seven = [keys.psk, *(getattr(way, name) for way in (keys.to_house, keys.to_client) for name in ("tag", "mac", "mask"))]
    labels = ["psk", "c2h tag", "c2h mac", "c2h mask", "h2c tag", "h2c mac", "h2c mask"]
    assert seven == [hkdf_expand_sha256(seed("pair"), b"tally pair v1 " + label.encode(), 32) for label in labels]
    assert len(set(seven)) == 7
    prologues = {
        pair_prologue(client_static=c, house_static=h, pair_type=kind, version=v)
        for c, h in ((bytes(32), seed("h")), (seed("h"), bytes(32)))
        for kind in PairType
        for v in (1, 2)
    }
    assert len(prologues) == 16
