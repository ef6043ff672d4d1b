"""What a house does by itself when a source's signal asks for it and may: archive.put, archive.rm, archive.mv, verb.NAME.

    act = acts.of(verb, opening, body)      # None: the verb belongs to an application
    seen = await acts.conditions(act, salt) # what it would change, as it stands now, as a commitment
    done = await acts.perform(act, entry=begun.index, unless_changed=...)

A source names its target as a command over the door does (docs/spec/door.md, 1): `PUT /v1/files/PATH` with the content as body,
`DELETE /v1/files/PATH`, `POST /v1/move` with `{"from", "to", "overwrite"}`, `POST /v1/verbs/NAME` with the program's input or nothing.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tallystick.canonical import Encodable, encode
from tallystick.errors import Malformed, Refused, TallyError, Unavailable
from tallystick.gate.opening import Opened, Opening
from tallystick.node.archive import CHUNK_BYTES, Move
from tallystick.node.programs import outcome_of
from tallystick.passage.signal import Done
from tallystick.primitives import sha256
from tallystick.rights.verb import is_named
from tallystick.service.archive import Archive
from tallystick.service.disk import NO_SUCH_FILE
from tallystick.service.names import SafePath
from tallystick.service.program import Program
from tallystick.service.verbs import check_named

if TYPE_CHECKING:
    from tallystick.node.house import House

OURS: Final = frozenset(("archive.put", "archive.rm", "archive.mv"))
SOURCES: Final = sha256(b"tally sources")
"""Under whose name their calls and uploads run: one for all of them, and no pair's place is taken."""
PROGRAMS_AT_ONCE: Final = 4
"""Of all sources together, without a human's word: half of what a house runs, so that they keep no owner from a program."""
CONDITIONS_TAG: Final = b"tally preconditions v1"
_FILES: Final = "/v1/files/"
_PROGRAMS: Final = "/v1/verbs/"
_STATUS: Final[dict[type[TallyError], int]] = {Malformed: 400, Refused: 403}


