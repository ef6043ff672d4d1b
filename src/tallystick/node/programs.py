"""Named programs at a house: their routes at the door, a person's word for them, and their runs (docs/verbs.md, docs/spec/door.md 7).

    POST /v1/verbs/NAME   body: canonical CBOR [bundle or null, input or null]
    answer, chunked: frames of u8 what (1 output, 2 errors, 3 the end), u32 length, bytes

The last frame says how it ended, and leaves only when that is in the ledger. A client that goes away stops nothing.
"""

import asyncio
import os
import struct
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from tallystick.canonical import decode
from tallystick.errors import Malformed, TallyError, Unavailable, Unproven
from tallystick.gate.signal import check_age, check_audience
from tallystick.gate.statement import parse_bundle
from tallystick.node.bundles import signed_of
from tallystick.node.door import Answer, Call, Outcome, Route, json_answer, route
from tallystick.pair.pairing import PairType
from tallystick.passage.signal import Asker, Command, Stated
from tallystick.primitives import sha256
from tallystick.rights.action import ActionClass
from tallystick.rights.matrix import CAP
from tallystick.rights.statement import SPOKEN, ProgramRun, parse_statement
from tallystick.service.program import Program
from tallystick.service.verbs import Ended, Ending, Programs, check_named

if TYPE_CHECKING:
    from tallystick.node.house import House

END: Final = 3
_FRAME: Final = struct.Struct(">BI")
_MAX_ITEMS: Final = 4
_WORDS: Final = {Ending.TIMEOUT: "timeout", Ending.STOPPED: "stopped", Ending.KILLED: "killed"}


def frame(what: int, content: bytes) -> bytes:
    """One frame of an answer."""
    return _FRAME.pack(what, len(content)) + content


class Runner:
    """The programs of a house, run beside its event loop."""

    def __init__(self, programs: Mapping[str, Program]) -> None:
        self.programs = Programs(programs, os.environ)

    def action_of(self, verb: str) -> ActionClass | None:
        """The class that the owner gave a verb of this family; None where nothing stands under it."""
        program = self.programs.get(verb.removeprefix("verb."))
        return None if program is None or program.verb != verb else program.action

    async def begin(self, program: Program, given: bytes | None) -> "Running":
        """Start a program. Raises: Misuse, Unavailable."""
        run = await asyncio.to_thread(self.programs.begin, program, given)
        running = Running(asyncio.get_running_loop())

        def follow() -> None:
            running.over(run.follow(running.hear))

        # A thread of its own: those of the loop and of the services are for calls that end by themselves.
        threading.Thread(target=follow, name=f"tally-verb-{program.name}", daemon=True).start()
        return running


