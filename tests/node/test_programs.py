"""Named programs at the door of a real house: who may run what, on whose word, and what the ledger keeps of it."""

import asyncio
import json
import secrets
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as any_of
from hypothesis import strategies as st

from tallystick.canonical import encode
from tallystick.errors import Malformed
from tallystick.gate.statement import sign_statement
from tallystick.keys import Signer
from tallystick.ledger.event import Kind
from tallystick.node.programs import END, read_request
from tallystick.pair.statement import PairSever
from tallystick.pair.statement import encode_statement as encode_pair_statement
from tallystick.primitives import sha256
from tallystick.rights.statement import ProgramRun, encode_statement
from tests.node.door_scene import Said, Scene, Visit, play, settled
from tests.node.estate import Human

TOML = """
[verbs.reboot]
argv = ["/bin/sh", "-c", "echo going down; echo now >&2; exit 3"]
doc = "Restart this machine"

[verbs.df]
argv = ["/bin/echo", "free", "; id $(id) `id`"]
class = "read"

[verbs.note]
argv = ["/bin/cat"]
class = "write"
input_bytes = 100

[verbs.slow]
argv = ["/bin/sh", "-c", "echo begun; exec sleep 1000"]
class = "write"
timeout_s = 1

[verbs.gone]
argv = ["/no/such/program"]
class = "write"
"""


def with_programs(folder: Path, act: Callable[[Scene], Awaitable[Any]]) -> Any:
    (folder / "attic").mkdir(mode=0o700)
    (folder / "attic" / "tally.toml").write_text(TOML)
    return play(folder, act)


def frames(body: bytes) -> list[tuple[int, bytes]]:
    """The frames of an answer; there is nothing between them and nothing behind them."""
    found = []
    while body:
        what, length = struct.unpack_from(">BI", body)
        assert len(body) >= 5 + length
        found.append((what, body[5 : 5 + length]))
        body = body[5 + length :]
    return found


def said(answer: Said, what: int) -> bytes:
    return b"".join(content for number, content in frames(answer.body) if number == what)


def end(answer: Said) -> dict[str, Any]:
    last, content = frames(answer.body)[-1]
    assert last == END
    return dict(json.loads(content))


def word(visit: Visit, name: str = "verb.reboot", *, by: Signer | None = None, given: bytes | None = None, **other: Any) -> bytes:
    """The owner's statement for a command of this visit."""
    pairing = other.pop("pairing", visit.ear.asker.pair)
    statement = ProgramRun(name=name, input=None if given is None else sha256(given), pairing=pairing)
    fields: dict[str, Any] = {"issued_at_ns": time.time_ns(), "stream": secrets.token_bytes(16), "n": 0, "salt": secrets.token_bytes(32)}
    fields |= other
    house = fields.pop("house_id", bytes(visit.estate.house.house_id))
    return sign_statement(by or visit.estate.owner.signer, encode_statement(statement), house_id=house, **fields)


async def run(
    visit: Visit, name: str, action: str, bundle: bytes | None = None, given: bytes | None = None, body: bytes | None = None
) -> Said:
    content = body if body is not None else None if bundle is None and given is None else encode([bundle, given])
    return await visit.ask("POST", f"/v1/verbs/{name}", f"verb.{name}", content, action=action)


