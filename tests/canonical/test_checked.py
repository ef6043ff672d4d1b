"""IDs for people: read forgivingly, and never read wrongly."""

import base64
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.canonical import id_text, parse_id
from tallystick.canonical.checked import _BECH32M, _expand, _polymod
from tallystick.errors import Malformed, Misuse

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
RAW = bytes(range(7, 39))
TEXT = id_text("key", RAW)
BARE = TEXT.removeprefix("key").replace("-", "")


@given(st.binary(min_size=1, max_size=64), st.sampled_from(["key", "recovery", "k", "a123456789012345"]))
def test_ids_round_trip(raw: bytes, prefix: str) -> None:
    """What is written is read, for every length and prefix."""
    assert parse_id(id_text(prefix, raw), prefix) == raw


def test_the_form_is_frozen() -> None:
    """This very text names these 32 bytes for ever; 12 groups of five, the last one shorter."""
    assert TEXT == "key-0W40J-2GB1G-6GW3R-G2491-650N2-RBHG6-8T3CE-1T7GZ-40GJ4-8S44M-K0HAV-486"
    assert [len(group) for group in TEXT.split("-")] == [3, *[5] * 11, 3]


@given(st.binary(min_size=1, max_size=64))
def test_the_data_is_base32(raw: bytes) -> None:
    """Before the check stands RFC 4648's base32 in Crockford's alphabet, unpadded."""
    data = base64.b32encode(raw).decode().rstrip("=").translate(str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", ALPHABET))
    assert id_text("key", raw).removeprefix("key").replace("-", "")[:-6] == data


@pytest.mark.parametrize(
    "bech32m",
    ["A1LQFN3A", "a1lqfn3a", "?1v759aa", "split1checkupstagehandshakeupstreamerranterredcaperredlc445v"],
)
def test_the_check_is_bech32m(bech32m: str) -> None:
    """Valid strings of BIP 350, read in Bech32's alphabet, pass our checksum."""
    charset = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    prefix, _, data = bech32m.lower().rpartition("1")
    assert _polymod(_expand(prefix) + [charset.index(c) for c in data]) == _BECH32M


@pytest.mark.parametrize("invalid", ["y1b0jsk6g", "lt1igcx5c0", "in1muywd", "mm1crxm3i", "M1VUXWEZ", "16plkw9", "1p2gdwpf", "a1lqfn3q"])
def test_the_check_refuses_what_bech32m_refuses(invalid: str) -> None:
    """Invalid strings of BIP 350 do not pass (or use characters outside the alphabet)."""
    charset = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    prefix, _, data = invalid.lower().rpartition("1")
    if prefix and all(c in charset for c in data):
        assert _polymod(_expand(prefix) + [charset.index(c) for c in data]) != _BECH32M


@pytest.mark.parametrize(
    "typed",
    [
        TEXT.lower(),
        TEXT.upper(),
        TEXT.replace("-", ""),
        TEXT.replace("-", " "),
        TEXT.replace("-", "\u2013"),
        TEXT.replace("-", "\u2011"),
        "  " + TEXT.replace("-", " - ") + "\r\n",
        TEXT.replace("0", "O"),
        TEXT.replace("0", "o"),
        TEXT.replace("1", "I"),
        TEXT.replace("1", "i"),
        TEXT.replace("1", "l"),
        TEXT.replace("1", "L").replace("0", "O").swapcase(),
        "KEY" + BARE,
        "\u00a0k e y\t" + " ".join(BARE),
    ],
)
def test_people_type_as_they_like(typed: str) -> None:
    """Case, spaces, dashes of any kind and look-alikes do not matter."""
    assert parse_id(typed, "key") == RAW


def test_every_wrong_character_is_found() -> None:
    """All 58 x 31 single substitutions are Malformed."""
    for at, letter in itertools.product(range(len(BARE)), ALPHABET):
        if letter != BARE[at]:
            with pytest.raises(Malformed):
                parse_id("key" + BARE[:at] + letter + BARE[at + 1 :], "key")


def test_every_swap_of_neighbours_is_found() -> None:
    """All swaps of two different neighbours are Malformed, across groups too; so are swaps of any two characters."""
    for i, j in itertools.combinations(range(len(BARE)), 2):
        if BARE[i] != BARE[j]:
            swapped = list(BARE)
            swapped[i], swapped[j] = swapped[j], swapped[i]
            with pytest.raises(Malformed):
                parse_id("key" + "".join(swapped), "key")


@given(st.binary(min_size=32, max_size=32), st.data())
def test_up_to_four_wrong_characters_are_found(raw: bytes, data: st.DataObject) -> None:
    """BIP 173: any error in at most four characters is found."""
    values = list(id_text("key", raw).removeprefix("key").replace("-", ""))
    before = values.copy()
    for at in data.draw(st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=4, unique=True)):
        values[at] = data.draw(st.sampled_from(ALPHABET))
    if values != before:
        with pytest.raises(Malformed):
            parse_id("key" + "".join(values), "key")


