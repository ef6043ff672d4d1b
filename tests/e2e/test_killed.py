"""A house that is killed in the middle of something: what it acknowledged is there, nothing is half done, nothing is done twice.

Each test has its house die ahead of a step (tests/e2e/dying_house.py), starts it again, and looks at both ends.
"""

import asyncio
import hashlib
import json
import random
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tallystick.errors import TallyError, Unavailable
from tallystick.node.commands.where import the_house
from tallystick.node.remote import HouseClient
from tallystick.passage.effect import invite_name, secret_name
from tests.e2e.dying_house import dies
from tests.e2e.support import Home, House, until

MIB = 1 << 20


class Mortal:
    """A house that dies when it is told to, and a machine that is paired with it."""

    def __init__(self, house: House, file: Path) -> None:
        self.house = house
        self.file = file
        self.client = house.machine("laptop", timeout_s=20)

    def killed(self, step: str, number: int, work: Callable[[], object]) -> tuple[bool, Any]:
        """Begin something and have the house die ahead of a step of it, then start it again. Returns: whether it died, and what
        became of the work: its value or its error."""
        outcome: list[Any] = []

        def run() -> None:
            try:
                outcome.append(work())
            except TallyError as error:
                outcome.append(error)

        dies(self.file, step, number)
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        until(lambda: outcome or not self.file.exists(), f"the house dies ahead of {step} {number}, or the work is done", 40)
        try:
            self.file.unlink()  # it is done, and the house shall live
        except FileNotFoundError:
            self._rises()
            died = True
        else:
            died = False
        thread.join(60)
        assert outcome, "the work did not come to an end"
        return died, outcome[0]

    def die(self, step: str, number: int) -> None:
        """Have the house die at a step of what is under way, then start it again."""
        dies(self.file, step, number)
        until(lambda: not self.file.exists(), f"the house dies ahead of {step} {number}", 40)
        self._rises()

    def _rises(self) -> None:
        process = self.house.process
        assert process is not None
        assert process.wait(10) == -signal.SIGKILL
        self.house.close()
        self.house.serve()


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mortal]:
    """For all tests here: each leaves a house that runs."""
    folder = tmp_path_factory.mktemp("killed")
    house = House(folder)
    house.runs = ("tests.e2e.dying_house", str(folder / "dies"))
    with house:
        yield Mortal(house, folder / "dies")


def open_effects(house: House) -> list[int]:
    """Effects that began and have not come to an end: done, failed or unknown. Nothing ends twice."""
    ended = [entry["fields"]["entry"] for kind in ("effect-done", "effect-failed", "effect-unknown") for entry in house.log(kind)]
    assert len(ended) == len(set(ended)), sorted(ended)
    return sorted({entry["index"] for entry in house.log("effect-begun")} - set(ended))


def staged(house: House) -> int:
    """Bytes of uploads under way."""
    return sum(path.stat().st_size for path in house.settings().root.glob(".tally/uploads/*.data"))


# --- Files -----------------------------------------------------------------------------------------------------------


def test_during_a_put(mortal: Mortal) -> None:
    """In the middle of the bytes: after the start there is no half file, and the same put goes on where the house has it."""
    house, client = mortal.house, mortal.client
    content = secrets.token_bytes(MIB) * 96
    outcome: list[Any] = []
    thread = threading.Thread(target=lambda: outcome.append(client.put(content, "big.bin")), daemon=True)
    thread.start()
    until(lambda: staged(house) > 8 * MIB, "the put is under way")
    house.kill()
    kept = staged(house)
    assert 8 * MIB < kept <= len(content)
    house.serve()
    thread.join(60)
    assert outcome, "the put did not come to an end"
    assert outcome[0]["sha256"] == hashlib.sha256(content).hexdigest()
    assert client.names() == ["big.bin"]
    assert hashlib.sha256(client.get("big.bin")).digest() == hashlib.sha256(content).digest()
    carried = [entry["fields"]["bytes_in"] for entry in house.log("session-ended") if entry["fields"]["bytes_in"] > MIB]
    assert sum(carried) < len(content) - 4 * MIB, "it went on where it stopped"
    assert staged(house) == 0
    assert open_effects(house) == []
    client.rm("big.bin")


ENDS = {
    "Record 3": ["effect-done"],  # the closing signal was not recorded: it was given once more
    "Perform 2": ["effect-unknown", "effect-done"],  # recorded and not begun: void, and given once more
    "rename 2": ["effect-unknown", "effect-done"],
    "rename 3": ["effect-done", "effect-failed"],  # in the journal: completed at the start, and the second asking met no upload
    "rename 4": ["effect-done", "effect-failed"],
    "rename 5": ["effect-done", "effect-failed"],
    "Record 4": ["effect-unknown", "effect-failed"],  # done, but nobody had written it down: the archive has it
}


@pytest.mark.parametrize("where", ENDS)
def test_during_a_commit(mortal: Mortal, where: str) -> None:
    """Ahead of any step of a put's last part: the put goes through by itself, the content takes its place once, no effect stays open."""
    house, client = mortal.house, mortal.client
    name = f"{where}.txt"
    client.put(b"before", name)
    begun, versions = len(house.log()), client.summary()["versions"]
    after = b"killed ahead of " + where.encode()
    step, number = where.split(" ")
    died, outcome = mortal.killed(step, int(number), lambda: client.put(after, name))
    assert died
    assert not isinstance(outcome, TallyError), outcome
    assert outcome["sha256"] == hashlib.sha256(after).hexdigest()
    assert client.get(name) == after
    assert client.summary()["versions"] == versions + 1
    ends = [entry["kind"] for entry in house.log()[begun:] if entry["kind"].startswith("effect-") and entry["kind"] != "effect-begun"]
    assert ends == ENDS[where]
    assert open_effects(house) == []
    assert staged(house) == 0


