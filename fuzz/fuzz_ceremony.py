"""Fuzz the ceremony: both machines in each of their states take any bytes, raise nothing, and keep nothing that they must not.

The first byte chooses the state, the rest is the message; readers of invites and statements get it too.

python fuzz/fuzz_ceremony.py -runs=100000
"""

import contextlib
import sys

import atheris

with atheris.instrument_imports():
    from tallystick.errors import Malformed
    from tallystick.pair.invite import invite_text, parse_invite
    from tallystick.pair.message import encode_message, parse_message
    from tallystick.pair.outcome import KEPT, Ended, State
    from tallystick.pair.pairing import PairType, Role
    from tallystick.pair.statement import bundle_body, encode_statement, parse_statement
    from tests.pair.world import Meeting


def _states() -> list[tuple[Meeting, str]]:
    """Both machines at every point of an honest ceremony."""
    stops = [Meeting.of(PairType.ADMIN, tamper=lambda n, _, body, stop=stop: [body] if n < stop else []).run() for stop in range(10)]
    return [(meeting, side) for meeting in stops for side in ("client", "house")]


STATES = _states()


def target(data: bytes) -> None:
    """Give the input to a machine in one of its states, and to the readers."""
    if not data:
        return
    meeting, side = STATES[data[0] % len(STATES)]
    body = data[1:]
    before = meeting.client if side == "client" else meeting.house
    after, step = before.receive(body)
    if after.state is State.ABORTED and before.state is not State.STANDING:
        assert isinstance(step.effect, Ended)
        assert (step.effect.forget is not None) == (before.state in KEPT)
    for sender in Role:
        with contextlib.suppress(Malformed):
            assert encode_message(parse_message(body, sender=sender)) == body
    with contextlib.suppress(Malformed):
        assert encode_statement(parse_statement(body)) == body
    with contextlib.suppress(Malformed):
        bundle_body(body)
    with contextlib.suppress(Malformed):
        invite = parse_invite(body.decode("utf-8", "replace"))
        assert parse_invite(invite_text(invite)) == invite


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