def test_lost_added_and_swapped_groups_are_found() -> None:
    """A character or group too few or too many, doubled or moved, is Malformed."""
    groups = TEXT.split("-")
    wrong = ["-".join(groups[:i] + groups[i + 1 :]) for i in range(len(groups))]
    wrong += ["-".join([*groups[:i], groups[i], *groups[i:]]) for i in range(1, len(groups))]
    wrong += ["-".join([*groups[:i], groups[i + 1], groups[i], *groups[i + 2 :]]) for i in range(1, len(groups) - 1)]
    wrong += ["key" + BARE[:i] + BARE[i + 1 :] for i in range(len(BARE))]
    wrong += ["key" + BARE[:i] + letter + BARE[i:] for i in range(len(BARE) + 1) for letter in "0PZ"]
    for text in wrong:
        with pytest.raises(Malformed):
            parse_id(text, "key")


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("", "key"),
        ("key", "key"),
        ("key-", "key"),
        ("key-00000", "key"),
        ("key-000000", "key"),
        (BARE, "key"),
        (TEXT, "recovery"),
        (TEXT.replace("key", "kez"), "key"),
        (TEXT.replace("0", "U", 1), "key"),
        (TEXT.replace("0", "*", 1), "key"),
        (TEXT.replace("0", "\u0660", 1), "key"),
        (TEXT.replace("key", "\u212aey"), "key"),
        (TEXT.replace("W", "\uff37", 1), "key"),
        (TEXT + " " * 600, "key"),
        ("recovery" + TEXT.removeprefix("key"), "recovery"),
    ],
)
def test_not_an_id(text: str, prefix: str) -> None:
    """Another kind, a missing prefix, foreign letters and far too much text are Malformed, each with a hint."""
    with pytest.raises(Malformed) as error:
        parse_id(text, prefix)
    assert error.value.hint


def test_bits_behind_the_last_byte_must_be_zero() -> None:
    """One ID has one text: a right check over wrong padding is refused."""
    values = [ALPHABET.index(c) for c in BARE[:-6]]
    values[-1] |= 1
    check = _polymod(_expand("key") + values + [0] * 6) ^ _BECH32M
    values += [check >> 5 * i & 31 for i in reversed(range(6))]
    with pytest.raises(Malformed, match="one form"):
        parse_id("key" + "".join(ALPHABET[v] for v in values), "key")


@pytest.mark.parametrize(
    ("prefix", "raw"), [("", RAW), ("Key", RAW), ("k-y", RAW), ("1key", RAW), ("k" * 17, RAW), ("key", b""), ("key", bytes(65))]
)
def test_ids_that_have_no_text(prefix: str, raw: bytes) -> None:
    """Prefixes are short lower-case words, and 1 to 64 bytes have a text."""
    with pytest.raises(Misuse):
        id_text(prefix, raw)


@given(st.text(alphabet=ALPHABET + "key- OIl\n\u2013U", max_size=80))
def test_noise_is_malformed(text: str) -> None:
    """No text raises anything but Malformed."""
    with pytest.raises(Malformed):
        parse_id("key" + text, "key")
