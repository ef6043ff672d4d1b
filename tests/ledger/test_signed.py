"""What the ledger reads of a signal: who, which number, what it asks."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.canonical import encode
from tallystick.errors import Malformed
from tallystick.keys.cose import sign1
from tallystick.ledger.signed import _read_any, _read_plain, read_mark
from tallystick.primitives import sha256
from tests.storage.house import OTHER, signal

PAYLOAD: dict[int, Any] = {1: 1, 3: "machine", 4: "read", 5: "archive.get", 8: bytes(16), 9: 0}


def test_the_marks_of_a_signal() -> None:
    """Key, stream, number, class, action, verb, the hash of the signature and of what was signed."""
    mark = read_mark(signal(OTHER, 5, verb="archive.put", action="write"))
    assert (mark.key, mark.stream, mark.n) == (OTHER.id, bytes(16), 5)
    assert (mark.signal_class, mark.action, mark.verb) == ("machine", "write", "archive.put")
    assert mark.signature_hash == sha256(signal(OTHER, 5, verb="archive.put", action="write")[-64:])
    assert read_mark(signal(OTHER, 5)).signed != read_mark(signal(OTHER, 5, salt=b"x")).signed


@pytest.mark.parametrize(
    "change", [{8: bytes(15)}, {8: None}, {9: -1}, {9: True}, {9: 2**63}, {9: None}, {3: 1}, {4: ""}, {5: "x" * 65}, {5: None}]
)
def test_a_payload_without_marks_is_malformed(change: dict[int, Any]) -> None:
    """A payload that lacks what tells it from others is refused."""
    payload = {number: value for number, value in (PAYLOAD | change).items() if value is not None}
    with pytest.raises(Malformed):
        read_mark(sign1(OTHER, encode(payload)))


PLAIN: dict[int, Any] = {1: 1, 2: bytes(32), 3: "machine", 4: "read", 5: "archive.get", 6: {}, 7: 2**61, 8: bytes(16), 9: 0, 10: []}


@given(
    st.sampled_from([0, 1, 23, 24, 255, 256, 65_535, 65_536, 2**40]),
    st.sampled_from([{}, {1: bytes(32)}, {4: bytes(32)}, {1: bytes(32), 2: bytes(32)}, {1: bytes(32), 2: bytes(32), 3: bytes(32)}]),
    st.text("amz.-/", min_size=1, max_size=26),
    st.integers(0, 200),
    st.integers(0, 255),
)
def test_the_short_way_reads_what_the_long_one_reads(n: int, commitments: dict[int, bytes], word: str, at: int, value: int) -> None:
    """The commonest payload has two readers; whatever the quick one takes, also with a byte changed, the other reads the same."""
    raw = bytearray(encode(PLAIN | {5: word, 6: commitments, 9: n}))
    if len(word) < 24 and n < 65_536:
        assert _read_plain(bytes(raw)) == _read_any(bytes(raw)) == (bytes(16), n, "machine", "read", word)
    raw[at % len(raw)] = value
    found = _read_plain(bytes(raw))
    assert found is None or found == _read_any(bytes(raw))


def test_what_is_no_signal_is_malformed() -> None:
    """Junk, a cut signal, and a signed value that is no map."""
    for junk in (b"", b"junk", signal(OTHER, 0)[:-1], sign1(OTHER, encode([1, 2]))):
        with pytest.raises(Malformed):
            read_mark(junk)
