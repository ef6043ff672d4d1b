"""Fuzz the reader of behaviour profiles.

Invariant: Malformed and nothing changed, or a profile with exactly these bytes, which can be asked and taught.

python fuzz/fuzz_behaviour.py -runs=100000
"""

import sys

import atheris

with atheris.instrument_imports():
    from tallystick.errors import Malformed
    from tallystick.evidence.behaviour import MAX_BYTES, Peers, Profile, parse, word

WORDS = [(word("verb", f"v.{n % 7}"), word("hour", str(n % 5))) for n in range(430)]


def _good() -> bytes:
    profile = Profile(Peers())
    for each in WORDS:
        profile.observe(each)
    return profile.encode()


GOOD = _good()


def target(data: bytes) -> None:
    """Read the input alone, and in the middle of a profile that is good."""
    at = len(data) * 7 % len(GOOD)
    for raw in (data, GOOD[:at] + data + GOOD[at:], GOOD[:at] + data + GOOD[at + len(data) :]):
        peers = Peers()
        try:
            profile = parse(raw, peers)
        except Malformed:
            assert not peers.counts
            continue
        assert profile.encode() == raw
        for each in WORDS[:110]:
            profile.observe(each)
        assert len(profile.encode()) <= MAX_BYTES


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
