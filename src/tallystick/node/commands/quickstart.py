"""quickstart: a house and four machines on this computer really pair, work, are refused and are severed; and what the gate believes.

Nothing is simulated: the house is `tally serve` in a process of its own, each machine has its home, its keys and its ledger, and every
step goes through the same functions as the command line. A step that does not come out as it should is shown as failed.
"""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tallystick.channel.datagram import INVITE_KNOCK_BYTES, KNOCK_BYTES, DatagramType
from tallystick.errors import Refused, TallyError, Unavailable
from tallystick.node import answers
from tallystick.node.checkpoints import Witness
from tallystick.node.client import HouseSession
from tallystick.node.commands import auditing, files, house, pairs
from tallystick.node.commands.gatequickstart import Failed, GateSteps
from tallystick.node.commands.here import run
from tallystick.node.commands.where import the_house
from tallystick.node.machine import Machine
from tallystick.node.settings import Settings, load
from tallystick.tlog.checkpoint import read_checkpoint
from tallystick.tlog.proof import verify_consistency

START_S: Final = 30.0
SILENCE_S: Final = 2
STRANGER_DATAGRAMS: Final = 300
FILE_BYTES: Final = 300_000
ADDRESS: Final = "127.0.0.1"

Say = Callable[[Mapping[str, Any]], None]


def quickstart(settings: Settings, *, once: bool, step: Say) -> dict[str, Any]:
    """Run all steps in a folder of its own. Returns `{"ok", "steps"}`; without `once` the house is kept until Ctrl-C."""
    folder = Path(tempfile.mkdtemp(prefix="tally-"))
    village = _Village(folder, step)
    try:
        ok = village.live()
        result = {"ok": ok, "steps": village.steps}
        if not once and ok:
            village.stay()
        return result
    finally:
        village.close()
        shutil.rmtree(folder, ignore_errors=True)


