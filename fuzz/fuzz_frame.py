"""Bytes at either end of a sealed stream, before and after key confirmation, raw and inside frames that verify.

    python fuzz/fuzz_frame.py -runs=100000

Whatever comes, `receive` raises nothing; raw bytes deliver nothing; and a session that was cut stays cut.
"""

import contextlib
import sys
from typing import Final

import atheris

with atheris.instrument_imports():
    from tallystick.channel.event import Cut, Data
    from tallystick.channel.frame import FrameReader
    from tallystick.channel.session import Session
    from tallystick.errors import Malformed
    from tests.channel.scene import NOW, SECOND, Stream, pairing_stream, stream


_STEP: Final = 5 * SECOND


def target(data: bytes) -> None:
    """One input: the first byte chooses the scene, the rest is cut into pieces or frames by its own bytes."""
    if not data:
        return
    choice, foreign = data[0], data[1:]
    with contextlib.suppress(Malformed):
        for ciphertext in FrameReader(1024 if choice & 1 else 65_535).feed(foreign):
            if len(ciphertext) < 17:
                raise AssertionError("a ciphertext without room for a type")
    pair: Stream = (pairing_stream if choice & 2 else stream)(confirmed=not choice & 4)
    receiver: Session = pair.client if choice & 8 else pair.house
    sender: Session = pair.house if choice & 8 else pair.client
    now = NOW
    at = 0
    over = False
    while at < len(foreign):
        size = foreign[at] + 1
        piece, at = foreign[at + 1 : at + 1 + size], at + 1 + size
        if choice & 16:  # a frame that verifies; its plaintext is foreign
            sealed = sender._sealer._cipher.encrypt_with_ad(b"", piece)
            piece = len(sealed).to_bytes(2, "big") + sealed
        now += _STEP
        events = receiver.receive(piece, now)
        if over and events:
            raise AssertionError("spoke after its last word")
        if not choice & 16 and any(isinstance(event, Data) for event in events):
            raise AssertionError("raw bytes were delivered")
        over = over or any(isinstance(event, Cut) for event in events)
        if over is not receiver.finished and not (receiver.sent_end and receiver.received_end):
            raise AssertionError("cut and finished disagree")
        for event in receiver.handle_timer(now):
            over = over or isinstance(event, Cut)
        receiver.outgoing()
    receiver.eof()
    if not receiver.finished:
        raise AssertionError("not finished after the end of the connection")


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
