"""Rows and entries as JSON: the same shape for every kind and state, no bytes, nothing that a reader may not know."""

import json
from pathlib import Path

import msgspec
import pytest

from tallystick.errors import Misuse
from tallystick.ledger import entry
from tallystick.ledger.event import Event, Kind
from tallystick.node.view import KIND_WORDS, entry_json, kind_of, pair_json, plain, proposal_json
from tallystick.pair.pairing import PairType
from tallystick.storage.rows import EntryRow
from tests.ledger.samples import full, least
from tests.node.estate import Estate
from tests.storage.house import Key, signal

ENTRY_KEYS = {"index", "time_ns", "kind", "name", "pair", "key", "fields"}
MINE, THEIRS = b"\x01" * 32, b"\x02" * 32
NAMES = {MINE: "mine", THEIRS: "theirs"}


def row(event: Event, index: int = 7) -> EntryRow:
    return EntryRow(index, entry.encode(event))


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.name)
@pytest.mark.parametrize("sample", [full, least], ids=["every field", "fewest fields"])
def test_every_entry_can_be_shown(kind: Kind, sample: object) -> None:
    """Whatever the table allows is JSON with the same seven keys, and comes back as it was."""
    shown = entry_json(row(sample(kind)), {})  # type: ignore[operator]
    assert shown.keys() == ENTRY_KEYS
    assert json.loads(msgspec.json.encode(shown)) == shown
    assert kind_of(shown["kind"]) is kind


def test_every_kind_has_its_own_word() -> None:
    """Lower case, dashes; read in any case; everything else is Misuse, with examples."""
    assert len(set(KIND_WORDS.values())) == len(Kind)
    assert kind_of("PAIRING-approved") is Kind.PAIRING_APPROVED
    for word in ("", "pairing_approved", "nonsense", "x" * 9000):
        with pytest.raises(Misuse) as caught:
            kind_of(word)
        assert len(caught.value.message) < 100 and "answer" in caught.value.hint


def test_of_a_signal_it_shows_what_it_asks() -> None:
    """Verb, action, class and number, not the bytes; bytes that are no signal are shown as bytes."""
    raw = signal(Key.named("laptop"), 3)
    shown = entry_json(row(Event.of(Kind.SIGNAL, 1, "pair", signal=raw, verdict="allow", pairing=MINE)), NAMES)
    asked = shown["fields"]["signal"]
    assert (asked["verb"], asked["action"], asked["class"], asked["n"]) == ("archive.get", "read", "machine", 3)
    assert (shown["name"], shown["pair"]) == ("mine", MINE.hex())
    junk = entry_json(row(Event.of(Kind.FINDING, 1, signal_hash=MINE, layer="crypto", outcome="pass", signal=b"junk")), NAMES)
    assert junk["fields"]["signal"] == b"junk".hex()


def test_a_reader_learns_nothing_of_other_pairs() -> None:
    """A severance of its own pair that came through another: what was said and by which key, not through whom."""
    event = Event.of(Kind.SEVERED, 1, "pair", pair=MINE, pairing=THEIRS, session=b"\x03" * 32, key=b"\x04" * 32, by="statement")
    everything, own = entry_json(row(event), NAMES), entry_json(row(event), NAMES, reader=MINE)
    assert (everything["pair"], everything["name"], "session" in everything["fields"]) == (THEIRS.hex(), "theirs", True)
    assert (own["pair"], own["name"], own["key"]) == (MINE.hex(), "mine", "04" * 32)
    assert THEIRS.hex() not in json.dumps(own) and "03" * 32 not in json.dumps(own)


def test_plain_values() -> None:
    """Bytes as hexadecimal, arrays as lists, tables as objects, at any depth."""
    assert plain((b"\x00\xff", {"a": (1, b"")}, None, True, "ü")) == ["00ff", {"a": [1, ""]}, None, True, "ü"]


def test_pairs_keys_and_proposals_have_one_shape(tmp_path: Path) -> None:
    """Waiting, standing or severed, with everything known or nothing: the same keys, of JSON's types."""
    estate = Estate.at(tmp_path)
    try:
        waiting, standing = estate.propose("camera", PairType.USER), estate.pair("laptop")
        live = {
            "last_knock_ns": 1,
            "address": "192.0.2.7",
            "received_bytes": 2,
            "sent_bytes": 3,
            "sessions": 4,
            "mode": 1,
            "visibility": "open",
        }
        shown = [pair_json(waiting, "", {}), pair_json(standing, "file", live), pair_json(estate.at_client("laptop"), "", {})]
        assert len({frozenset(each) for each in shown}) == 1
        assert [(each["name"], each["state"], each["role"]) for each in shown] == [
            ("camera", "waiting", "client"),
            ("laptop", "standing", "client"),
            ("attic", "standing", "house"),
        ]
        assert (shown[0]["received_bytes"], shown[0]["last_knock_ns"], shown[1]["sessions"]) == (0, None, 4)
        proposal = estate.house.store.entry(waiting.created)
        assert proposal is not None
        bare = proposal_json(waiting, proposal.event, None)
        ext = {
            "words": b"aardvark adroitness absurd adviser",
            "digits": b"123456-789012",
            "facts": b"name=pi\nos=linux\nkey_class=file\nodd",
        }
        told = Event.of(Kind.PAIRING_PROPOSED, 1, "invite", **{**proposal.event.fields, "ext": ext})
        full_one = proposal_json(waiting, told, "192.0.2.7")
        assert bare.keys() == full_one.keys()
        assert full_one["words"] == ["aardvark", "adroitness", "absurd", "adviser"]
        assert (full_one["key_class"], full_one["facts"]["os"], bare["words"], bare["facts"]) == ("file", "linux", [""], {})
        assert json.loads(msgspec.json.encode([*shown, bare, full_one]))
    finally:
        estate.close()
