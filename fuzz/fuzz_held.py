"""What a house shows of a held signal, what a program says through it, and what a client sends to have one run.

    python fuzz/fuzz_held.py -runs=100000

Whatever comes, only the five errors come out; what is proven keeps the one root that an approval signs; a body that was read has one form.
"""

import sys
from typing import Any, Final

import atheris

with atheris.instrument_imports():
    from tallystick.canonical import encode
    from tallystick.errors import TallyError
    from tallystick.keys import KeyId
    from tallystick.node.held import effect_of, prove
    from tallystick.node.programs import read_request
    from tallystick.node.running import Frames
    from tallystick.node.speaking import SignalSource
    from tallystick.primitives import sha256
    from tests.gate.world import Key

HOUSE: Final = KeyId(sha256(b"a house"))
AGENT: Final = Key("agent")
SIGNAL: Final = SignalSource(AGENT, HOUSE).sign("llm", "write", "archive.put", target=("PUT", "/v1/files/a"), body=b"x")
PARTS: Final = {"signal": SIGNAL.raw, "opening": SIGNAL.opening, "key": AGENT.public.cose_key()}
SHOWN: Final[dict[str, Any]] = {
    "id": 81, "state": "held", "why": "", "reason": "rights", "rule": "", "facts": [], "time_ns": 1, "expires_ns": 2, "replaces": None,
    "signal_entry": 80, "body_bytes": 1, "chain": [],
    "signer": {"key": AGENT.public.key_id.hex(), "number": 1, "label": "", "kind": "source", "state": "standing"},
}  # fmt: skip


def target(data: bytes) -> None:
    """The first byte chooses what the others are."""
    if not data:
        return
    choice, foreign = data[0] % 6, data[1:]
    try:
        if choice < 3:
            name = ("signal", "opening", "key")[choice]
            parts = PARTS | {name: foreign}
            held = prove({**SHOWN, **{key: value.hex() for key, value in parts.items()}}, bytes(HOUSE))  # type: ignore[typeddict-item]
            if held.item.signal_hash != sha256(parts["signal"]) or held.key != AGENT.public.key_id:
                raise AssertionError("proven, and not what was shown")
        elif choice == 3:
            held = prove({**SHOWN, **{key: value.hex() for key, value in PARTS.items()}}, bytes(HOUSE))  # type: ignore[typeddict-item]
            effect_of(held, foreign, foreign[1:] or None)
        elif choice == 4:
            said: list[bytes] = []
            frames = Frames(lambda _, chunk: said.append(chunk), "attic")
            for at in range(0, len(foreign), 7):
                frames.feed(foreign[at : at + 7])
            if sum(map(len, said)) > len(foreign):
                raise AssertionError("more was said than came")
            frames.end()
        else:
            found = read_request(foreign)
            if foreign not in (b"", encode(list(found))):
                raise AssertionError("a body of another form")
    except TallyError:
        return


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
