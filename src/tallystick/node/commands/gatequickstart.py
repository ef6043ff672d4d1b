"""quickstart, the gate's steps: sources that a human signs in, claims that nobody believes, a write that waits, and the story of it.

Each source signs with a key of its own and speaks to `gate.sock` of the house that runs; the cron job does so as a process of its own, as a
cron daemon starts it. The owner signs on the owner's machine, over its pair.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tallystick.errors import Refused
from tallystick.facts.fact import Point
from tallystick.gate.signal import encode_signal
from tallystick.keys import KeyClass, PublicKey, Signer, sign1
from tallystick.node.commands import explaining, files, granting, house, keys
from tallystick.node.commands.decisions import approve as approve_held
from tallystick.node.commands.here import run
from tallystick.node.gatewords import Verdict
from tallystick.node.localhouse import open_house
from tallystick.node.machine import Machine
from tallystick.node.settings import Settings
from tallystick.node.speaking import SignalSource, SignedSignal

BERLIN: Final = Point(525_200_000, 134_050_000, 50)
TOKYO: Final = Point(356_812_000, 1_397_671_000, 50)
NOTE: Final = b"The door of the attic stands open. Close it before the rain.\n"
NOTE_PATH: Final = "notes/attic.txt"
EARLIER_NS: Final = 10 * 10**9  # the first frame was made then: two places at one moment would be another rule
PROCESS_S: Final = 30
_SIGNED: Final = ("holds", "none")

Act = Callable[[], str]


class Failed(Exception):
    """A step did not come out as it should."""


@dataclass
class GateSteps:
    """The steps in their order, and what one leaves for the next."""

    settings: Callable[[str], Settings]
    passphrase: Callable[[str], bytes]
    folder: Path
    _frame: SignedSignal | None = None
    _first: int = 0
    _proposal: int = 0
    _write: int = 0
    _sources: dict[str, SignalSource] = field(default_factory=dict)

    def steps(self) -> tuple[tuple[str, Act], ...]:
        """Names and what they do."""
        return (
            ("grant-camera", self.grant_camera),
            ("grant-cron", self.grant_cron),
            ("grant-feed", self.grant_feed),
            ("grant-agent", self.grant_agent),
            ("forged-human-refused", self.forged_human_refused),
            ("impossible-transit-refused", self.impossible_transit_refused),
            ("agent-write-held", self.agent_write_held),
            ("approve", self.approve),
            ("write-done", self.write_done),
            ("revoke", self.revoke),
            ("story", self.story),
        )

    # --- Sources -----------------------------------------------------------------------------------------------------------

    def _granted(self, name: str, signal_class: str, *, actions: Sequence[str] = (), schedule: str = "") -> str:
        """A key of its own for a source, signed into existence by the owner's human key."""
        made = keys.key_new(self.settings("attic"), label=name, passphrase=self.passphrase, scripted=True, source=True)
        known = granting.grant(
            self.settings("owner"),
            key=made["public"],
            classes=(signal_class,),
            actions=actions,
            targets=(),
            schedule=schedule,
            place="",
            expires_ns=None,
            label=name,
            house="",
            passphrase=self.passphrase,
        )
        with Machine.open(self.settings("attic")) as machine:
            self._sources[name] = SignalSource.load(machine, name)
        return f"key #{known['number']} ({name}) may speak as {signal_class}, entry {known['entry']}"

    def _tell(self, signal: SignedSignal, *deliver_to: str) -> Verdict:
        """Hand a signal to the house that runs."""

        async def work() -> Verdict:
            async with open_house(self.settings("attic").home) as gate:
                return await gate.admit(signal, deliver_to=[bytes(self._sources[name].key_id) for name in deliver_to])

        return run(work())

    def grant_camera(self) -> str:
        """A camera; its first frame is believed."""
        detail = self._granted("camera-feed", "sensor/camera")
        camera = self._sources["camera-feed"]
        camera.clock = lambda: time.time_ns() - EARLIER_NS
        self._frame = camera.sign(
            "sensor/camera",
            "metadata",
            "camera.frame",
            target=("POST", "/rooms/attic"),
            place=BERLIN,
            observations=("the door stands open",),
        )
        camera.clock = time.time_ns
        verdict = self._tell(self._frame)
        if not verdict.allowed or verdict.entry is None:
            raise Failed(f"its frame is {verdict.word}")
        self._first = verdict.entry
        return f"{detail}; a frame from Berlin is allowed, entry {verdict.entry}"

    def grant_cron(self) -> str:
        """A cron job, started as a process of its own at a time of its schedule."""
        detail = self._granted("nightly", "cron", schedule="* * * * *")
        command = [sys.executable, "-m", "tallystick", "emit", "--json", "--home", str(self.settings("attic").home), "--key", "nightly"]
        command += ["--class", "cron", "--action", "metadata", "--verb", "backup.run"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROCESS_S, env=environment, check=False)
        if done.returncode:
            raise Failed(f"its process ended with {done.returncode}: {done.stderr.strip()[:200]}")
        said = json.loads(done.stdout)
        if said["verdict"] != "allowed":
            raise Failed(f"its signal is {said['verdict']}")
        return f"{detail}; a process of its own signs in its minute, entry {said['entry']}"

    def grant_feed(self) -> str:
        """A feed."""
        return self._granted("weather", "feed")

    def grant_agent(self) -> str:
        """An agent that may write, if all that is behind it may."""
        detail = self._granted("agent", "llm", actions=("metadata", "read", "propose", "write"))
        agent = bytes(self._sources["agent"].key_id)

        async def begin() -> int:
            async with open_house(self.settings("attic").home) as gate:
                return await gate.begin_context(agent)

        return f"{detail}; its context begins at entry {run(begin())}"

    # --- What nobody believes ------------------------------------------------------------------------------------------------

    def forged_human_refused(self) -> str:
        """The feed claims to be a human, and signs under the owner's name."""
        feed, owner, refused = self._sources["weather"], self._owner(), []
        with Machine.open(self.settings("attic")) as machine:
            forger = next(key for key in machine.vault.sources() if key.label == "weather").signer()
        for verb, action in (("agent.terminate", "admin"), ("gate.override", "admin"), ("archive.rm", "write")):
            claimed = feed.sign("human", action, verb, target=("DELETE", "/v1/files/photos/photo.raw"))
            forged = sign1(_Forger(owner, forger), encode_signal(claimed.claims))
            for signal in (claimed.raw, forged):
                verdict = self._hand_in(signal, claimed.opening)
                if not verdict.refused or verdict.entry is None:
                    raise Failed(f"{verb} is {verdict.word}")
                refused.append(verdict.entry)
        words = [entry["fields"]["reason"] for entry in self._entries() if entry["index"] in refused]
        if sorted(set(words)) != ["class", "unproven"]:
            raise Failed(f"they were refused for {sorted(set(words))}")
        there = files.ls(self.settings("owner"), house="", path="photos")["files"]
        if [row["name"] for row in there] != ["photo.raw"]:
            raise Failed("the file is gone")
        return f"terminate, override and delete, as a human and under the owner's name: {len(refused)} refused, each with its entry"

    def _owner(self) -> PublicKey:
        """The owner's human key, as anybody may know it."""
        with Machine.open(self.settings("owner")) as machine:
            return machine.vault.humans()[0].public

    def _hand_in(self, signal: bytes, opening: bytes) -> Verdict:
        async def work() -> Verdict:
            async with open_house(self.settings("attic").home) as gate:
                return await gate.admit(signal, opening)

        return run(work())

    def _entries(self) -> list[dict[str, Any]]:
        return list(house.log(self.settings("owner"), house="attic", query={"limit": 1_000}, follow=False))

    def impossible_transit_refused(self) -> str:
        """The camera was in Berlin ten seconds before it says that it is in Tokyo."""
        frame = self._sources["camera-feed"].sign("sensor/camera", "metadata", "camera.frame", place=TOKYO)
        verdict = self._tell(frame)
        found = [entry for entry in self._entries() if entry["index"] == verdict.entry]
        fields = found[0]["fields"] if found else {}
        if not verdict.refused or fields.get("rule") != "impossible-transit":
            raise Failed(f"it is {verdict.word}, for {fields.get('rule')}")
        return f"entry {verdict.entry}: {fields['rule']}, because of entry {', '.join(map(str, fields['facts']))}"

    # --- A write that waits ----------------------------------------------------------------------------------------------------

    def agent_write_held(self) -> str:
        """The agent may write; the camera and the feed behind what it wants may not."""
        news = self._sources["weather"].sign("feed", "metadata", "weather.report", observations=("rain at noon",))
        if not self._tell(news, "agent").allowed or self._frame is None:
            raise Failed("the feed's report is not allowed")
        signal = self._sources["agent"].sign(
            "llm", "write", "archive.put", target=("PUT", f"/v1/files/{NOTE_PATH}"), body=NOTE, prev=(self._frame,)
        )
        verdict = self._tell(signal)
        if not verdict.held or verdict.proposal is None or verdict.entry is None:
            raise Failed(f"it is {verdict.word}")
        self._proposal, self._write = verdict.proposal, verdict.entry
        try:
            files.ls(self.settings("owner"), house="", path="notes")
        except Refused:
            return f"{len(NOTE)} bytes for {NOTE_PATH} wait as proposal {verdict.proposal}; nothing is written"
        raise Failed("the folder is there already")

    def approve(self) -> str:
        """The owner looks at what exactly would be written, and signs that."""
        seen: list[str] = []

        def sure(shown: Sequence[Mapping[str, Any]]) -> bool:
            seen.extend(line for each in shown for line in each["effect"])
            return any("Close it before the rain." in line for line in seen)

        done = approve_held(
            self.settings("owner"), proposals=[str(self._proposal)], confirm=lambda _: False, sure=sure, times=None, until_ns=None,
            only_body=False, only_origins=False, only_target=False, reason="it-is-true", passphrase=self.passphrase, scripted=True,
        )  # fmt: skip
        if [item["result"] for item in done["items"]] != ["done"]:
            raise Failed(f"it was approved and is {done['items']}")
        return f"entry {done['entry']}, after {len(seen)} lines of what exactly would be written; done"

    def write_done(self) -> str:
        """The file is there, byte for byte."""
        target = self.folder / "note.txt"
        files.get(self.settings("owner"), house="", path=NOTE_PATH, target=target, span=None, progress=lambda done, total: None)
        if target.read_bytes() != NOTE:
            raise Failed("the bytes differ")
        return f"{NOTE_PATH}: {len(NOTE)} bytes, as they were approved"

    # --- Afterwards --------------------------------------------------------------------------------------------------------------

    def revoke(self) -> str:
        """The camera turns out to be compromised, since its first frame; at once it is believed no more."""
        ended = granting.key_revoke(
            self.settings("owner"), key=str(self._sources["camera-feed"].key_id), since=self._first, house="", passphrase=self.passphrase
        )
        verdict = self._tell(self._sources["camera-feed"].sign("sensor/camera", "metadata", "camera.frame"))
        if not verdict.refused:
            raise Failed(f"a frame of the revoked camera is {verdict.word}")
        return f"key #{ended['number']} is compromised since entry {self._first} (entry {ended['entry']}); its next frame is refused"

    def story(self) -> str:
        """How the note came to be written, told from the house's ledger."""
        told = explaining.explain(self.settings("attic"), signal=str(self._write), house=None, quick=False, all_now=True, proofs=None)
        account: str = told["text"][0]
        for words in ("The write of /notes/attic.txt happened because sensor #", "approved by key #", "was later revoked."):
            if words not in account:
                raise Failed(f"the story lacks {words!r}: {account}")
        flaws = [
            each["note"] or each["signature"] for each in told["steps"][0]["after"] if each["note"] or each["signature"] not in _SIGNED
        ]
        if flaws or not any(link["proven"] and link["earlier"] == self._first for link in told["links"]):
            raise Failed(f"the story proves too little: {flaws}")
        frame = next(step for step in told["steps"] if step["entry"] == self._first)
        if not any(each["layer"] == "crypto" and each["outcome"] == "reject" for each in frame["now"]):
            raise Failed("today's layers still believe the camera")
        return account


@dataclass(frozen=True, slots=True)
class _Forger:
    """Signs with a key of its own under another's name."""

    public: PublicKey
    own: Signer

    @property
    def key_class(self) -> KeyClass:
        """As any key in a file."""
        return self.own.key_class

    def sign(self, message: bytes) -> bytes:
        """A signature, but not of the key that `public` names."""
        return self.own.sign(message)
