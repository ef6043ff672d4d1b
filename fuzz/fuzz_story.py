"""Stories: whatever a ledger's entries hold, a signal is read or Malformed, both readers agree, and every story ends in text."""

import sys
from collections.abc import Iterator, Sequence

import atheris

with atheris.instrument_imports():
    from tallystick.canonical import encode
    from tallystick.errors import Malformed
    from tallystick.keys import KeyKind, PublicKey
    from tallystick.ledger import said
    from tallystick.ledger.event import Event, Kind
    from tallystick.ledger.said import Said, read_said
    from tallystick.ledger.story import explain
    from tallystick.ledger.telling import Known, tell

KEY = PublicKey(KeyKind.ED25519, bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"))  # RFC 8032 7.1
HEAD = b"\x84\x58\x26\xa2\x01\x27\x04\x58\x20" + KEY.key_id + b"\xa0"


class Entries:
    """Signals by index, whose references are looked up by their first byte: a house that finds what it likes."""

    def __init__(self, signals: Sequence[bytes]) -> None:
        context = (0, len(signals), bytes(32))
        self.events = [Event.of(Kind.SIGNAL, at, "gate", signal=raw, verdict="allow", context=context) for at, raw in enumerate(signals)]

    def event(self, index: int) -> Event | None:
        return self.events[index] if 0 <= index < len(self.events) else None

    def behind(self, index: int) -> Iterator[tuple[int, Event]]:
        return iter(list(enumerate(self.events))[index + 1 :])

    def find(self, reference: bytes) -> int | None:
        return reference[0]

    def is_origin(self, origin_hash: bytes) -> bool:
        return origin_hash[0] < 128

    def public(self, key_id: bytes) -> PublicKey | None:
        return KEY if key_id == KEY.key_id else None

    def delivered(self, key_id: bytes, begun: int, last: int) -> list[bytes]:
        return [bytes((last & 255, *bytes(31)))]

    def outcome(self, entry: int, proposals: Sequence[int], words: Said) -> Iterator[tuple[int, Event]]:
        return iter(())

    def before(self, entry: int, words: Said) -> int | None:
        return entry - 1 if entry else None


def target(data: bytes) -> None:
    """Payloads in signatures that do not hold, one after the other."""
    signals = []
    for payload in data.split(b"\xff\xfe")[:16]:
        if not payload or len(payload) > 16_000:
            continue
        signals.append(HEAD + encode(payload) + b"\x58\x40" + bytes(64))
        quick = said._read_plain(payload)
        try:
            full = said._read_any(payload)
        except Malformed:
            if quick is not None:
                raise AssertionError("the quick reader takes what the full one refuses") from None
            continue
        if quick not in (None, full):
            raise AssertionError("two readings of one payload")
        read_said(signals[-1])
    if not signals:
        return
    try:
        story = explain(Entries(signals), len(signals) - 1)
    except Malformed:
        return
    if any(link.proven for link in story.links):
        raise AssertionError("a link is called proven under a signature that does not hold")
    tell(story, Known())


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
