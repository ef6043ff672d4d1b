"""Real houses and real machines for tests: `tally serve` in a process of its own, clients through the commands' own functions.

    with House(tmp_path) as house:                     # made, serving, with its owner
        laptop = house.machine("laptop", "INPUT")      # paired
        laptop.put(b"content", "a.txt")
        assert laptop.get("a.txt") == b"content"
        house.sever("laptop")
        assert laptop.fails(Unavailable, laptop.ping)

Everything is real but two figures: passphrases are stretched cheaply, and a client gives up after a few seconds. With `place` a house or
a machine lives in a network namespace (tests/netns/village.py). When a house is closed, its log must tell of no defect.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self, TypeVar

from tallystick.errors import TallyError
from tallystick.node import commands
from tallystick.node.commands.where import the_house
from tallystick.node.machine import Machine
from tallystick.node.records import filters_of, names_of
from tallystick.node.remote import HouseClient
from tallystick.node.settings import Settings, load
from tallystick.node.view import entry_json
from tallystick.pair.pairing import Role
from tallystick.vault import sealing
from tests.netns import village
from tests.support import missing

T = TypeVar("T")
PASSPHRASE: Final = b"correct horse battery staple"
START_S: Final = 30.0
CLIENT_S: Final = 10
SILENCE_S: Final = 1
PORT: Final = 51_877
DEFECTS: Final = ("Traceback", "a defect of ours", "never awaited", "never retrieved", "SlowCallback")


@contextlib.contextmanager
def cheap_passphrases() -> Iterator[None]:
    """Human keys made inside are stretched cheaply. The cost lies in each key's file, so programs started by a test are fast as well."""
    dear = sealing.DEFAULT_COST["argon2id"]
    sealing.DEFAULT_COST["argon2id"] = (64, 1, 1)  # KiB, passes, lanes
    try:
        yield
    finally:
        sealing.DEFAULT_COST["argon2id"] = dear


def passphrase(_: str) -> bytes:
    """Everybody's passphrase."""
    return PASSPHRASE


def wrong_clock() -> dict[str, str]:
    """Variables under which a program's clock is not the real one; `FAKETIME` says what it is (the monotonic clock stays)."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        missing("library not found: libfaketime (Debian package faketime)")
    return {"LD_PRELOAD": str(found[0]), "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1"}


def until(condition: Callable[[], T], what: str, seconds: float = 10.0) -> T:
    """Wait until something is so; the value that made it so."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)


