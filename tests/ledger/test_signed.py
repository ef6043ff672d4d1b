"""What the ledger reads of a signal: who, which number, what it asks."""

from typing import Any

import pytest

from tallystick.canonical import encode
from tallystick.errors import Malformed
from tallystick.keys.cose import sign1
from tallystick.ledger.signed import read_mark
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


def test_what_is_no_signal_is_malformed() -> None:
    """Junk, a cut signal, and a signed value that is no map."""
    for junk in (b"", b"junk", signal(OTHER, 0)[:-1], sign1(OTHER, encode([1, 2]))):
        with pytest.raises(Malformed):
            read_mark(junk)
