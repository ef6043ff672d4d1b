"""A source asks, a person decides: `tally serve` in a process of its own, the owner's own commands, a house that is killed meanwhile."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tallystick.errors import Misuse, Refused, TallyError, Unproven
from tallystick.node import commands
from tests.e2e.dying_house import dies
from tests.e2e.support import House, passphrase, until

TOML = """
notify_command = ["/bin/sh", "-c", "cat >> {folder}/told"]
notify_url = "http://127.0.0.1:{port}/hook?a=b"

[verbs.once]
argv = ["/bin/sh", "-c", "echo x >> {folder}/ran"]
class = "write"

[verbs.name]
argv = ["/bin/sh", "-c", "cat; exit 3"]
input_bytes = 100
"""


class Hook(http.server.BaseHTTPRequestHandler):
    """A web hook that keeps what it is told."""

    told: ClassVar[list[tuple[str, Any]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.told.append((self.path, json.loads(body)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Place:
    """A house with named programs, a hook that is told, its owner, and a source on its own computer."""

    def __init__(self, house: House, folder: Path) -> None:
        self.house = house
        self.folder = folder

    def ask(self, verb: str, target: str, body: bytes | None = None, key: str = "agent") -> int:
        """The source asks; the proposal that waits for it."""
        file = self.folder / "body"
        file.write_bytes(body or b"")
        found = commands.emit(
            self.house.settings(),
            key=key,
            signal_class="sensor",
            action="write",
            verb=verb,
            target=target,
            body=None if body is None else str(file),
            place=None,
            prev=(),
            deliver_to=(),
            house="",
        )
        assert found["verdict"] == "held"
        proposal: int = found["proposal"]
        return proposal

    def approve(self, *proposals: int, sure: Callable[[Sequence[Mapping[str, Any]]], bool] = lambda _: True, **more: Any) -> dict[str, Any]:
        found: dict[str, Any] = commands.approve(
            self.house.owner.settings(),
            proposals=[str(each) for each in proposals],
            confirm=lambda _: False,
            sure=sure,
            passphrase=passphrase,
            scripted=True,
            **more,
        )
        return found

    def inbox(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = commands.inbox(self.house.owner.settings())["held"]
        return found

    def show(self, proposal: int) -> dict[str, Any]:
        found: dict[str, Any] = commands.inbox_show(self.house.owner.settings(), proposal=str(proposal))
        return found

    def file(self, name: str) -> bytes | None:
        path = self.house.settings().root / name
        return path.read_bytes() if path.exists() else None

    def ran(self) -> int:
        path = self.folder / "ran"
        return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """For all tests here: each leaves a house that runs."""
    folder = tmp_path_factory.mktemp("inbox")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    house = House(folder)
    house.runs = ("tests.e2e.dying_house", str(folder / "dies"))
    house.path.mkdir(mode=0o700)
    house.init()
    (house.path / "tally.toml").write_text(TOML.format(folder=folder, port=server.server_address[1]))
    with house:
        commands.key_new(house.settings(), label="agent", passphrase=passphrase, scripted=True, source=True)
        public = commands.key_ls(house.settings())["keys"]
        commands.grant(
            house.owner.settings(),
            key=next(key["public"] for key in public if key["label"] == "agent"),
            classes=["sensor"],
            actions=[],
            targets=[],
            schedule="",
            place="",
            expires_ns=None,
            label="agent",
            house="",
            passphrase=passphrase,
        )
        yield Place(house, folder)
    server.shutdown()


def test_from_the_question_to_the_file(place: Place) -> None:
    """Asked on the house's own computer, shown on the owner's with the change line by line, approved there, done; the record tells."""
    place.house.owner.put(b"one\ntwo\n", "notes/a.txt")
    proposal = place.ask("archive.put", "PUT /v1/files/notes/a.txt", b"one\nthree\n")
    (row,) = [row for row in place.inbox() if row["id"] == proposal]
    assert (row["proven"], row["risk"], row["verb"], row["class"], row["reason"]) == (True, "medium", "archive.put", "sensor", "rights")
    assert "agent" in row["who"]
    shown = place.show(proposal)
    assert {"-two", "+three", " one"} <= set(shown["effect"])
    seen: list[Any] = []

    def sure(rows: Sequence[Mapping[str, Any]]) -> bool:
        seen.extend(rows)
        return True

    done = place.approve(proposal, sure=sure, reason="looks right")
    assert seen[0]["effect"] == shown["effect"]
    (item,) = done["items"]
    assert (item["why"], item["result"], item["status"]) == ("released", "done", 200)
    assert place.file("notes/a.txt") == b"one\nthree\n"
    assert proposal not in [row["id"] for row in place.inbox()]


def test_a_person_who_says_no(place: Place) -> None:
    """Shown and not meant: nothing is signed. Denied: it is over. A wrong passphrase decides nothing."""
    proposal = place.ask("archive.put", "PUT /v1/files/no.txt", b"x")
    with pytest.raises(Refused, match="nothing was approved"):
        place.approve(proposal, sure=lambda _: False)
    settings = place.house.owner.settings()
    with pytest.raises(Unproven):
        commands.deny(settings, proposal=str(proposal), reason="no", passphrase=lambda _: b"wrong passphrase, really")
    commands.deny(settings, proposal=str(proposal), reason="not-now", passphrase=passphrase)
    with pytest.raises(Refused):
        place.approve(proposal)
    assert place.file("no.txt") is None
    with pytest.raises(Misuse):
        commands.edit(place.house.settings(), proposal=str(proposal), body=None, target="/x", sure=lambda _: True, passphrase=passphrase)


def test_something_else_in_its_place(place: Place) -> None:
    """The owner's own signal, which follows the source's: it waits, for the source is still behind it; the old one is over."""
    proposal = place.ask("archive.put", "PUT /v1/files/draft.txt", b"teh text\n")
    better = place.folder / "better"
    better.write_bytes(b"the text\n")
    done = commands.edit(
        place.house.owner.settings(), proposal=str(proposal), body=better, target=None, sure=lambda _: True, passphrase=passphrase
    )
    assert done["verdict"] == "held"
    assert (place.show(proposal)["state"], place.show(done["proposal"])["class"]) == ("ended", "human")
    assert [link["label"] for link in place.show(done["proposal"])["chain"]] == ["agent"]
    assert place.house.log("proposal-ended")[-1]["fields"]["reason"] == "edited"
    place.approve(done["proposal"])
    assert place.file("draft.txt") == b"the text\n"


def test_who_wants_to_know_is_told(place: Place) -> None:
    """The program and the web hook: which proposal, its risk, class and verb; nothing of what it is about."""
    proposal = place.ask("archive.rm", "DELETE /v1/files/secret-name.txt")
    until(lambda: any(notice["id"] == proposal for _, notice in Hook.told), "the hook is told")
    (path, notice) = next(each for each in Hook.told if each[1]["id"] == proposal)
    assert path == "/hook?a=b"
    assert notice | {"house": "", "time_ns": 0} == {
        "house": "",
        "time_ns": 0,
        "event": "held",
        "id": proposal,
        "risk": "high",
        "class": "sensor",
        "verb": "archive.rm",
    }
    until(lambda: f'"id":{proposal},' in (place.folder / "told").read_text(), "the program is told")
    assert "secret" not in (place.folder / "told").read_text() + json.dumps(Hook.told)


def test_a_program_over_the_pair(place: Place) -> None:
    """`tally verb run` of class admin: signed with the owner's key; what it says comes back, and its status."""
    said = bytearray()
    ran = commands.verb_run(
        place.house.owner.settings(), name="name", house="", given=b"hello", hear=lambda _, chunk: said.extend(chunk), passphrase=passphrase
    )
    assert (ran["ending"], ran["status"], bytes(said)) == ("exited", 3, b"hello")
    with pytest.raises(Refused):
        commands.verb_run(place.house.owner.settings(), name="none", house="", given=None, hear=lambda *_: None, passphrase=passphrase)