class Home:
    """One state directory, and a place in the network from which its commands are given."""

    def __init__(self, folder: Path, name: str, place: village.Machine | None = None, **flags: object) -> None:
        self.folder = folder
        self.name = name
        self.path = folder / name
        self.place = place
        self.flags: dict[str, object] = {"name": name, "timeout_s": CLIENT_S, **flags}

    def settings(self, **flags: object) -> Settings:
        """The effective settings, without the environment."""
        return load({**self.flags, **flags}, home=self.path, env={"HOME": str(self.folder)})

    def do(self, function: Callable[..., T], *args: Any, timeout: float = 60.0, **kwargs: Any) -> T:
        """Call a function from this home's place in the network. Raises: TimeoutError: it hangs; what it raised."""
        if self.place is not None:
            return self.place.call(lambda: function(*args, **kwargs)).result(timeout)
        # In a thread of its own: a loop that hangs in the main thread would also hang what bounds the test.
        future: Future[T] = Future()

        def work() -> None:
            try:
                future.set_result(function(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=work, daemon=True).start()
        return future.result(timeout)

    def fails(self, kind: type[TallyError], function: Callable[..., object], *args: Any, **kwargs: Any) -> TallyError:
        """Call something that must fail in this way and no other; its error."""
        try:
            value = function(*args, **kwargs)
        except kind as error:
            return error
        raise AssertionError(f"it did not fail but gave {value!r}")

    def open(self) -> Machine:
        """The machine itself; close it."""
        return Machine.open(self.settings())

    def argv(self, *args: str) -> list[str]:
        """A command line of `tally` for this home."""
        return [sys.executable, "-m", "tallystick", "--home", str(self.path), *args]

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of a program: nothing of the tester's settings."""
        kept = {name: value for name, value in village.environment().items() if not name.startswith("TALLY_")}
        return {**kept, "HOME": str(self.folder), "TALLY_TIMEOUT_S": str(self.flags["timeout_s"]), "TALLY_NAME": self.name, **more}

    def cli(
        self, *args: str, code: int = 0, secret: bool = False, env: Mapping[str, str] | None = None, timeout: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run `tally` as a program; its exit code must be `code`. `secret`: the passphrase comes on file descriptor 3."""
        argv = self.argv(*args)
        more: dict[str, Any] = {}
        reading = -1
        if secret:
            reading, writing = os.pipe()
            os.write(writing, PASSPHRASE + b"\n")
            os.close(writing)
            argv += ["--passphrase-fd", str(reading)]
            more = {"pass_fds": (reading,)}
        if self.place is not None:
            argv = self.place.command(argv)
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, timeout=timeout, env=self.environment(**(env or {})), check=False, **more
            )
        finally:
            if reading >= 0:
                os.close(reading)
        if done.returncode != code:
            raise AssertionError(f"tally {' '.join(args)} ended with {done.returncode}, not {code}\n{done.stdout}{done.stderr}")
        return done

    def json(self, *args: str, **options: Any) -> Any:
        """Run `tally ... --json` and read its one object."""
        return json.loads(self.cli(*args, "--json", **options).stdout)

    def program(self, module: str, *args: str, **options: Any) -> "subprocess.Popen[str]":
        """Start a test's own program (`python -m module`) in this place, with pipes."""
        argv = [sys.executable, "-m", module, *args]
        if self.place is not None:
            argv = self.place.command(argv)
        env = self.environment()
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(argv, text=True, env=env, **{**pipes, **options})

    def log(self, kind: str | None = None, *, pair: str | None = None) -> list[dict[str, Any]]:
        """Entries of this home's own ledger, oldest first, as `tally log --json` shows them; all of them."""
        with self.open() as machine:
            filters = filters_of(machine.store, {"kind": kind, "pair": pair})
            return [entry_json(row, names_of(machine.store)) for row in machine.store.entries(limit=10_000, **filters)]

    def kinds(self) -> list[str]:
        """The kinds of all entries."""
        return [entry["kind"] for entry in self.log()]

    def pairs(self) -> list[dict[str, Any]]:
        """The rows of `tally status`."""
        rows: list[dict[str, Any]] = commands.status(self.settings())["pairs"]
        return rows

    def secrets(self) -> list[str]:
        """The named secrets in the vault."""
        with self.open() as machine:
            return sorted(machine.vault.list())


class Pairing:
    """`tally pair`, under way in a thread. `words` as soon as it shows them."""

    def __init__(self, client: "Client", invite: str, *, wait_s: float) -> None:
        self.words: list[str] = []
        self._shown = threading.Event()
        self._outcome: list[dict[str, Any] | BaseException] = []
        self._client = client
        self._thread = threading.Thread(target=self._work, args=(invite, wait_s), daemon=True)
        self._thread.start()

    def _work(self, invite: str, wait_s: float) -> None:
        def show(words: Sequence[str], digits: str) -> None:
            self.words.extend(words)
            self._shown.set()

        client = self._client
        try:
            self._outcome.append(
                client.do(
                    commands.pair,
                    client.settings(),
                    invite=invite,
                    label=client.name,
                    show_words=show,
                    passphrase=passphrase,
                    scripted=True,
                    wait_s=wait_s,
                    timeout=wait_s + 60,
                )
            )
        except BaseException as error:
            self._outcome.append(error)
        finally:
            self._shown.set()

    def shown(self) -> list[str]:
        """Wait for the words. Raises: what ended the pairing before."""
        if not self._shown.wait(30):
            raise AssertionError("no words within 30 s")
        if not self.words:
            self.wait()
        return self.words

    @property
    def over(self) -> bool:
        """It has ended."""
        return not self._thread.is_alive()

    def wait(self, seconds: float = 30.0) -> dict[str, Any]:
        """Its outcome. Raises: what it ended with."""
        self._thread.join(seconds)
        if not self._outcome:
            raise AssertionError("the pairing has not ended")
        if isinstance(self._outcome[0], BaseException):
            raise self._outcome[0]
        return self._outcome[0]


class Client(Home):
    """A machine that is, or wants to be, paired with a house."""

    def pairing(self, invite: str, *, wait_s: float = 60.0) -> Pairing:
        """Begin to redeem an invite."""
        return Pairing(self, invite, wait_s=wait_s)

    def made(self) -> Self:
        """Make the machine (a client is otherwise made by its first pairing)."""
        with Machine.open_or_create(self.settings(), Role.CLIENT):
            pass
        return self

    @property
    def key(self) -> str:
        """The KeyId of its signing key, as people read it."""
        with self.open() as machine:
            return str(machine.vault.machine.signing.public.key_id)

    def ping(self, count: int = 1, timeout_s: int | None = None) -> dict[str, Any]:
        """`tally ping`."""
        settings = self.settings() if timeout_s is None else self.settings(timeout_s=timeout_s)
        return self.do(commands.ping, settings, house="", count=count)

    def put(self, content: bytes, path: str) -> dict[str, Any]:
        """`tally put`."""
        with tempfile.NamedTemporaryFile(dir=self.folder) as source:
            source.write(content)
            source.flush()
            return self.do(commands.put, self.settings(), source=Path(source.name), house="", path=path, progress=lambda done, total: None)

    def get(self, path: str) -> bytes:
        """`tally get`."""
        target = self.folder / f"{self.name}.{threading.get_ident()}.got"
        self.do(commands.get, self.settings(), house="", path=path, target=target, span=None, progress=lambda done, total: None)
        content = target.read_bytes()
        target.unlink()
        return content

    def ls(self, path: str = "") -> dict[str, Any]:
        """`tally ls`."""
        return self.do(commands.ls, self.settings(), house="", path=path)

    def summary(self) -> dict[str, Any]:
        """What an INTERFACE may see of the files: counts and sizes."""

        async def ask() -> dict[str, Any]:
            with self.open() as machine:
                async with await HouseClient.open(machine, the_house(machine, "")) as house:
                    return dict(await house.summary())

        return self.do(asyncio.run, ask())

    def names(self, path: str = "") -> list[str]:
        """The names in a folder."""
        return sorted(row["name"] for row in self.ls(path)["files"])

    def rm(self, path: str) -> dict[str, Any]:
        """`tally rm`."""
        return self.do(commands.rm, self.settings(), house="", path=path)

    def invite(
        self, pair_type: str = "INPUT", *, label: str = "", approve: bool = False, for_key: str | None = None, ttl_s: int | None = None
    ) -> str:
        """`tally invite`, signed by this machine's human key: the string."""
        text: str = self.do(
            commands.invite,
            self.settings(),
            pair_type=pair_type,
            label=label,
            approve=approve,
            for_key=for_key,
            ttl_s=ttl_s,
            passphrase=passphrase,
        )["invite"]
        return text

    def inbox(self) -> list[dict[str, Any]]:
        """`tally inbox`."""
        found: list[dict[str, Any]] = self.do(commands.inbox, self.settings())["proposals"]
        return found

    def approve(self, proposal: str, words: Sequence[str] | None = None) -> dict[str, Any]:
        """`tally approve`: the words are compared where they are given, else believed."""
        return self.do(
            commands.approve,
            self.settings(),
            proposals=(proposal,),
            sure=lambda _: True,
            confirm=lambda row: words is None or list(row["words"]) == list(words),
            passphrase=passphrase,
            scripted=True,
        )

    def deny(self, proposal: str) -> dict[str, Any]:
        """`tally deny`."""
        return self.do(commands.deny, self.settings(), proposal=proposal, reason="denied", passphrase=passphrase)

    def downgrade(self, name: str, pair_type: str) -> dict[str, Any]:
        """`tally downgrade`."""
        return self.do(commands.downgrade, self.settings(), name=name, pair_type=pair_type, passphrase=passphrase, scripted=True)

    def sever(self, name: str = "attic") -> dict[str, Any]:
        """`tally sever`, at this end."""
        return self.do(commands.sever, self.settings(), name=name, reason="unspecified", passphrase=passphrase)


class House(Home):
    """A house. In a `with`: made and serving, and with its owner unless `owner=False`."""

    def __init__(
        self, folder: Path, name: str = "attic", place: village.Machine | None = None, *, owned: bool = True, **flags: object
    ) -> None:
        network: dict[str, object] = {"port": 0, "address": "127.0.0.1"} if place is None else {"port": PORT}
        super().__init__(folder, name, place, **{**network, **flags})
        self._owned = owned
        self.process: subprocess.Popen[str] | None = None
        self.facts: dict[str, Any] = {}
        self.recovery = ""
        self.owner = Client(folder, "owner", place)
        self._said: IO[str] | None = None
        self.may_fail = False  # a test that breaks the house on purpose
        self.runs: Sequence[str] = ("tallystick",)  # a test's own way of running `tally`

    # --- Life ------------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        if not self.path.exists():
            self.init()
        try:
            self.serve()
            if self._owned:
                self.genesis(self.owner)
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.running:
            self.stop()
        self.close()
        if error is None and not self.may_fail:
            self.check_log()

    def init(self, owner: str | None = None) -> Self:
        """`tally init`."""
        self.recovery = commands.init(self.settings(), owner=owner)["recovery"]
        return self

    def serve(
        self,
        *,
        env: Mapping[str, str] | None = None,
        without: Sequence[str] = (),
        prefix: Sequence[str] = (),
        **flags: object,
    ) -> dict[str, Any]:
        """`tally serve`; returns when it hears knocks. The port stays the same through restarts. `prefix`: what stands before `tally`."""
        chosen = {**self.flags, **({"port": self.facts["port"]} if self.facts else {}), "log_level": "info", **flags}
        variables = {
            f"TALLY_{name.upper()}": str(value).lower() if isinstance(value, bool) else str(value) for name, value in chosen.items()
        }
        argv = [*prefix, sys.executable, "-m", *self.runs, "serve", "--home", str(self.path), "--json"]
        if self.place is not None:
            argv = self.place.command(argv, without)
        self._said = self.said.open("a")
        self.process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=self._said, text=True, env=self.environment(**variables, **(env or {}))
        )
        line: list[str] = []
        stdout = self.process.stdout
        reader = threading.Thread(target=lambda: line.append(stdout.readline() if stdout is not None else ""), daemon=True)
        reader.start()
        reader.join(START_S)
        if not line or not line[0]:
            code = self.process.poll()
            self.kill()
            raise AssertionError(f"the house did not start ({code}):\n{line}\n{self.said.read_text()[-3000:]}")
        self.facts = json.loads(line[0])
        if "error" in self.facts:
            raise AssertionError(f"the house did not start: {self.facts}\n{self.said.read_text()[-3000:]}")
        return self.facts

    @property
    def said(self) -> Path:
        """What it logs."""
        return self.folder / f"{self.name}.log"

    @property
    def port(self) -> int:
        """Its UDP port."""
        return int(self.facts["port"])

    @property
    def pid(self) -> int:
        """Of the process that runs it, whatever stands around it."""
        return int(self.facts["pid"])

    @property
    def running(self) -> bool:
        """Its process lives."""
        return self.process is not None and self.process.poll() is None

    def resident(self) -> int:
        """Its memory, in bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self, seconds: float = 20.0) -> int:
        """SIGTERM; its exit code."""
        return self._end(signal.SIGTERM, seconds)

    def kill(self) -> None:
        """SIGKILL: as a power cut, but for what the kernel has not written yet."""
        if self.running:
            self._end(signal.SIGKILL, 10.0)
        self.close()

    def _end(self, number: signal.Signals, seconds: float) -> int:
        process = self.process
        if process is None:
            raise AssertionError("the house was never started")
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(self.facts.get("pid", process.pid)), number)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the house did not end within {seconds:g} s:\n{self.said.read_text()[-3000:]}") from None
        self.close()
        return code

    def close(self) -> None:
        """Close the pipes of a process that has ended."""
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()
        if self._said is not None:
            self._said.close()
            self._said = None

    def restart(self, **options: Any) -> None:
        """Stop in order, start again on the same port."""
        if self.stop() != 0:
            raise AssertionError(f"the house ended badly:\n{self.said.read_text()[-3000:]}")
        self.serve(**options)

    def check_log(self) -> None:
        """No defect of ours was logged."""
        text = self.said.read_text()
        if any(word in text for word in DEFECTS):
            raise AssertionError(f"the house logged a defect:\n{text[-6000:]}")

    # --- Commands at the house -------------------------------------------------------------------------------------------

    def invite(self, label: str = "owner", ttl_s: int | None = None) -> str:
        """The invite for the first ADMIN, made at the house."""
        made = commands.invite(
            self.settings(), pair_type="ADMIN", label=label, approve=False, for_key=None, ttl_s=ttl_s, passphrase=passphrase
        )
        text: str = made["invite"]
        return text

    def inbox(self) -> list[dict[str, Any]]:
        """`tally inbox` at the house."""
        found: list[dict[str, Any]] = commands.inbox(self.settings())["proposals"]
        return found

    def approve(self, proposal: str, words: Sequence[str]) -> dict[str, Any]:
        """`tally approve` at the house: the words of the first ADMIN are compared."""
        done: dict[str, Any] = commands.approve(
            self.settings(),
            proposals=(proposal,),
            confirm=lambda row: list(row["words"]) == list(words),
            passphrase=passphrase,
            scripted=True,
        )
        return done

    def sever(self, name: str) -> dict[str, Any]:
        """`tally sever` at the house."""
        done: dict[str, Any] = commands.sever(self.settings(), name=name, reason="unspecified", passphrase=passphrase)
        return done

    def genesis(self, owner: "Client") -> None:
        """The first ADMIN, its words compared at both ends."""
        under_way = owner.pairing(self.invite(owner.name))
        words = under_way.shown()
        until(self.inbox, "the first machine waits in the inbox")
        self.approve(owner.name, words)
        if under_way.wait()["state"] != "standing":
            raise AssertionError("the first pairing does not stand")

    def client(self, name: str, place: village.Machine | None = None, **flags: object) -> Client:
        """A machine that is not paired yet."""
        return Client(self.folder, name, place, **flags)

    def machine(self, name: str, pair_type: str = "INPUT", place: village.Machine | None = None, **flags: object) -> Client:
        """A machine that is paired: by an invite approved in advance, ADMIN by the owner's approval."""
        client = self.client(name, place, **flags)
        if pair_type == "ADMIN":
            under_way = client.pairing(self.owner.invite("ADMIN", label=name))
            words = under_way.shown()
            self.owner.approve(name, words)
        else:
            under_way = client.pairing(self.owner.invite(pair_type, label=name, approve=True, ttl_s=60))
        if under_way.wait()["state"] != "standing":
            raise AssertionError(f"the pairing of {name} does not stand")
        return client

    def row(self, name: str) -> dict[str, Any]:
        """The row of a pair in `tally status`."""
        return next(row for row in self.pairs() if row["name"] == name)


@contextlib.contextmanager
def killed_in_the_end(process: "subprocess.Popen[str]") -> Iterator["subprocess.Popen[str]"]:
    """A program that does not outlive the block."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