class Running:
    """A program that runs: what it says as frames, and how it ended. Nobody needs to listen."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._said = bytearray()
        self._more = asyncio.Event()
        self._ended: asyncio.Future[Ended] = loop.create_future()

    def hear(self, number: int, chunk: bytes) -> None:
        """In the thread of the run. The program's bound is the bound of what is kept."""
        with self._lock:
            quiet = not self._said
            self._said += frame(number, chunk)
        if quiet:
            self._tell(self._more.set)

    def over(self, ended: Ended) -> None:
        """In the thread of the run: it has said all."""

        def tell() -> None:
            if not self._ended.done():
                self._ended.set_result(ended)
            self._more.set()

        self._tell(tell)

    def _tell(self, what: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(what)
        except RuntimeError:
            return  # the loop was closed: nobody waits any more

    async def ended(self) -> Ended:
        """How it ended, when it has."""
        return await asyncio.shield(self._ended)

    async def frames(self) -> AsyncIterator[bytes]:
        """What it says, as it says it."""
        while True:
            await self._more.wait()
            self._more.clear()
            over = self._ended.done()
            with self._lock:
                said, self._said = bytes(self._said), bytearray()
            if said:
                yield said
            if over:
                return


def outcome_of(program: Program, ended: Ended) -> Outcome:
    """What the ledger and the answer's end say of a run."""
    last = msgspec.json.encode(
        {"ending": ended.ending.value, "status": ended.status, "said_bytes": ended.said_bytes, "dropped_bytes": ended.dropped_bytes}
    )
    error: TallyError | None = None
    if ended.ending is not Ending.EXITED:
        error = Unavailable(f"{program.name} did not end by itself: {ended.ending.value}", f"its time is {program.timeout_s} s")
    return Outcome(ended=min(ended.status, 999), word=_WORDS.get(ended.ending, ""), error=error, last=frame(END, last))


def program_routes(house: "House") -> tuple[Route, ...]:
    """The rows of the table that lead to named programs: one for each, and their list."""
    rooms = _Rooms(house)
    rows = [
        route(
            "POST",
            f"/v1/verbs/{program.name}",
            program.verb,
            rooms.run,
            effect=program.verb,
            action=program.action,
            stated=rooms.stated,
        )
        for program in house.deciding.runner.programs.all()
    ]
    return (route("GET", "/v1/verbs", "house.verbs", rooms.ls), *rows)


class _Rooms:
    """The handlers."""

    def __init__(self, house: "House") -> None:
        self._house = house

    async def ls(self, call: Call) -> Answer:
        """The programs that this pair's type may ask for; an ADMIN sees all, and their arguments."""
        cap = call.session.asker.cap
        found = [
            {
                "name": program.name,
                "action": program.action.value,
                "doc": program.doc,
                "input_bytes": program.input_bytes,
                "output_bytes": program.output_bytes,
                "timeout_s": program.timeout_s,
                "argv": list(program.argv) if cap is PairType.ADMIN else None,
            }
            for program in self._house.deciding.runner.programs.all()
            if program.action in CAP[cap]
        ]
        return json_answer({"verbs": found})

    async def run(self, call: Call) -> Answer:
        """Run one; what it says leaves as it says it."""
        program = check_named(self._house.deciding.runner.programs.get(call.command.verb.removeprefix("verb.")))
        _, given = read_request(call.body)
        running = await self._house.deciding.runner.begin(program, given)

        async def outcome() -> Outcome:
            return outcome_of(program, await running.ended())

        return Answer(body=running.frames(), kind="application/octet-stream", outcome=outcome)  # type: ignore[arg-type]

    def stated(self, asker: Asker, command: Command, body: bytes) -> Stated | None:
        """The human statement that came with a command; None where none came.

        Raises: Malformed, Unproven, Refused: it is not by a key that may, or not for this command.
        """
        bundle, given = read_request(body)
        if bundle is None:
            return None
        house = self._house
        now_ns = house.clock()
        unproven = parse_bundle(bundle)
        key = house.statements.human_key(unproven, now_ns)
        proven = unproven.prove(key.public)
        check_audience(proven.signal, house.machine.house_id)
        check_age(proven.signal, now_ns)
        statement = parse_statement(proven.body) if proven.signal.claims.verb in SPOKEN else None
        if not isinstance(statement, ProgramRun):
            raise Malformed("the statement beside the command is not for running a program")
        asked = (command.verb, asker.pair, None if given is None else sha256(given))
        if (statement.name, statement.pairing, statement.input) != asked:
            raise Unproven("the statement is for another program, input or pair than the command")
        return Stated(
            signed=signed_of(proven, asker), subject=f"#{key.number}", actions=frozenset(ActionClass(action) for action in key.actions)
        )


def read_request(body: bytes) -> tuple[bytes | None, bytes | None]:
    """The body of a command: a human's bundle and the program's input, each or none. Raises: Malformed."""
    if not body:
        return None, None
    match decode(body, max_depth=1, max_items=_MAX_ITEMS, max_bytes=65_536):
        case [(bytes() | None) as bundle, (bytes() | None) as given]:
            return bundle, given
    raise Malformed("not a statement and an input", "an array of two, each bytes or null")
