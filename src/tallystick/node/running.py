"""A named program run at a house, from a client's side: the person's word for it, and its answer frame by frame (docs/spec/door.md, 7)."""

import struct
from collections.abc import Callable
from typing import Final

from tallystick.canonical import encode
from tallystick.errors import Malformed, Refused, Unavailable
from tallystick.node import answers
from tallystick.node.client import HouseSession

OUTPUT: Final = 1
ERRORS: Final = 2
END: Final = 3
MAX_FRAME_BYTES: Final = 8_388_608
_HEAD: Final = struct.Struct(">BI")

Hear = Callable[[int, bytes], object]
"""What the program says: 1 for output, 2 for errors. Called often; it returns at once."""


async def named(session: HouseSession, name: str) -> answers.Verb:
    """The program of this name as the house describes it. Raises: Refused: it names none that this pair may ask for."""
    for program in await programs(session):
        if program["name"] == name:
            return program
    raise Refused(f"{session.pair.label} names no program {name[:60]!r} that this pair may run", "`tally verb ls` shows those it has")


async def programs(session: HouseSession) -> list[answers.Verb]:
    """The programs that this pair may ask for."""
    return (await session.get_json("/v1/verbs", verb="house.verbs", kind=answers.Verbs))["verbs"]


async def run_program(
    session: HouseSession, program: answers.Verb, *, bundle: bytes | None, given: bytes | None, hear: Hear
) -> tuple[answers.RunEnd, int]:
    """Run it to its end. Returns: how it ended, and the entry of the command.

    Args: bundle: a human's statement for it, which class admin needs.  given: its input.
    Raises: as `HouseSession.request`; Malformed: the answer is none.  Unavailable: the answer broke off, and the program may run on.
    """
    name = program["name"]
    body = None if bundle is None and given is None else encode([bundle, given])
    response = await session.request("POST", f"/v1/verbs/{name}", verb=f"verb.{name}", body=body, action=program["action"])
    reader = Frames(hear, session.pair.label)
    try:
        async for piece in response.aiter_bytes():
            reader.feed(piece)
    except Unavailable as error:
        hint = "it may have run to its end: `tally log --kind effect-done` of the house tells"
        raise Unavailable(f"the answer of {name} broke off: {error.message}", hint) from None
    return reader.end(), response.entry or 0


class Frames:
    """Bytes go in as they come; what the program says goes out, and its end is kept."""

    def __init__(self, hear: Hear, house: str) -> None:
        self._hear = hear
        self._house = house
        self._rest = bytearray()
        self._end: answers.RunEnd | None = None

    def feed(self, piece: bytes) -> None:
        """Raises: Malformed."""
        self._rest += piece
        while len(self._rest) >= _HEAD.size:
            what, length = _HEAD.unpack_from(self._rest)
            if what not in (OUTPUT, ERRORS, END) or length > MAX_FRAME_BYTES or self._end is not None:
                raise Malformed(f"{self._house} answered with something that no program said", "is its software as new as ours?")
            stop = _HEAD.size + length
            if len(self._rest) < stop:
                return
            content = bytes(self._rest[_HEAD.size : stop])
            del self._rest[:stop]
            if what == END:
                self._end = answers.read_answer(content, answers.RunEnd, self._house)
            else:
                self._hear(what, content)

    def end(self) -> answers.RunEnd:
        """How it ended. Raises: Malformed: nobody said so."""
        if self._end is None or self._rest:
            raise Malformed(f"{self._house} did not say how the program ended", "is its software as new as ours?")
        return self._end
