"""Named programs: what the owner of a house lets be run by name, and how one is run (docs/verbs.md).

A program is a list of arguments that the owner wrote down. Nobody adds to it: there is no shell, no placeholder and no pattern, so
there is nothing to inject into. What a caller may give, where the owner allows it, arrives as standard input and nowhere else.

A run is bounded in time and in what it says. The program leads a session and process group of its own. When its time is over the
group is asked to end (SIGTERM) and then made to (SIGKILL). When it has ended by itself, what it left in its group is killed too:
whatever is meant to stay detaches itself (`setsid`, `systemd-run`). It is read to its end whether anybody listens or not, and beyond
its bound what it says is dropped and counted: a program that talks too much neither blocks nor fills anything.
"""

import os
import pwd
import selectors
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import BinaryIO, Final

from tallystick.errors import Misuse, Refused, Unavailable
from tallystick.service.program import Program

MAX_RUNNING: Final = 8  # programs of one house at once
GRACE_S: Final = 2.0  # between SIGTERM and SIGKILL
EOF_S: Final = 1.0  # after its end: for a pipe that somebody who detached himself still holds
CHUNK_BYTES: Final = 65_536
# What every program finds. Of the house's own environment it gets what its owner lists, and nothing else.
ENVIRONMENT: Final[Mapping[str, str]] = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


class Ending(StrEnum):
    """How a run ended."""

    EXITED = "exited"
    KILLED = "killed"  # by a signal that was not ours
    TIMEOUT = "timeout"
    STOPPED = "stopped"  # the house stopped


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What became of a run. `status`: the exit status, or 128 and the number of the signal, as shells say it.

    `said_bytes`: all that it said; `dropped_bytes`: of those, beyond its bound.
    """

    ending: Ending
    status: int
    said_bytes: int
    dropped_bytes: int

    @property
    def ok(self) -> bool:
        """It ended by itself and said that all is well."""
        return self.ending is Ending.EXITED and self.status == 0


Hear = Callable[[int, bytes], None]
"""What the program says: 1 for standard output, 2 for standard error, and the bytes. Called in the thread of the run."""


class Programs:
    """The programs of one house, and those that run. Methods may be called from any thread."""

    def __init__(self, programs: Mapping[str, Program], environment: Mapping[str, str]) -> None:
        """`environment`: the house's own, from which programs get what their `env` lists."""
        self._programs = dict(programs)
        self._environment = environment
        self._lock = threading.Lock()
        self._running: set[Run] = set()
        self._stopping = False

    def all(self) -> tuple[Program, ...]:
        """Every program, in the order of the settings."""
        return tuple(self._programs.values())

    def get(self, name: str) -> Program | None:
        """The program of this name."""
        return self._programs.get(name)

    def begin(self, program: Program, given: bytes | None) -> "Run":
        """Start a program. `given`: its standard input, None for none.

        Raises: Misuse: it takes no input, or not so much.  Unavailable: too many run, or it cannot be started.
        """
        if given is not None and len(given) > program.input_bytes:
            if not program.input_bytes:
                raise Misuse(f"{program.name} takes no input", "its owner can allow some: `input_bytes` in tally.toml")
            raise Misuse(f"{program.name} takes at most {program.input_bytes} bytes of input")
        run = Run(program, self._forget)
        with self._lock:
            if self._stopping:
                raise Unavailable("the house is closing", "try again later")
            if len(self._running) >= MAX_RUNNING:
                raise Unavailable(f"{MAX_RUNNING} programs run already", "wait until one of them has ended")
            self._running.add(run)
        try:
            run.start(given, self._environment)
        except BaseException:
            run.close()
            raise
        return run

    def stop(self) -> None:
        """Start none any more, and end those that run. Returns at once."""
        with self._lock:
            self._stopping = True
            running = tuple(self._running)
        for run in running:
            run.stop()

    def _forget(self, run: "Run") -> None:
        with self._lock:
            self._running.discard(run)


