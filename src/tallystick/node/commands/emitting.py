"""emit: sign a signal with a source key of this machine, and hand it to the gate of its house, here or over the pair."""

import sys
from pathlib import Path
from typing import Annotated, Any, Final, TypedDict

import msgspec

from tallystick.errors import Misuse, Unavailable
from tallystick.facts.fact import Place, read_place
from tallystick.keys import KeyId
from tallystick.node.client import HouseSession
from tallystick.node.commands.here import run
from tallystick.node.commands.where import the_house
from tallystick.node.files import read_file
from tallystick.node.gateframe import Admit, write_request
from tallystick.node.gatewords import Verdict
from tallystick.node.localhouse import open_house
from tallystick.node.machine import Machine
from tallystick.node.rightsview import find_key
from tallystick.node.settings import Settings
from tallystick.node.speaking import SignalSource, SignedSignal
from tallystick.pair.pairing import Role
from tallystick.passage.admission import MAX_BODY_BYTES

_HEX: Final = frozenset("0123456789abcdef")
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Handed(TypedDict):
    """The answer of `POST /v1/signals`."""

    verdict: str
    entry: _Count | None
    reduced: bool
    proposal: _Count | None
    status: _Count | None


def emit(
    settings: Settings,
    *,
    key: str,
    signal_class: str,
    action: str,
    verb: str,
    target: str | None,
    body: str | None,
    place: str | None,
    prev: tuple[str, ...],
    deliver_to: tuple[str, ...],
    house: str,
) -> dict[str, Any]:
    """Sign one signal and hand it in.

    Args: key: label or KeyId in this machine's vault, or the path of a key file.  target: a method and a path.  body: a file, `-` for
        standard input.  place: `LATITUDE,LONGITUDE[,METRES]` in degrees, or a name.  prev: references in hexadecimal.
    """
    content = None if body is None else _body(body)
    said: dict[str, Any] = {
        "target": None if target is None else _target(target),
        "body": content,
        "place": None if place is None else _place(place),
        "prev": tuple(_reference(each) for each in prev),
    }

    def sign(source: SignalSource) -> SignedSignal:
        return source.sign(signal_class, action, verb, **said)

    with Machine.open(settings) as machine:
        row = None if machine.role is Role.HOUSE else the_house(machine, house)
        house_id = machine.house_id if row is None else row.house
        if house_id is None:
            raise AssertionError("a client's half names its house")
        source = _source(machine, key, house_id)
        if row is not None and deliver_to:
            raise Misuse("a pair fills no context", "the proxy of the house does")
        delivered = tuple(bytes(find_key(machine.store, each).key_id) for each in deliver_to)

        async def over_the_pair() -> Verdict:
            if row is None:
                raise AssertionError("only a client goes over its pair")
            async with await HouseSession.open(machine, row) as session:
                source.clock = session.now_ns
                signal.append(sign(source))
                frame = write_request(Admit(signal=signal[0].raw, opening=signal[0].opening, body=signal[0].body))
                found: Handed = await session.post_json("/v1/signals", frame, verb="signal.submit", kind=Handed)
            return Verdict(
                word=found["verdict"], entry=found["entry"], reduced=found["reduced"], proposal=found["proposal"], status=found["status"]
            )

        async def here() -> Verdict:
            async with open_house(settings.home) as gate:
                signal.append(sign(source))
                return await gate.admit(signal[0], deliver_to=delivered)

        signal: list[SignedSignal] = []
        verdict = run(here() if row is None else over_the_pair())
    return {
        "verdict": verdict.word,
        "entry": verdict.entry,
        "proposal": verdict.proposal,
        "reduced": verdict.reduced,
        "status": verdict.status,
        "reference": signal[0].reference.hex(),
        "key": str(source.key_id),
    }


def _source(machine: Machine, key: str, house_id: KeyId) -> SignalSource:
    if "/" in key:
        return SignalSource.read(Path(key), house_id)
    source = SignalSource.load(machine, key)
    source.house = house_id
    return source


def _target(text: str) -> tuple[str, str]:
    method, space, path = text.partition(" ")
    if not space:
        raise Misuse(f"{text[:60]!r} is no target", 'a method and a path: --target "PUT /door/1"')
    return method, path


def _body(name: str) -> bytes:
    if name != "-":
        return read_file(Path(name), MAX_BODY_BYTES)
    try:
        data = sys.stdin.buffer.read(MAX_BODY_BYTES + 1)
    except OSError as error:
        raise Unavailable(f"cannot read standard input: {error.strerror}") from error
    if len(data) > MAX_BODY_BYTES:
        raise Misuse(f"the body is longer than {MAX_BODY_BYTES} bytes", "store it first, and name it in the signal")
    return data


def _place(text: str) -> Place:
    parts = text.split(",")
    if len(parts) not in (2, 3):
        return read_place(text)
    try:
        latitude, longitude = (round(float(part) * 10**7) for part in parts[:2])
        return read_place([latitude, longitude, int(parts[2]) if len(parts) == 3 else 0])
    except (ValueError, OverflowError):
        raise Misuse(f"{text[:60]!r} is no place", "52.37,4.89,20 (degrees, degrees, metres), or a name") from None


def _reference(text: str) -> bytes:
    if len(text) != 64 or not set(text) <= _HEX:
        raise Misuse(f"{text[:70]!r} is no reference", "64 digits in hexadecimal: `reference` of an earlier `tally emit --json`")
    return bytes.fromhex(text)
