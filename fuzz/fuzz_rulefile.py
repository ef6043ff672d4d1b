"""Fuzz the readers of what an owner writes: rule files and schedules.

Invariant: Malformed, or a value whose one written form is read as the same value, and which can be asked.

python fuzz/fuzz_rulefile.py -runs=100000
"""

import contextlib
import sys

import atheris

with atheris.instrument_imports():
    from tallystick.errors import Malformed
    from tallystick.facts.claim import Claim, look
    from tallystick.facts.fact import Fact, KnownKey, Point, Sighting, Slice
    from tallystick.facts.rulefile import read_rules
    from tallystick.facts.schedule import parse_schedule
    from tallystick.keys import KeyId

KEY = KeyId(bytes(32))
NOON = 1_795_348_800 * 10**9
VIEW = look(
    Claim("sensor/camera", "propose", "sensor.frame", "/v1/signals", Point(525_200_000, 134_050_000), NOON, NOON),
    Slice(
        key=KnownKey(key_id=KEY, number=12, kind="source", state="standing", classes=("sensor",), actions=("read",), label="door"),
        sightings=(Sighting(entry=7, observed_ns=NOON - 10**9, place=Point(0, 0)),),
        facts=(
            Fact(entry=8, predicate="w", subject=KEY, value=3, observed_ns=NOON),
            Fact(entry=9, predicate="v", subject=None, value="ok", observed_ns=0),
        ),
    ),
)
GOOD = b"""refuse a when class is sensor/camera and hour in 22..5
  and fact w of key is not "x\\"y" and fact v is older than 90m
hold b when speed > 300 and weekday not in [sat, sun] and place is present and label is "d*"
"""


def target(data: bytes) -> None:
    """Read the input alone, and in the middle of a file that is good; then as a schedule."""
    at = len(data) * 7 % len(GOOD)
    for text in (data, GOOD[:at] + data + GOOD[at:], GOOD[:at] + data + GOOD[at + len(data) :]):
        with contextlib.suppress(Malformed):
            rules = read_rules(text)
            assert read_rules(rules.text().encode()) == rules
            assert len(rules.object_to(VIEW)) <= len(rules.rules)
    expression = data.decode("utf-8", "surrogateescape")
    with contextlib.suppress(Malformed):
        schedule = parse_schedule(expression)
        assert schedule.text == expression
        schedule.within(NOON, 60)


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
