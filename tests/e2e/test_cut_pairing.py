"""A ceremony whose client or house dies at any of its stages leaves nothing half-paired (docs/spec/pairing.md, section 3)."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.errors import Misuse, Unavailable
from tests.e2e.support import Client, House, killed_in_the_end, until, wrong_clock

STAGES = ("hello", "open", "stored", "words")
DAY_AND_MORE = {"FAKETIME": "+25h"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One house with its owner; the tests leave it as it was."""
    with House(tmp_path_factory.mktemp("cut")) as made:
        yield made


@contextlib.contextmanager
def paced(client: Client, invite: str) -> Iterator["subprocess.Popen[str]"]:
    """A pairing that waits at each stage."""
    with killed_in_the_end(client.program("tests.e2e.paced", str(client.path), invite, client.name)) as process:
        yield process


def reach(process: "subprocess.Popen[str]", stage: str) -> None:
    """Let it go on until it says that it is at this stage."""
    if process.stdout is None:
        raise AssertionError("it was started with pipes")
    for each in STAGES:
        line = process.stdout.readline()
        assert line.split(" ")[0].strip() == each, line + process.stdout.read()
        if each == stage:
            return
        go_on(process)


def go_on(process: "subprocess.Popen[str]") -> None:
    """Let it take the next step."""
    if process.stdin is None:
        raise AssertionError("it was started with pipes")
    process.stdin.write("\n")
    process.stdin.flush()


def outcome(process: "subprocess.Popen[str]") -> dict[str, object]:
    """Let it run to its end."""
    with contextlib.suppress(BrokenPipeError):
        for _ in STAGES:
            go_on(process)
    out, _ = process.communicate(timeout=40)
    found: dict[str, object] = json.loads(out.splitlines()[-1])
    return found


def states(house: House, label: str) -> list[str]:
    """The states of the house's pairs of that label."""
    return [row["state"] for row in house.pairs() if row["label"] == label]


@pytest.mark.parametrize("stage", STAGES[:3])
def test_the_client_dies_before_its_proofs(house: House, stage: str) -> None:
    """Killed before its proofs have left, the client leaves nothing at the house but a used invite; its own half, if it has one, lapses."""
    client = house.client(f"dead-at-{stage}", timeout_s=1)
    before, consumed = house.secrets(), len(house.log("invite-consumed"))
    invite = house.owner.invite("INPUT", label=client.name, approve=True, ttl_s=60)
    with paced(client, invite) as process:
        reach(process, stage)
        process.kill()
        process.wait(10)
    until(lambda: len(house.log("invite-consumed")) > consumed, "the invite is used")
    assert states(house, client.name) == []
    assert house.inbox() == []
    until(lambda: house.secrets() == before, "the house keeps nothing")
    if stage == "stored":
        assert [row["state"] for row in client.pairs()] == ["waiting"]
        house.fails(Unavailable, client.ping)
        assert "in time" in client.cli("ping", code=1, env={**wrong_clock(), **DAY_AND_MORE}).stderr
    assert client.pairs() == []
    assert client.secrets() == []
    house.fails(Unavailable, client.pairing(invite).wait)


def test_the_client_dies_while_it_waits_and_is_approved(house: House) -> None:
    """Both halves are stored: the approval counts, and the client's next knock tells it so."""
    client = house.client("dead-then-approved")
    with paced(client, house.owner.invite("INPUT", label=client.name)) as process:
        reach(process, "words")
        process.kill()
        process.wait(10)
    house.owner.approve(client.name)
    assert states(house, client.name) == ["standing"]
    assert [row["state"] for row in client.pairs()] == ["waiting"]
    client.ping()
    assert [row["state"] for row in client.pairs()] == ["standing"]


def test_the_client_dies_while_it_waits_and_is_denied(house: House) -> None:
    """Denied while the client is dead: the house keeps nothing, the client meets silence and its half lapses."""
    client = house.client("dead-then-denied", timeout_s=1)
    before = house.secrets()
    with paced(client, house.owner.invite("INPUT", label=client.name)) as process:
        reach(process, "words")
        process.kill()
        process.wait(10)
    house.owner.deny(client.name)
    assert states(house, client.name) == []
    assert house.secrets() == before
    house.fails(Unavailable, client.ping)
    client.cli("ping", code=1, env={**wrong_clock(), **DAY_AND_MORE})
    assert client.pairs() == []
    assert client.secrets() == []


def test_a_proposal_that_nobody_decides_lapses(tmp_path: Path) -> None:
    """After 24 hours a waiting pairing is gone at both ends: at the house at its next start, or while it runs."""
    with House(tmp_path) as house:
        client = house.client("forgotten", timeout_s=1)
        left = client.pairing(house.owner.invite("INPUT", label=client.name), wait_s=0.5).wait()
        assert left["state"] == "waiting"
        secrets = house.secrets()
        house.restart(env={**wrong_clock(), **DAY_AND_MORE})
        assert house.inbox() == []
        assert "pairing-expired" in house.kinds()
        assert len(house.secrets()) == len(secrets) - 1
        house.stop()


@pytest.mark.parametrize("stage", STAGES[:3])
def test_the_house_dies_before_the_proofs(tmp_path: Path, stage: str) -> None:
    """The house dies before it has the client's proofs: after its start it knows nothing of that pairing."""
    with House(tmp_path) as house:
        client = house.client("orphan", timeout_s=1)
        before = house.secrets()
        invite = house.owner.invite("INPUT", label=client.name, approve=True, ttl_s=60)
        with paced(client, invite) as process:
            reach(process, stage)
            until(lambda: len(house.log("invite-consumed")) == 2, "the invite is used")
            house.kill()
            house.serve()
            ended = outcome(process)
        assert ended.get("error") in ("Unavailable", "Refused") or ended.get("state") == "waiting", ended
        assert states(house, client.name) == []
        assert house.secrets() == before
        assert "standing" not in [row["state"] for row in client.pairs()]
        house.fails(Unavailable, client.pairing(invite).wait)
        client.flags["timeout_s"] = 10
        assert client.pairing(house.owner.invite("INPUT", label=client.name, approve=True, ttl_s=60)).wait()["state"] == "standing"


@pytest.mark.parametrize("ended_by", ["kill", "stop"])
def test_the_house_ends_while_a_pairing_waits(tmp_path: Path, ended_by: str) -> None:
    """A pairing that waits outlives the house's end, orderly or not; approved after the next start it stands at both ends."""
    with House(tmp_path) as house:
        client = house.client("patient")
        with paced(client, house.owner.invite("INPUT", label=client.name)) as process:
            reach(process, "words")
            if ended_by == "kill":
                house.kill()
            else:
                assert house.stop() == 0
            house.serve()
            assert outcome(process)["state"] == "waiting"
        assert [row["label"] for row in house.owner.inbox()] == [client.name]
        house.owner.approve(client.name)
        client.ping()
        assert [row["state"] for row in client.pairs()] == ["standing"]


def test_the_house_dies_during_genesis(tmp_path: Path) -> None:
    """Killed before the first ADMIN stands, the house has no owner; the waiting proposal cannot be confirmed, a new invite works."""
    with House(tmp_path, owned=False) as house:
        with paced(house.owner, house.invite()) as process:
            reach(process, "words")
            house.kill()
            house.serve()
            assert outcome(process)["state"] == "waiting"
        waiting = house.inbox()
        assert [row["label"] for row in waiting] == ["owner"]
        error = house.fails(Misuse, house.approve, waiting[0]["id"], waiting[0]["words"])
        assert "new invite" in error.hint
        second = house.client("second-owner")
        house.genesis(second)
        second.ping()