@dataclass(eq=False, slots=True)
class Run:
    """One run. `start`, then `follow` in a thread of its own."""

    program: Program
    ended: Callable[["Run"], None] = field(repr=False)
    _child: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)
    _wake: tuple[int, int] = field(default=(-1, -1), repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def start(self, given: bytes | None, environment: Mapping[str, str]) -> None:
        """Raises: Unavailable: the program, its folder or its user is not there or not ours to use."""
        program = self.program
        env = {**ENVIRONMENT, **{name: environment[name] for name in program.env if name in environment}}
        try:
            self._wake = os.pipe()
            with _as_file(given) as stdin:
                self._child = subprocess.Popen(
                    program.argv,
                    stdin=stdin,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    cwd=program.cwd,
                    env=env,
                    bufsize=0,
                    start_new_session=True,
                    **_identity(program.user),  # type: ignore[call-overload]
                )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__
            raise Unavailable(
                f"{program.name} cannot be started: {why}", "its row in tally.toml names the program, folder and user"
            ) from None

    def stop(self) -> None:
        """End it: the house stops."""
        with self._lock:  # a descriptor that was closed meanwhile may be somebody else's by now
            if self._wake[1] >= 0:
                os.write(self._wake[1], b"\0")

    def follow(self, hear: Hear) -> Ended:
        """Read what it says until it has ended. Blocks. Raises: nothing."""
        child = self._child
        if child is None or child.stdout is None or child.stderr is None:
            raise AssertionError("a run is followed after it was started")
        try:
            with _Reader(child, self._wake[0], self.program, hear) as reader:
                return reader.to_the_end()
        finally:
            self.close()

    def close(self) -> None:
        """It is over, or never began."""
        self.ended(self)
        with self._lock:
            wake, self._wake = self._wake, (-1, -1)
            for end in wake:
                if end >= 0:
                    os.close(end)


class _Reader:
    """The loop of one run."""

    def __init__(self, child: "subprocess.Popen[bytes]", wake: int, program: Program, hear: Hear) -> None:
        self._child = child
        self._program = program
        self._hear = hear
        self._selector = selectors.DefaultSelector()
        self._pipes = {1: child.stdout, 2: child.stderr}
        self._said = self._dropped = 0
        self._ending: Ending | None = None
        self._pidfd = os.pidfd_open(child.pid)
        self._selector.register(self._pidfd, selectors.EVENT_READ, "end")
        self._selector.register(wake, selectors.EVENT_READ, "stop")
        for number, pipe in self._pipes.items():
            if pipe is not None:
                self._selector.register(pipe, selectors.EVENT_READ, number)

    def __enter__(self) -> "_Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        os.close(self._pidfd)
        for pipe in self._pipes.values():
            if pipe is not None:
                pipe.close()

    def to_the_end(self) -> Ended:
        """Three stages, each with its time: it runs, it was told to end, it was killed and its pipes are emptied."""
        for until_s, then in ((float(self._program.timeout_s), signal.SIGTERM), (GRACE_S, signal.SIGKILL), (GRACE_S, None)):
            if self._read(until_s):
                break
            if self._ending is None:
                self._ending = Ending.TIMEOUT
            if then is not None:
                self._signal(then)
        # It is over and not yet reaped, so that its group's number is still its own: what it left there goes.
        self._signal(signal.SIGKILL)
        self._selector.unregister(self._pidfd)
        self._read(EOF_S)
        code = self._child.poll()
        if code is None:
            code = -signal.SIGKILL  # it hangs in the kernel and ends whenever that lets it go
        ending = self._ending or (Ending.KILLED if code < 0 else Ending.EXITED)
        return Ended(ending=ending, status=code if code >= 0 else 128 - code, said_bytes=self._said, dropped_bytes=self._dropped)

    def _read(self, seconds: float) -> bool:
        """Hear it for so long; True as soon as it has ended, or (after its end) when nothing more can come."""
        deadline = time.monotonic() + seconds
        while any(key.data != "stop" for key in self._selector.get_map().values()):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            ended = False
            for key, _ in self._selector.select(left):
                if key.data == "end":
                    ended = True
                elif key.data == "stop":
                    self._selector.unregister(key.fileobj)
                    self._ending = self._ending or Ending.STOPPED
                    return False
                else:
                    self._take(key.data)
            if ended:
                return True
        return True

    def _take(self, number: int) -> None:
        pipe = self._pipes[number]
        if pipe is None:
            raise AssertionError("a pipe that is read is open")
        chunk = os.read(pipe.fileno(), CHUNK_BYTES)
        if not chunk:
            self._selector.unregister(pipe)
            return
        room = max(self._program.output_bytes - (self._said - self._dropped), 0)
        self._said += len(chunk)
        self._dropped += max(len(chunk) - room, 0)
        if room:
            self._hear(number, chunk[:room])

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, number)


def _as_file(given: bytes | None) -> BinaryIO:
    """Standard input: nothing, or these bytes in a file without a name; a pipe would need somebody to feed it."""
    if given is None:
        return open(os.devnull, "rb")
    if hasattr(os, "memfd_create"):
        file: BinaryIO = os.fdopen(os.memfd_create("input"), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115
    file.write(given)
    file.seek(0)
    return file


def _identity(user: str) -> dict[str, object]:
    """Who it runs as. Raises: Unavailable: there is no such user."""
    if not user:
        return {}
    try:
        row = pwd.getpwnam(user)
    except KeyError:
        raise Unavailable(f"there is no user {user} on this machine", "`user` in tally.toml names one") from None
    return {"user": row.pw_uid, "group": row.pw_gid, "extra_groups": os.getgrouplist(user, row.pw_gid)}


def check_named(program: Program | None) -> Program:
    """Raises: Refused: nothing stands under that name."""
    if program is None:
        raise Refused("this house names no such program", "`tally verb ls` shows those it has")
    return program
