"""Leaves: one event has one form, and nothing else is an event."""

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick import canonical
from tallystick.errors import Malformed, Misuse
from tallystick.ledger import entry
from tallystick.ledger.event import Event, Kind, field_number
from tallystick.ledger.field import UINT_MAX
from tests.ledger.samples import full, least

SEVERED: dict[Any, Any] = {1: 1, 2: 30, 3: 5, 4: "local", 16: bytes(32), 40: "local"}


def test_a_leaf_by_hand() -> None:
    """The bytes of a small event are those of its map in deterministic CBOR."""
    event = Event.of(Kind.SEVERED, 5, "local", pair=bytes(32), by="local")
    leaf = entry.encode(event)
    assert (
        leaf
        == canonical.encode(SEVERED)
        == bytes.fromhex("a60101021" + "81e0305" + "04656c6f63616c" + "105820" + "00" * 32 + "1828656c6f63616c")
    )
    assert entry.decode(leaf) == event


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_event_survives(data: st.DataObject) -> None:
    """Any subset of the allowed fields of any kind is written and read back, in the order of its numbers."""
    kind = data.draw(st.sampled_from(list(Kind)))
    whole, core = full(kind), least(kind)
    optional = sorted(set(whole.fields) - set(core.fields))
    chosen = data.draw(st.sets(st.sampled_from(optional))) if optional else set()
    event = Event.of(kind, data.draw(st.integers(0, UINT_MAX)), "house", **{name: whole[name] for name in (*core.fields, *chosen)})
    leaf = entry.encode(event)
    assert entry.decode(leaf) == event
    values = canonical.decode(leaf)
    assert isinstance(values, dict) and list(values) == sorted(values, key=int)
    assert leaf == canonical.encode(values)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({1: 2}, "version"),
        ({1: True}, "version"),
        ({1: None}, "version"),
        ({2: 999}, "kind"),
        ({2: "30"}, "kind"),
        ({2: True}, "kind"),
        ({3: -1}, "time"),
        ({3: UINT_MAX + 1}, "time"),
        ({3: True}, "time"),
        ({4: "stranger"}, "actor"),
        ({4: b"local"}, "actor"),
        ({16: bytes(31)}, "pair"),
        ({16: "x" * 32}, "pair"),
        ({40: "nobody"}, "by"),
        ({40: None}, "by"),
        ({200: 1}, "no field"),
        ({"pair": 1}, "no field"),
        ({24: "ADMIN"}, "no field"),
        ({10: False}, "reduced"),
        ({13: "Upper"}, "reason"),
        ({13: ""}, "reason"),
        ({13: "a" * 65}, "reason"),
        ({13: "-a"}, "reason"),
        ({13: "a\n"}, "reason"),
        ({15: {}}, "ext"),
        ({15: {1: b""}}, "ext"),
        ({15: {"a": 1}}, "ext"),
        ({15: {f"a{n}": b"" for n in range(17)}}, "ext"),
        ({15: {"a": bytes(1025)}}, "ext"),
    ],
)
def test_what_the_table_does_not_allow_is_malformed(change: dict[Any, Any], says: str) -> None:
    """Wrong versions, kinds, numbers, types, lengths and words: each is refused by name."""
    with pytest.raises(Malformed, match=says):
        entry.decode(canonical.encode(SEVERED | change))


@pytest.mark.parametrize("missing", [1, 2, 3, 4, 16, 40])
def test_what_must_be_there_must_be_there(missing: int) -> None:
    """An event that lacks a required field is refused."""
    with pytest.raises(Malformed):
        entry.decode(canonical.encode({number: value for number, value in SEVERED.items() if number != missing}))


def test_other_encodings_are_malformed() -> None:
    """Bytes that are not the one encoding: cut, prolonged, unsorted, too long, not a map."""
    leaf = canonical.encode(SEVERED)
    for cut in range(len(leaf)):
        with pytest.raises(Malformed):
            entry.decode(leaf[:cut])
    unsorted = b"\xa6" + leaf[3:5] + leaf[1:3] + leaf[5:]
    for other in (leaf + b"\0", unsorted, b"\x80", b"\x01", b"", bytes(70_000)):
        with pytest.raises(Malformed):
            entry.decode(other)


def test_every_flipped_bit_is_another_event_or_none() -> None:
    """No flipped bit of a leaf reads as the same event."""
    event = Event.of(Kind.SIGNAL, 10**18, "pair", verdict="allow", signal=b"signal", reason="x", ext={"a": b"b"})
    leaf = entry.encode(event)
    for at in range(len(leaf) * 8):
        flipped = bytearray(leaf)
        flipped[at // 8] ^= 1 << at % 8
        with contextlib.suppress(Malformed):
            assert entry.decode(bytes(flipped)) != event


@pytest.mark.parametrize(
    "label",
    ["", "x" * 64, "\u00e9" * 32, "a\nb", "a\0b", "a\x7fb", "a\x85b", "a\u202eb", "a\u2028b", "\ud800"],
)
def test_labels_are_lines_people_can_read(label: str) -> None:
    """Empty, long, broken and direction-changing labels are refused; letters of any script are not."""
    with pytest.raises(Misuse):
        Event.of(Kind.INVITE_CREATED, 1, invite=bytes(32), pair_type="USER", expires=1, label=label)
    Event.of(Kind.INVITE_CREATED, 1, invite=bytes(32), pair_type="USER", expires=1, label="Bj\u00f6rns \u7535\u8111 \U0001f4bb")


def test_our_mistakes_are_misuse() -> None:
    """An event that the table does not allow cannot be made; None means left out."""
    wrong: tuple[dict[str, Any], ...] = (
        {},
        {"pair": bytes(32)},
        {"pair": bytes(32), "by": "local", "invite": bytes(32)},
        {"pair": 1, "by": "local"},
    )
    for fields in wrong:
        with pytest.raises(Misuse):
            Event.of(Kind.SEVERED, 1, **fields)
    event = Event.of(Kind.SEVERED, 1, pair=bytes(32), by="local", reason=None)
    assert "reason" not in event.fields and event.get("reason") is None and event["by"] == "local"
    with pytest.raises(Misuse):
        field_number("nothing")
    assert (event.blob("pair"), event.number("since", 7), event.text("label")) == (bytes(32), 7, "")
    for call in (event.blob, event.number):
        with pytest.raises(AssertionError):
            call("by")
    with pytest.raises(AssertionError):
        event.text("pair")


def test_arrays_become_tuples() -> None:
    """A list and a tuple make the same event."""
    one = Event.of(Kind.FINDING, 1, signal_hash=bytes(32), layer="crypto", outcome="pass", facts=[1, 2])
    other = Event.of(Kind.FINDING, 1, signal_hash=bytes(32), layer="crypto", outcome="pass", facts=(1, 2))
    assert one == other and one["facts"] == (1, 2) and entry.decode(entry.encode(one)) == one
