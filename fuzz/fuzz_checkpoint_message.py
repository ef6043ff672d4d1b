"""Fuzz the reader of checkpoint messages: one form for each, Malformed for all else; and what a cosignature line may do.

python fuzz/fuzz_checkpoint_message.py -runs=100000
"""

import contextlib
import sys

import atheris

with atheris.instrument_imports():
    from tallystick.errors import Malformed
    from tallystick.node.checkpointwire import Ask, Closed, Cosign, Follow, Show, read_message, write_message
    from tallystick.tlog.checkpoint import read_checkpoint
    from tallystick.tlog.note import parse_signature


def target(data: bytes) -> None:
    """Read it as a message; what is read is written as the same bytes, and what it carries is read as its receiver would."""
    with contextlib.suppress(Malformed):
        message = read_message(data)
        assert write_message(message) == data
        match message:
            case Ask(note=note) | Show(note=note) | Closed(note=note) | Follow(note=note):
                read_checkpoint(note)
            case Cosign(line=line):
                parse_signature(line.removesuffix("\n"))


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
