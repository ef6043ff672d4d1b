"""One signature over many proposals: what it covers, and everything that it does not."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.canonical import encode
from tallystick.errors import Malformed, Misuse, Refused, TallyError, Unproven
from tallystick.primitives import sha256
from tallystick.rights.approval import MAX_ITEMS, Item, Waiting, approval_root, check_approval
from tallystick.tlog.tree import leaf_hash, root_of

NOW = 10**18


@dataclass(frozen=True)
class Statement:
    """What a statement says, as the approval reads it."""

    root: bytes
    proposals: tuple[int, ...]
    expires_ns: int


def items_of(*entries: int) -> tuple[Item, ...]:
    return tuple(Item(entry, sha256(entry.to_bytes(8))) for entry in entries)


def waiting(*entries: int, **other: Any) -> dict[int, Waiting]:
    return {
        item.entry: Waiting(**{"state": "held", "signal_hash": item.signal_hash, "expires_ns": NOW + 9, **other})
        for item in items_of(*entries)
    }


def signed(*entries: int, **other: Any) -> Statement:
    made = Statement(root=approval_root(items_of(*entries)), proposals=entries, expires_ns=NOW + 5)
    return replace(made, **other)


def check(statement: Statement, found: Mapping[int, Waiting], now_ns: int = NOW) -> tuple[Item, ...]:
    return check_approval(statement, waiting=found, now_ns=now_ns)


@pytest.mark.parametrize("entries", [(7,), (1, 2), (1, 2, 3), (5, 9, 300, 70_000, 2**40)])
def test_exactly_what_waits_is_approved(entries: tuple[int, ...]) -> None:
    """One signature over one or many; others that wait too are not touched."""
    assert check(signed(*entries), waiting(*entries, 2**41)) == items_of(*entries)


@given(st.sets(st.integers(0, 2**63 - 1), min_size=1, max_size=70))
def test_the_root_is_that_of_the_log_tree(entries: set[int]) -> None:
    """RFC 6962 2.1, as tlog/tree.py computes it."""
    items = items_of(*sorted(entries))
    assert approval_root(items) == root_of([leaf_hash(encode([item.entry, item.signal_hash])) for item in items])


def test_as_many_as_one_signature_may_cover() -> None:
    """1,024, and not one more."""
    entries = tuple(range(MAX_ITEMS))
    assert len(check(signed(*entries), waiting(*entries))) == MAX_ITEMS
    with pytest.raises(Misuse):
        approval_root(items_of(*range(MAX_ITEMS + 1)))
    with pytest.raises(Malformed):
        check(replace(signed(0), proposals=tuple(range(MAX_ITEMS + 1))), waiting(*range(MAX_ITEMS + 1)))


REFUSALS: list[tuple[str, Statement, dict[int, Waiting], type[TallyError]]] = [
    ("no proposal at all", signed(3, proposals=()), waiting(3), Malformed),
    ("one twice", signed(3, proposals=(3, 3)), waiting(3), Malformed),
    ("out of order", signed(3, 4, proposals=(4, 3)), waiting(3, 4), Malformed),
    ("an entry that is no proposal", signed(3), waiting(4), Unproven),
    ("another proposal under the same root", signed(3, proposals=(4,)), waiting(3, 4), Unproven),
    ("one more than was signed", signed(3, proposals=(3, 4)), waiting(3, 4), Unproven),
    ("one less than was signed", signed(3, 4, proposals=(3,)), waiting(3, 4), Unproven),
    ("other bytes of the signal", signed(3), waiting(3, signal_hash=sha256(b"other bytes")), Unproven),
    ("another root", signed(3, root=bytes(32)), waiting(3), Unproven),
    ("a short root", signed(3, root=b""), waiting(3), Unproven),
    ("expired", signed(3, expires_ns=NOW), waiting(3), Refused),
    ("the proposal expired", signed(3), waiting(3, expires_ns=NOW), Refused),
    ("approved before", signed(3), waiting(3, state="approved"), Refused),
    ("denied before", signed(3), waiting(3, state="denied"), Refused),
    ("ended before", signed(3), waiting(3, state="ended"), Refused),
    ("one of two is over", signed(3, 4), waiting(3) | waiting(4, state="ended"), Refused),
]


@pytest.mark.parametrize(("statement", "found", "error"), [each[1:] for each in REFUSALS], ids=[each[0] for each in REFUSALS])
def test_anything_else_is_refused(statement: Statement, found: dict[int, Waiting], error: type[TallyError]) -> None:
    """All of it, or nothing."""
    with pytest.raises(error):
        check(statement, found)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6, unique=True), st.integers(0, 5), st.integers(0, 31), st.integers(1, 255))
def test_one_byte_of_one_signal_is_another_approval(entries: list[int], which: int, at: int, flip: int) -> None:
    """Whatever byte of whichever hash differs."""
    entries.sort()
    found = waiting(*entries)
    entry = entries[which % len(entries)]
    other = bytearray(found[entry].signal_hash)
    other[at] ^= flip
    found[entry] = replace(found[entry], signal_hash=bytes(other))
    with pytest.raises(Unproven):
        check(signed(*entries), found)


def test_a_proposal_that_never_expires_waits() -> None:
    """`expires_ns` None."""
    assert check(signed(3), waiting(3, expires_ns=None))


@pytest.mark.parametrize("items", [(), (Item(2, bytes(32)), Item(1, bytes(32))), (Item(1, bytes(31)),)])
def test_a_root_is_only_made_of_what_can_be_signed(items: tuple[Item, ...]) -> None:
    """Ours to get right."""
    with pytest.raises(Misuse):
        approval_root(items)
