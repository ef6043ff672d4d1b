"""What a verification of this machine's or a foreign folder needs beside the files: who knows what a signal commits to."""

from tallystick.errors import TallyError
from tallystick.gate.opening import check_opening, parse_opening
from tallystick.gate.signal import parse_signal
from tallystick.ledger.event import Event


def judge(event: Event, opening: bytes) -> str:
    """What is wrong with the opening of an entry; empty when it is exactly what the entry's signal commits to."""
    if "signal" not in event.fields:
        return ""
    try:
        check_opening(parse_signal(event.blob("signal")).claims, parse_opening(opening))
    except TallyError as error:
        return error.message
    return ""
