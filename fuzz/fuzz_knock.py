"""Datagrams at the house's door and answers at the client's: nothing escapes, nothing is answered, nothing changes.

    python fuzz/fuzz_knock.py -runs=100000

The first byte of the input chooses: the rest raw, spliced into a genuine knock, invite knock or `time?`, or behind a MAC
that fits (what only a paired machine can send, up to Diffie-Hellman).
"""

import sys
from typing import Final

import atheris

with atheris.instrument_imports():
    from tallystick.channel.datagram import Mode
    from tallystick.channel.knock import SILENCE, Admit, Check
    from tallystick.channel.knocker import Knocker, ask_time, read_time
    from tallystick.pair.pairing import PairType
    from tallystick.primitives import blake2s_keyed
    from tests.channel.scene import NOW, House, key, seeded


_HOUSE: Final = House(pairs=2)
_INVITE: Final = _HOUSE.add_invite(seeded("invite")[:16])
_CLIENT: Final = _HOUSE.client
_SENT: Final = _CLIENT.knock()
_GENUINE: Final = (
    _SENT.datagram,
    Knocker.of_invite(keys=_INVITE, static=key("newcomer"), house_static=_HOUSE.static.public, pair_type=PairType.INPUT)
    .knock(time_ns=NOW, tcp_port=50_001, mode=Mode.OPEN, ephemeral=key("e"))
    .datagram,
    ask_time(_CLIENT.keys, 0),
)


def target(data: bytes) -> None:
    """One input."""
    if len(data) < 3:
        return
    choice, at, foreign = data[0], data[1], data[2:]
    if choice < 64:
        datagram = foreign
    else:
        genuine = _GENUINE[choice % 3]
        datagram = (genuine[:at] + foreign + genuine[at + len(foreign) :])[: len(genuine)]
        if datagram == genuine:
            return
        if choice >= 192 and datagram[:20] == _GENUINE[0][:20]:
            datagram = datagram[:-16] + blake2s_keyed(_CLIENT.keys.to_house.mac, datagram[:-16], 16)
    before = _HOUSE.memory()
    outcome = _HOUSE.hears(datagram)
    if isinstance(outcome, Admit):  # another time under a MAC that fits is another knock
        if datagram[28:92] != _SENT.datagram[28:92]:
            raise AssertionError(f"admitted {datagram.hex()}")
        _HOUSE.keeper.remove_pair(1)
        _HOUSE.add(_CLIENT)
        _HOUSE.keeper.ended(outcome.ticket)
    elif outcome is not SILENCE:
        raise AssertionError(f"answered {datagram.hex()}")
    elif choice < 192 and (_HOUSE.memory() != before or _HOUSE.keeper.counts[Check.PAYLOAD]):
        raise AssertionError(f"remembered {datagram.hex()}")
    for answer in (foreign, b"\4\1\0\0" + foreign[:64].ljust(64, b"\0"), b"\5\1\0\0" + foreign[:24].ljust(24, b"\0")):
        if _SENT.read(answer) is not None or read_time(_CLIENT.keys, 0, answer) is not None:
            raise AssertionError(f"believed {answer.hex()}")


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