class _Village:
    """The house, its four machines, and what was seen."""

    def __init__(self, folder: Path, step: Say) -> None:
        self.steps: list[dict[str, Any]] = []
        self._folder = folder
        self._say = step
        self._process: subprocess.Popen[str] | None = None
        self._port = 0
        self._passphrase = secrets.token_urlsafe(16).encode()
        self._content = secrets.token_bytes(FILE_BYTES)

    def live(self) -> bool:
        """One step after the other; the first that fails is the last."""
        gate = GateSteps(self._settings, self._secret, self._folder)
        for name, act in (
            ("init", self.init),
            ("serve", self.serve),
            ("genesis", self.genesis),
            ("pair-input", lambda: self.pair("laptop", "INPUT")),
            ("pair-user", lambda: self.pair("reader", "USER")),
            ("pair-interface", lambda: self.pair("meter", "INTERFACE")),
            ("put", self.put),
            ("get-identical", self.get_identical),
            ("user-write-refused", self.user_write_refused),
            ("interface-metadata-only", self.interface_metadata_only),
            ("downgrade", self.downgrade),
            ("sever", self.sever),
            ("silence-after-sever", self.silence_after_sever),
            ("stranger-silence", self.stranger_silence),
            *gate.steps(),
            ("log", self.log),
            ("checkpoint-consistent", self.checkpoint_consistent),
            ("verify", self.verify),
        ):
            began = time.monotonic()
            try:
                detail, ok = act(), True
            except (TallyError, Failed) as error:
                detail, ok = str(error), False
            row = {"step": name, "ok": ok, "seconds": round(time.monotonic() - began, 3), "detail": detail}
            self.steps.append(row)
            self._say(row)
            if not ok:
                return False
        return True

    def _settings(self, name: str, **flags: object) -> Settings:
        chosen = {"name": name, "timeout_s": 10, **flags}
        return load(chosen, home=self._folder / name, env={"HOME": str(self._folder)})

    def _secret(self, _: str) -> bytes:
        return self._passphrase

    # --- Steps -----------------------------------------------------------------------------------------------------------

    def init(self) -> str:
        """A house: keys, an empty ledger, a recovery key."""
        made = house.init(self._settings("attic"), owner=None)
        return f"house {made['house'][:16]}, keys in {made['vault']} ({made['key_class']})"

    def serve(self) -> str:
        """`tally serve` in a process of its own."""
        command = [sys.executable, "-m", "tallystick", "serve", "--json", "--home", str(self._folder / "attic")]
        command += ["--address", ADDRESS, "--port", "0", "--log-level", "warning"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        line: list[str] = []
        reader = threading.Thread(target=lambda: line.append(self._lines()), daemon=True)
        reader.start()
        reader.join(START_S)
        if not line or not line[0]:
            raise Failed(f"the house did not start within {START_S:.0f} s")
        facts = json.loads(line[0])
        self._port = int(facts["port"])
        return f"UDP {ADDRESS}:{self._port}, no TCP port open (pid {facts['pid']})"

    def _lines(self) -> str:
        if self._process is None or self._process.stdout is None:
            raise AssertionError("the house was started with a pipe")
        found = ""
        for text in self._process.stdout:
            found += text
            with contextlib.suppress(ValueError):
                json.loads(found)
                return found
        return ""

    def genesis(self) -> str:
        """The owner's machine becomes the first ADMIN: four words, compared at both ends, and the owner's signature."""
        at_house = self._settings("attic")
        made = house.invite(at_house, pair_type="ADMIN", label="owner", approve=False, for_key=None, ttl_s=None, passphrase=self._secret)
        with self._pairing("owner", made["invite"]) as (words, wait):
            self._approve(at_house, "owner", words)
            joined = wait()
        return f"{' '.join(words)}: {joined['state']} as {joined['type']}"

    def pair(self, name: str, pair_type: str) -> str:
        """Another machine, invited and approved by the owner's human key from the owner's machine."""
        owner = self._settings("owner")
        made = house.invite(owner, pair_type=pair_type, label=name, approve=False, for_key=None, ttl_s=None, passphrase=self._secret)
        with self._pairing(name, made["invite"]) as (words, wait):
            self._approve(owner, name, words)
            joined = wait()
        if joined["type"] != pair_type:
            raise Failed(f"{name} was to be {pair_type} and is {joined['type']}")
        return f"{' '.join(words)}: {joined['state']} as {joined['type']}"

    @contextlib.contextmanager
    def _pairing(self, name: str, invite: str) -> Iterator[tuple[list[str], Callable[[], dict[str, Any]]]]:
        """Run `tally pair` beside us, until it shows its words; `wait` gives its outcome."""
        shown: list[str] = []
        ready = threading.Event()
        outcome: list[dict[str, Any] | TallyError] = []

        def show(words: Sequence[str], digits: str) -> None:
            shown.extend(words)
            ready.set()

        def work() -> None:
            try:
                outcome.append(
                    pairs.pair(
                        self._settings(name), invite=invite, label=name, show_words=show, passphrase=self._secret, scripted=True, wait_s=60
                    )
                )
            except TallyError as error:
                outcome.append(error)
            finally:
                ready.set()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()

        def wait() -> dict[str, Any]:
            thread.join(60)
            if not outcome:
                raise Failed(f"{name} is still waiting")
            if isinstance(outcome[0], TallyError):
                raise outcome[0]
            if outcome[0]["state"] != "standing":
                raise Failed(f"{name} is {outcome[0]['state']}")
            return outcome[0]

        if not ready.wait(30) or not shown:
            if outcome and isinstance(outcome[0], TallyError):
                raise outcome[0]
            raise Failed(f"{name} showed no words")
        yield shown, wait

    def _approve(self, where: Settings, name: str, words: list[str]) -> None:
        """Wait until the machine stands in the inbox, then approve it if both ends show the same words."""
        deadline = time.monotonic() + 10
        while not any(row["label"] == name for row in pairs.inbox(where)["proposals"]):
            if time.monotonic() > deadline:
                raise Failed(f"{name} does not appear in the inbox")
            time.sleep(0.05)
        pairs.approve(where, proposal=name, confirm=lambda row: list(row["words"]) == words, passphrase=self._secret, scripted=True)

    def put(self) -> str:
        """A real file goes into the house."""
        source = self._folder / "photo.raw"
        source.write_bytes(self._content)
        stored = files.put(self._settings("laptop"), source=source, house="", path="photos/photo.raw", progress=lambda done, total: None)
        if stored["sha256"] != hashlib.sha256(self._content).hexdigest():
            raise Failed("the house kept other bytes")
        return f"{stored['bytes']} bytes at {stored['path']}, entry {stored['entry']}"

    def get_identical(self) -> str:
        """The reader gets the same bytes."""
        target = self._folder / "copy.raw"
        files.get(self._settings("reader"), house="", path="photos/photo.raw", target=target, span=None, progress=lambda done, total: None)
        if target.read_bytes() != self._content:
            raise Failed("the bytes differ")
        return f"{len(self._content)} bytes, identical"

    def user_write_refused(self) -> str:
        """USER reads; it does not write."""
        source = self._folder / "photo.raw"
        try:
            files.put(self._settings("reader"), source=source, house="", path="mine.raw", progress=lambda done, total: None)
        except Refused as error:
            listed = files.ls(self._settings("reader"), house="", path="")
            if any(row["name"] == "mine.raw" for row in listed["files"]):
                raise Failed("it was refused, and stored all the same") from None
            return error.message
        raise Failed("a USER could write")

    def interface_metadata_only(self) -> str:
        """INTERFACE sees counts and sizes; a name or a byte is refused."""
        meter = self._settings("meter")
        summary = files.ls(meter, house="", path="")["summary"]
        if summary.get("files") != 1:
            raise Failed(f"the summary is {summary}")
        try:
            files.get(meter, house="", path="photos/photo.raw", target=self._folder / "no", span=None, progress=lambda done, total: None)
        except Refused:
            return f"{summary['files']} file, {summary['bytes']} bytes; reading it is refused"
        raise Failed("an INTERFACE could read a file")

    def downgrade(self) -> str:
        """The laptop may only read from now on."""
        owner = self._settings("owner")
        narrowed = pairs.downgrade(owner, name="laptop", pair_type="USER", passphrase=self._secret, scripted=True)
        try:
            files.rm(self._settings("laptop"), house="", path="photos/photo.raw")
        except Refused:
            return f"laptop: {narrowed['before']} to {narrowed['type']}; its delete is refused"
        raise Failed("a downgraded machine could still delete")

    def sever(self) -> str:
        """The reader is severed at the house, with a copy of its whole state taken before."""
        shutil.copytree(self._folder / "reader", self._folder / "thief", symlinks=True, ignore=shutil.ignore_patterns("*.sock"))
        ended = pairs.sever(self._settings("attic"), name="reader", reason="lost", passphrase=self._secret)
        return f"entry {ended['entry']}, sessions cut: {ended['sessions_cut']}"

    def silence_after_sever(self) -> str:
        """Neither the severed machine nor a copy of it from before gets an answer."""
        for name in ("reader", "thief"):
            try:
                pairs.ping(self._settings(name, timeout_s=SILENCE_S), house="", count=1)
            except Unavailable:
                continue
            raise Failed(f"{name} got an answer")
        return f"no answer to the machine, nor to a copy of its state, in {SILENCE_S} s each"

    def stranger_silence(self) -> str:
        """A stranger's datagrams get no byte back, and no TCP port is open."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind((ADDRESS, 0))
            for number in range(STRANGER_DATAGRAMS):
                kind, size = ((DatagramType.KNOCK, KNOCK_BYTES), (DatagramType.INVITE_KNOCK, INVITE_KNOCK_BYTES), (0, 64))[number % 3]
                head = bytes((kind, 1, 1, 0))
                stranger.sendto(head + secrets.token_bytes(size - len(head)), (ADDRESS, self._port))
            stranger.settimeout(1.0)
            with contextlib.suppress(TimeoutError):
                answer = stranger.recv(2048)
                raise Failed(f"{len(answer)} bytes came back")
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as caller:
            caller.settimeout(1.0)
            if caller.connect_ex((ADDRESS, self._port)) == 0:
                raise Failed("a TCP port is open")
        return f"{STRANGER_DATAGRAMS} datagrams, 0 bytes back; TCP {self._port} is closed"

    def log(self) -> str:
        """Everything is in the ledger."""
        entries = list(house.log(self._settings("owner"), house="attic", query={"limit": 1_000}, follow=False))
        kinds = [entry["kind"] for entry in entries]
        refused = [entry for entry in entries if entry["kind"] == "signal" and entry["fields"].get("verdict") == "refuse"]
        wanted = {"pairing-approved": 4, "downgraded": 1, "severed": 1, "effect-done": 1, "invite-consumed": 4}
        for kind, count in wanted.items():
            if kinds.count(kind) < count:
                raise Failed(f"the ledger shows {kinds.count(kind)} of {kind}, not {count}")
        if len(refused) < 3:
            raise Failed(f"the ledger shows {len(refused)} refused commands, not 3")
        return f"{len(entries)} entries: 4 pairings, 1 severance, {len(refused)} refusals"

    def checkpoint_consistent(self) -> str:
        """The house's newest checkpoint continues the one that the owner's machine cosigned."""
        with Machine.open(self._settings("owner")) as machine:
            row = the_house(machine, "")
            seen = row.seen
            if seen is None:
                raise Failed("the owner's machine has seen no checkpoint")

            async def ask() -> answers.SignedCheckpoint:
                async with await HouseSession.open(machine, row) as session:
                    place = f"/v1/checkpoint?old={seen.size}"
                    return await session.get_json(place, verb="house.checkpoint", kind=answers.SignedCheckpoint)

            shown = run(ask())
        checkpoint, _ = read_checkpoint(shown["checkpoint"].encode())
        if checkpoint.size > seen.size:
            proof = [bytes.fromhex(each) for each in shown["proof"]]
            verify_consistency(old=seen.size, new=checkpoint.size, old_root=seen.root, new_root=checkpoint.root, proof=proof)
        elif checkpoint.size < seen.size or checkpoint.root != seen.root:
            raise Failed("the house shows another history")
        return f"{checkpoint.size} entries continue the {seen.size} that were cosigned"

    def verify(self) -> str:
        """The house's files, judged by the log's keys as the owner's machine knows them."""
        with Machine.open(self._settings("owner")) as machine:
            keys = [str(each.key) for each in Witness(machine, the_house(machine, "")).log()[1]]
        found = auditing.verify(
            self._settings("attic"),
            target=None,
            keys=keys,
            witnesses=(),
            checkpoints=(),
            full=True,
            state=self._folder / "verified.json",
            progress=lambda what, done, total: None,
        )
        if not found["ok"]:
            raise Failed("; ".join(each["text"] for each in found["findings"][:3]))
        return f"{found['entries']} entries proven, {found['checkpoint']} of them signed for"

    # --- Afterwards ------------------------------------------------------------------------------------------------------

    def stay(self) -> None:
        """Keep the house until Ctrl-C or SIGTERM."""
        self._say({"step": "running", "ok": True, "seconds": 0.0, "detail": f"try: tally status --home {self._folder / 'attic'}"})
        self._say({"step": "running", "ok": True, "seconds": 0.0, "detail": f"try: tally ls --home {self._folder / 'laptop'}"})
        stop = threading.Event()
        with contextlib.suppress(ValueError):  # not in the main thread: whoever runs us stops us
            signal.signal(signal.SIGTERM, lambda *_: stop.set())
        with contextlib.suppress(KeyboardInterrupt):
            while not stop.wait(0.5) and self._process is not None and self._process.poll() is None:
                pass

    def close(self) -> None:
        """Stop the house."""
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process is not None and process.stdout is not None:
            process.stdout.close()
