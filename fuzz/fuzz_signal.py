"""Fuzz the gate's readers: what they accept, their writers write back; they raise Malformed (a bundle also Unproven) and nothing else.

python fuzz/fuzz_signal.py -runs=100000
"""

import contextlib
import sys

import atheris

with atheris.instrument_imports():
    from tallystick.errors import Malformed, Unproven
    from tallystick.gate.headers import end_to_end, parse_headers
    from tallystick.gate.opening import check_opening, encode_opening, open_signal, parse_opening
    from tallystick.gate.signal import Signal, encode_signal, parse_payload, parse_signal
    from tallystick.gate.statement import parse_bundle


def target(data: bytes) -> None:
    """Give the input to every reader of the gate."""
    claims: Signal | None = None
    with contextlib.suppress(Malformed):
        claims = parse_payload(data)
        assert encode_signal(claims) == data
    with contextlib.suppress(Malformed):
        claims = parse_signal(data).claims
    with contextlib.suppress(Malformed):
        opening = parse_opening(data)
        assert encode_opening(opening) == data
        if claims is not None:
            with contextlib.suppress(Unproven):
                check_opening(claims, opening)
                assert open_signal(claims, data)[0] == opening
    if claims is not None:
        with contextlib.suppress(Malformed, Unproven):
            open_signal(claims, data)
    with contextlib.suppress(Malformed, Unproven):
        parse_bundle(data)
    lines = [line.partition(b":") for line in data.split(b"\r\n")[:64]]
    headers = [(name, value) for name, _, value in lines]
    with contextlib.suppress(Malformed):
        end_to_end(headers)
    with contextlib.suppress(Malformed):
        parse_headers(headers)


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