# Which step of the house is its last, counted from the moment the owner has said yes: the session, the command, the approval (4), `begun`
# (5), the program (6), its end (7), and one that lets everything through.
@pytest.mark.parametrize("last", [2, 4, 5, 6, 7, 20])
def test_a_house_that_is_killed_meanwhile_does_it_once_or_not_at_all(place: Place, last: int) -> None:
    """After its next start: what was begun is not begun again, what was only approved is carried out, what was not approved waits."""
    before, effects = place.ran(), len(place.house.log("effect-begun"))
    proposal = place.ask("verb.once", "POST /v1/verbs/once")
    outcome: list[Any] = []
    said_yes = threading.Event()

    def yes(_: object) -> bool:
        dies(place.folder / "dies", "effect", last)
        said_yes.set()
        return True

    def work() -> None:
        try:
            outcome.append(place.approve(proposal, sure=yes))
        except TallyError as error:
            outcome.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert said_yes.wait(60)
    until(lambda: outcome or not (place.folder / "dies").exists(), "the house dies or the work is done", 60)
    if (place.folder / "dies").exists():
        (place.folder / "dies").unlink()
    else:
        process = place.house.process
        assert process is not None
        process.wait(20)
        place.house.close()
        place.house.serve()
    thread.join(90)
    assert outcome
    state = until(lambda: (found := place.show(proposal)["state"]) not in ("approved", "begun") and found, "it comes to an end", 30)
    begun = place.house.log("effect-begun")[effects:]
    ended = {
        entry["fields"]["entry"]: entry["kind"] for kind in ("done", "failed", "unknown") for entry in place.house.log(f"effect-{kind}")
    }
    mine = [entry for entry in begun if entry["fields"].get("entry") == proposal]
    ran = place.ran() - before
    if state == "held":
        assert (len(mine), ran) == (0, 0)
        place.approve(proposal)
        assert place.ran() == before + 1
        return
    assert len(mine) == 1
    end = ended[mine[0]["index"]]
    assert end in ("effect-done", "effect-unknown")
    assert ran == 1 if end == "effect-done" else ran in (0, 1)
    with pytest.raises(TallyError):
        place.approve(proposal)
    assert place.ran() == before + ran


def test_the_ledger_of_all_this_holds(place: Place) -> None:
    """Signatures, statements, openings and state: what was asked, approved, edited, run and killed is proven as a whole."""
    found = commands.verify(
        place.house.settings(),
        target=None,
        keys=(),
        witnesses=(),
        checkpoints=(),
        policy=None,
        full=True,
        state=None,
        progress=lambda *_: None,
    )
    assert (found["ok"], found["findings"]) == (True, [])