class Changed(Refused):
    """What it would change is not as it was when somebody looked at it."""

    def __init__(self) -> None:
        super().__init__("what it would change is not as it was when it was looked at", "look at it again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Something the house can do. `paths`: what it touches, in the archive.  `content`: what it writes, or the program's input."""

    verb: str
    paths: tuple[SafePath, ...] = ()
    content: bytes | None = field(default=None, repr=False)
    overwrite: bool = False
    program: Program | None = None


def is_ours(verb: str) -> bool:
    """Whether the house itself does what this verb asks for; else it belongs to an application."""
    return verb in OURS or is_named(verb)


class Acts:
    """At one house that runs."""

    def __init__(self, house: "House") -> None:
        self._house = house
        self._programs = 0  # that run without a human's word

    @property
    def _archive(self) -> Archive:
        if self._house.archive is None:
            raise AssertionError("the archive is open while the house runs")
        return self._house.archive

    def of(self, verb: str, opening: Opening, body: bytes | None) -> Act | None:
        """What a signal asks for. Raises: Malformed: it does not say it as its verb does.  Refused: no such program any more."""
        if not is_ours(verb):
            return None
        target = opening.read_target()
        path = target.path
        if "?" in path:  # an empty one too: one file has one name, or a rule that names it is slipped past
            raise Malformed(f"{verb}: its target has no query")
        if is_named(verb):
            if (target.method, path) != ("POST", _PROGRAMS + verb.removeprefix("verb.")):
                raise Malformed(f"{verb}: its target is POST {_PROGRAMS}NAME")
            if body is None and isinstance(opening.body, Opened) and opening.body.value is not None:
                raise Refused("the input was not kept", "a signal that is to be done here brings its body")
            return Act(verb=verb, content=body, program=check_named(self._house.deciding.runner.programs.get(verb.removeprefix("verb."))))
        if verb == "archive.mv":
            if (target.method, path) != ("POST", "/v1/move"):
                raise Malformed("archive.mv: its target is POST /v1/move")
            try:
                move = msgspec.json.decode(body or b"", type=Move)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise Malformed("archive.mv: its body is JSON: from, to, overwrite") from None
            return Act(verb=verb, paths=(SafePath(move.source), SafePath(move.target)), overwrite=move.overwrite)
        method = "PUT" if verb == "archive.put" else "DELETE"
        if target.method != method or not path.startswith(_FILES):
            raise Malformed(f"{verb}: its target is {method} {_FILES}PATH")
        return Act(verb=verb, paths=(SafePath.from_quoted(path.removeprefix(_FILES)),), content=body if verb == "archive.put" else None)

    async def conditions(self, act: Act, salt: bytes) -> bytes:
        """What it would change, as it stands at this moment: a commitment that says nothing without its salt. Raises: Unavailable."""
        return await self._house.workers.run(SOURCES, self._conditions, act, salt)  # type: ignore[no-any-return]

    def _conditions(self, act: Act, salt: bytes) -> bytes:
        program = act.program
        value: Encodable = [[path.text, self._look(path)] for path in act.paths]
        if program is not None:
            bounds = [program.timeout_s, program.output_bytes, program.input_bytes]
            value = [list(program.argv), program.action.value, bounds, list(program.env), program.cwd, program.user]
        return sha256(CONDITIONS_TAG, salt, encode([act.verb, value]))

    def _look(self, path: SafePath) -> Encodable:
        try:
            found = self._archive.stat(path)
        except Refused as error:
            if error.message != NO_SUCH_FILE:
                raise
            return None
        return [found.directory, found.size, found.mtime_ns, found.version]

    async def perform(self, act: Act, *, entry: int, unless_changed: tuple[bytes, bytes] | None) -> Done:
        """Do it, as the effect of an entry. `unless_changed`: salt and commitment of how it must still be.

        Returns: what became of it; a failure is in it.
        """
        clock = self._house.clock

        def only_if() -> None:
            if unless_changed is not None and self._conditions(act, unless_changed[0]) != unless_changed[1]:
                raise Changed()

        try:
            if act.program is not None:
                if unless_changed is not None:
                    return await self._run(act.program, act.content, only_if)
                if self._programs >= PROGRAMS_AT_ONCE:
                    raise Unavailable(f"sources run {PROGRAMS_AT_ONCE} programs already", "wait until one of them has ended")
                self._programs += 1
                try:
                    return await self._run(act.program, act.content, only_if)
                finally:
                    self._programs -= 1
            change = await self._house.workers.run(SOURCES, self._change, act, entry, only_if)
        except Changed as error:
            return Done(now_ns=clock(), status=409, error=error, word="changed")
        except TallyError as error:
            return Done(now_ns=clock(), status=next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 503), error=error)
        return Done(now_ns=clock(), status=200, length=change.size, digest=change.sha256)

    def _change(self, act: Act, entry: int, only_if: Callable[[], None]) -> Any:
        archive, path = self._archive, act.paths[0]
        if act.verb == "archive.rm":
            return archive.remove(path, entry=entry, only_if=only_if)
        if act.verb == "archive.mv":
            return archive.move(path, act.paths[1], entry=entry, overwrite=act.overwrite, only_if=only_if)
        content = act.content
        if content is None:
            raise Refused("the content was not kept", "a signal that is to be done here brings its body")
        writer = archive.begin(path, SOURCES)
        try:
            with writer:
                for at in range(0, len(content), CHUNK_BYTES):
                    writer.write(content[at : at + CHUNK_BYTES])
            return archive.commit(
                writer.upload_id,
                owner=SOURCES,
                length=len(content),
                sha256=sha256(content),
                path=path,
                entry=entry,
                only_if=only_if,
            )
        except Changed:
            archive.give_up(writer.upload_id, SOURCES)
            raise

    async def _run(self, program: Program, given: bytes | None, only_if: Callable[[], None]) -> Done:
        only_if()
        running = await self._house.deciding.runner.begin(program, given or None)
        digest, length = hashlib.sha256(), 0
        async for frames in running.frames():
            digest.update(frames)
            length += len(frames)
        outcome = outcome_of(program, await running.ended())
        return Done(
            now_ns=self._house.clock(),
            status=200,
            length=length,
            digest=digest.digest(),
            error=outcome.error,
            ended=outcome.ended,
            word=outcome.word,
        )
