"""What a verification of this machine's or a foreign folder needs beside the files: who knows what a signal commits to."""

from tallystick.canonical import decode, encode
from tallystick.errors import TallyError
from tallystick.gate.opening import check_opening, parse_opening
from tallystick.gate.signal import parse_signal
from tallystick.ledger.event import Event, Kind
from tallystick.primitives import sha256
from tallystick.storage.clear import OPENED, clear_value


def judge(event: Event, opening: bytes) -> str:
    """What is wrong with the opening of an entry; empty when it is exactly what the entry, or its signal, commits to."""
    try:
        if event.kind is Kind.QUERY:
            match decode(opening):
                case [bytes(salt), dict(asked)] if sha256(b"tally query v1", salt, encode(asked)) == event.blob("digest"):
                    return ""
            return "it is not the filter that the entry commits to"
        if event.kind is Kind.PROPOSAL and event.get("body") is not None:
            return "" if sha256(opening) == event.blob("body") else "it is not the body that waits with this proposal"
        if event.kind in OPENED:
            return "" if clear_value(event, opening) is not None else "this entry commits to nothing"
        if event.kind is not Kind.SIGNAL:
            return "this entry commits to nothing"
        check_opening(parse_signal(event.blob("signal")).claims, parse_opening(opening))
    except TallyError as error:
        return error.message
    return ""