def test_during_a_removal(mortal: Mortal) -> None:
    """A command that nobody repeats: where its end is not recorded it is `effect-unknown` for everybody who looks, whether it was done
    or not, and no start does it after all."""
    house, client = mortal.house, mortal.client
    for step, number, stays in (("Perform", 1, True), ("Record", 3, False)):
        client.put(b"content", "mortal.txt")
        died, outcome = mortal.killed(step, number, lambda: client.rm("mortal.txt"))
        assert died
        assert isinstance(outcome, Unavailable)
        assert ("mortal.txt" in client.names()) == stays
        shown = house.cli("log", "--kind", "effect-unknown", "--json").stdout.splitlines()
        begun = house.log("effect-begun")[-1]
        assert json.loads(shown[-1])["fields"]["entry"] == begun["index"]
        assert begun["fields"]["effect"] == "archive.rm"
    assert open_effects(house) == []


def test_again_and_again(mortal: Mortal) -> None:
    """Under a stream of puts the house dies at any step: what was acknowledged is there, and each file is whole."""
    house, client = mortal.house, mortal.client
    chance = random.Random(11)
    sent: dict[str, bytes] = {}
    acknowledged: list[str] = []
    over = threading.Event()

    async def write() -> None:
        with client.open() as machine:
            async with await HouseClient.open(machine, the_house(machine, "")) as attic:
                while not over.is_set():
                    name, content = f"many-{len(sent)}.bin", secrets.token_bytes(3_000)
                    sent[name] = content
                    await attic.put(name, content)
                    acknowledged.append(name)

    failed: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(write())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        for _ in range(4):
            count = len(acknowledged)
            until(lambda count=count: len(acknowledged) > count or failed, "it writes", 20)  # type: ignore[misc]
            mortal.die("effect" if chance.random() < 0.5 else "disk", chance.randrange(1, 40))
    finally:
        over.set()
        thread.join(40)
    assert not failed, failed
    there = [name for name in client.names() if name.startswith("many-")]
    assert sorted(acknowledged) == sorted(there) == sorted(sent)
    for name in there:
        assert client.get(name) == sent[name], name
    assert open_effects(house) == []


# --- Pairs ------------------------------------------------------------------------------------------------------------


def states(home: Home, label: str) -> list[str]:
    """The states of a home's pairs of that label."""
    return [row["state"] for row in home.pairs() if row["label"] == label]


def secrets_fit(house: House) -> None:
    """One secret for each pair that stands or waits and for each invite that is open, and no other."""
    with house.open() as machine:
        wanted = {secret_name(row.pairing) for row in machine.store.pairs() if row.state in ("standing", "pending")}
        wanted |= {invite_name(row.invite) for row in machine.store.invites() if row.state == "open"}
        assert set(machine.vault.list()) == wanted


def test_during_a_pairing(mortal: Mortal) -> None:
    """Ahead of the steps of a pairing: afterwards it stands at both ends, or waits for a human who can approve it, or nothing is left
    of it and a new invite works."""
    house, owner = mortal.house, mortal.house.owner
    ended, died = [], True
    for number in (2, 4, 5, 6, 7, 40):
        client = house.client(f"guest{number}", timeout_s=2)
        invite = owner.invite("INPUT", label=client.name, approve=True, ttl_s=60)
        died, outcome = mortal.killed("effect", number, lambda: client.pairing(invite, wait_s=5).wait())  # noqa: B023
        if not died:
            break
        secrets_fit(house)
        found = states(house, client.name)
        ended.append(found[0] if found else "none")
        if not found:
            assert "standing" not in [row["state"] for row in client.pairs()], outcome
            invite = owner.invite("INPUT", label=client.name, approve=True, ttl_s=60)
            assert client.pairing(invite).wait()["state"] == "standing"
        elif found == ["waiting"]:
            owner.approve(client.name)
        client.flags["timeout_s"] = 20
        client.ping()
        assert states(house, client.name) == ["standing"]
        secrets_fit(house)
    assert not died
    assert sorted(set(ended)) == ["none", "standing", "waiting"], ended


@pytest.mark.parametrize("step", ["Record", "Close", "Destroy"])
@pytest.mark.parametrize("by", ["house", "machine"])
def test_during_a_severance(mortal: Mortal, step: str, by: str) -> None:
    """Ahead of each step of a severance: from its entry on the pair is silent and its secret goes with the next start; before it the
    pair stands as it stood. A machine that severed its own end has done so whatever becomes of its house."""
    house = mortal.house
    client = house.machine(f"cut-{step}-{by}", timeout_s=1)
    if by == "house":
        died, outcome = mortal.killed(step, 1, lambda: house.sever(client.name))
    else:
        # The machine's knock is recorded first.
        died, outcome = mortal.killed(step, 2 if step == "Record" else 1, client.sever)
    assert died
    severed = [entry for entry in house.log("severed") if entry["name"] == client.name]
    assert len(severed) == (step != "Record")
    assert states(house, client.name) == ["severed" if severed else "standing"]
    secrets_fit(house)
    if by == "machine":
        assert [row["state"] for row in client.pairs()] == ["severed"]
        assert client.secrets() == []
    elif severed:
        assert isinstance(outcome, Unavailable)
        house.fails(Unavailable, client.ping)
    else:
        client.flags["timeout_s"] = 20
        client.ping()
        house.sever(client.name)
    mortal.client.ping()