def test_a_person_has_a_program_run(tmp_path: Path) -> None:
    """What it says comes as it stands, apart; its status is in the answer and in the ledger, and the person's word in `effect-begun`."""

    async def act(here: Scene) -> None:
        visit = here.visit("owner")
        before = here.estate.house.store.size()
        answer = await run(visit, "reboot", "admin", word(visit))
        assert (answer.status, said(answer, 1), said(answer, 2)) == (200, b"going down\n", b"now\n")
        assert end(answer) == {"ending": "exited", "status": 3, "said_bytes": 15, "dropped_bytes": 0}
        assert here.kinds(before) == ["SIGNAL", "EFFECT_BEGUN", "EFFECT_DONE", "ANSWER"]
        begun = here.event(before + 1)
        assert (begun.text("effect"), begun.blob("key"), begun.actor) == ("verb.reboot", bytes(here.estate.owner.public.key_id), "pair")
        assert begun.get("statement") is not None
        done = here.event(before + 2)
        assert (done.number("status"), done.number("entry")) == (3, before + 1)
        assert answer.entry == before

    with_programs(tmp_path, act)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "verb.df"},
        {"given": b"input"},
        {"pairing": bytes(32)},
        {"house_id": bytes(32)},
        {"issued_at_ns": 10**18},
        {"issued_at_ns": 2**62},
    ],
    ids=str,
)
def test_a_persons_word_for_something_else(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """Another program, input, pair or house, too old or from the future: refused and recorded; nothing runs."""

    async def act(here: Scene) -> None:
        visit = here.visit("owner")
        before = here.estate.house.store.size()
        answer = await run(visit, "reboot", "admin", word(visit, **wrong))
        assert answer.error == (403, "refused")
        assert here.kinds(before) == ["SIGNAL"]
        assert here.event(before).text("verdict") == "refuse"

    with_programs(tmp_path, act)


def test_admin_needs_a_persons_word(tmp_path: Path) -> None:
    """An ADMIN machine alone runs nothing of class admin; neither does the word of a key that may not, or of another kind."""

    async def act(here: Scene) -> None:
        visit = here.visit("owner")
        stranger = Human.new(here.estate.machines["owner"].vault, "stranger").signer
        machine = here.estate.machines["owner"].vault.machine.signing
        for bundle in (None, word(visit, by=stranger), word(visit, by=machine)):
            before = here.estate.house.store.size()
            assert (await run(visit, "reboot", "admin", bundle)).error == (403, "refused")
            assert here.kinds(before) == ["SIGNAL"]

    with_programs(tmp_path, act)


def test_a_persons_word_counts_once(tmp_path: Path) -> None:
    """The same statement with another command, in another session too: the ledger has its number already."""

    async def act(here: Scene) -> None:
        visit = here.visit("owner")
        bundle = word(visit)
        assert (await run(visit, "reboot", "admin", bundle)).status == 200
        before = here.estate.house.store.size()
        assert (await run(visit, "reboot", "admin", bundle)).error == (403, "refused")
        assert (await run(here.visit("owner"), "reboot", "admin", bundle)).error == (403, "refused")
        assert "EFFECT_BEGUN" not in here.kinds(before)

    with_programs(tmp_path, act)


def test_another_statement_of_the_owner_is_no_word_for_it(tmp_path: Path) -> None:
    """A severance that was signed for this house starts no program."""

    async def act(here: Scene) -> None:
        visit = here.visit("owner")
        body = encode_pair_statement(PairSever(pairing_id=visit.ear.asker.pair))
        bundle = sign_statement(
            here.estate.owner.signer,
            body,
            house_id=bytes(here.estate.house.house_id),
            issued_at_ns=time.time_ns(),
            stream=bytes(16),
            n=0,
            salt=bytes(32),
        )
        assert (await run(visit, "reboot", "admin", bundle)).error == (400, "malformed")

    with_programs(tmp_path, act)


@pytest.mark.parametrize(
    ("who", "name", "action", "allowed"),
    [
        ("user", "df", "read", True),
        ("input", "df", "read", True),
        ("interface", "df", "read", False),
        ("user", "note", "write", False),
        ("input", "note", "write", True),
        ("input", "reboot", "admin", False),
        ("user", "reboot", "admin", False),
    ],
)
def test_a_type_reaches_the_classes_it_has(tmp_path: Path, who: str, name: str, action: str, allowed: bool) -> None:
    """And sees only these in the list; even the owner's word lifts no cap."""

    async def act(here: Scene) -> None:
        visit = here.visit(who)
        answer = await run(visit, name, action, word(visit) if name == "reboot" else None)
        assert answer.status == (200 if allowed else 403)
        if who != "interface":
            listed = (await visit.ask("GET", "/v1/verbs", "house.verbs")).json["verbs"]
            assert (name in [each["name"] for each in listed]) is allowed
            assert all(each["argv"] is None for each in listed)

    with_programs(tmp_path, act)


def test_an_owner_sees_what_is_run(tmp_path: Path) -> None:
    """Arguments and all."""

    async def act(here: Scene) -> None:
        listed = (await here.visit("owner").ask("GET", "/v1/verbs", "house.verbs")).json["verbs"]
        assert [each["name"] for each in listed] == ["reboot", "df", "note", "slow", "gone"]
        assert listed[0] | {"doc": ""} == {
            "name": "reboot",
            "action": "admin",
            "doc": "",
            "input_bytes": 0,
            "output_bytes": 65_536,
            "timeout_s": 60,
            "argv": ["/bin/sh", "-c", "echo going down; echo now >&2; exit 3"],
        }

    with_programs(tmp_path, act)


def test_another_class_than_the_owners(tmp_path: Path) -> None:
    """A write signed as a read is Malformed, and the session is cut: a smaller class would pass where this must not."""

    async def act(here: Scene) -> None:
        visit = here.visit("input")
        assert (await run(visit, "note", "read", given=b"x")).error == (400, "malformed")
        assert visit.ear.cuts == ["malformed"]

    with_programs(tmp_path, act)


@pytest.mark.parametrize("name", ["reboot2", "df%20", "..", "df/x", "df;id", "Df"])
def test_there_is_nothing_but_what_the_owner_named(tmp_path: Path, name: str) -> None:
    """404, with its entry."""

    async def act(here: Scene) -> None:
        answer = await here.visit("owner").ask("POST", f"/v1/verbs/{name}", "verb.df", action="read")
        assert (answer.status, answer.entry is not None) == (404, True)

    with_programs(tmp_path, act)


def test_no_caller_adds_an_argument(tmp_path: Path) -> None:
    """Not by the query, not by a header, not by the input: what runs is the owner's list, word for word."""

    async def act(here: Scene) -> None:
        visit = here.visit("user")
        for target, headers in (("?argv=x&x=;id", ()), ("", (("x-argv", "; id"),))):
            answer = await visit.ask("POST", f"/v1/verbs/df{target}", "verb.df", action="read", headers=headers)
            assert said(answer, 1) == b"free ; id $(id) `id`\n"
        assert (await run(visit, "df", "read", given=b"x")).error == (409, "misuse")

    with_programs(tmp_path, act)


def test_input_is_signed_and_arrives(tmp_path: Path) -> None:
    """Within its bound."""

    async def act(here: Scene) -> None:
        visit = here.visit("input")
        assert said(await run(visit, "note", "write", given=b"; rm -rf /\n\0"), 1) == b"; rm -rf /\n\0"
        before = here.estate.house.store.size()
        assert (await run(visit, "note", "write", given=bytes(101))).error == (409, "misuse")
        assert here.kinds(before) == ["SIGNAL", "EFFECT_BEGUN", "EFFECT_FAILED", "ANSWER"]

    with_programs(tmp_path, act)


def test_one_that_takes_too_long(tmp_path: Path) -> None:
    """What it said is heard at once; its end says so, and the ledger that it failed by its time."""

    async def act(here: Scene) -> None:
        visit = here.visit("input")
        before = here.estate.house.store.size()
        answer = await run(visit, "slow", "write")
        assert (said(answer, 1), end(answer)["ending"], end(answer)["status"]) == (b"begun\n", "timeout", 143)
        assert here.kinds(before) == ["SIGNAL", "EFFECT_BEGUN", "EFFECT_FAILED", "ANSWER"]
        failed = here.event(before + 2)
        assert (failed.text("reason"), failed.number("status")) == ("timeout", 143)

    with_programs(tmp_path, act)


def test_one_that_is_not_there(tmp_path: Path) -> None:
    """Unavailable, recorded as failed."""

    async def act(here: Scene) -> None:
        visit = here.visit("input")
        before = here.estate.house.store.size()
        assert (await run(visit, "gone", "write")).error == (503, "unavailable")
        assert here.kinds(before) == ["SIGNAL", "EFFECT_BEGUN", "EFFECT_FAILED", "ANSWER"]

    with_programs(tmp_path, act)


def test_a_caller_who_leaves_stops_nothing(tmp_path: Path) -> None:
    """It runs to its end, and that is recorded."""

    async def act(here: Scene) -> None:
        visit = here.visit("input")
        before = here.estate.house.store.size()
        asking = asyncio.ensure_future(run(visit, "slow", "write"))
        while len(here.kinds(before)) < 2:
            await asyncio.sleep(0.01)
        assert visit.ear.stream is not None
        visit.ear.stream.lost()
        asking.cancel()
        while len(here.kinds(before)) < 4:
            await asyncio.sleep(0.05)
        assert here.kinds(before) == ["SIGNAL", "EFFECT_BEGUN", "EFFECT_FAILED", "ANSWER"]
        assert here.event(before + 2).text("reason") == "timeout"

    with_programs(tmp_path, act)


def test_a_house_that_stops_ends_what_runs_and_says_so(tmp_path: Path) -> None:
    """An ordered stop leaves nothing running and nothing unknown."""

    async def act(here: Scene) -> None:
        here.house.deciding.runner.programs._programs["slow"] = slow = here.house.machine.settings.programs["slow"]
        object.__setattr__(slow, "timeout_s", 1000)
        visit = here.visit("input")
        before = here.estate.house.store.size()
        asking = asyncio.ensure_future(run(visit, "slow", "write"))
        while len(here.kinds(before)) < 2:
            await asyncio.sleep(0.01)
        here.house.deciding.runner.programs.stop()
        assert end(await asking)["ending"] == "stopped"
        assert here.event(before + 2).text("reason") == "stopped"
        await settled(here)
        assert here.estate.house.store.open_effects() == ()
        assert here.event(before + 2).kind is Kind.EFFECT_FAILED

    with_programs(tmp_path, act)


@any_of(st.binary(max_size=60) | st.lists(st.none() | st.binary(max_size=5) | st.integers(0, 99), max_size=3).map(encode))
def test_a_body_has_one_form(raw: bytes) -> None:
    """Two places, each bytes or nothing; or no body. Anything else is Malformed."""
    try:
        found = read_request(raw)
    except Malformed:
        return
    assert raw in (b"", encode(list(found)))
