"""The four types bind what a session may do (DESIGN 8, caps; docs/spec/door.md, section 1)."""

import asyncio
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tallystick.canonical import encode
from tallystick.cli.shapes import SHAPES, check
from tallystick.errors import Refused
from tallystick.gate.statement import sign_statement
from tallystick.node import commands
from tallystick.pair.pairing import PairType
from tallystick.pair.statement import PairDowngrade, encode_statement
from tests.e2e.raw import RawSession, Request
from tests.e2e.support import PASSPHRASE, Client, House

TYPES: Final = ("ADMIN", "INPUT", "USER", "INTERFACE")
# DESIGN 8, in its own words; not what the code says of itself.
CAPS: Final = {
    "ADMIN": {"metadata", "read", "egress", "propose", "write", "admin"},
    "INPUT": {"metadata", "read", "egress", "propose", "write"},
    "USER": {"metadata", "read"},
    "INTERFACE": {"metadata"},
}
JSON: Final = ("content-type", "application/json")


@dataclass(frozen=True)
class Row:
    """A row of docs/spec/door.md."""

    method: str
    target: str
    verb: str
    action: str
    body: bytes | None = None
    upload: bool = False
    admin_only: bool = False


ROWS: Final = (
    Row("GET", "/v1/ping", "pair.ping", "metadata"),
    Row("GET", "/v1/status", "house.status", "metadata"),
    Row("GET", "/v1/checkpoint?old=0", "house.checkpoint", "metadata"),
    Row("GET", "/v1/summary", "archive.summary", "metadata"),
    Row("GET", "/v1/log?limit=1", "house.log", "read"),
    Row("GET", "/v1/log/checkpoint", "house.checkpoint", "metadata"),
    Row("GET", "/v1/log/tile/0/000.p/1", "house.tile", "read"),
    Row("GET", "/v1/log/tile/entries/000.p/1", "house.entries", "read", admin_only=True),
    Row("GET", "/v1/inbox", "house.inbox", "read", admin_only=True),
    Row("GET", "/v1/pairs", "house.pairs", "read", admin_only=True),
    Row("GET", "/v1/explain?signal=1", "house.explain", "read", admin_only=True),
    Row("GET", "/v1/keys", "house.keys", "read", admin_only=True),
    Row("GET", "/v1/facts", "house.facts", "read", admin_only=True),
    Row("GET", "/v1/rights", "house.rights", "read", admin_only=True),
    Row("GET", "/v1/rights/why?key=1&action=read", "house.rights", "read", admin_only=True),
    Row("GET", "/v1/plan", "house.plan", "read", admin_only=True),
    Row("GET", "/v1/files/there.txt", "archive.get", "read"),
    Row("GET", "/v1/list", "archive.ls", "read"),
    Row("GET", "/v1/list/folder", "archive.ls", "read"),
    Row("GET", "/v1/stat/there.txt", "archive.stat", "read"),
    Row("PUT", "/v1/files/new.txt", "archive.put", "write", b"x", upload=True),
    Row("PATCH", "/v1/uploads/none?offset=0", "archive.put", "write", b"x", upload=True),
    Row("GET", "/v1/uploads/none", "archive.put", "write"),
    Row("POST", "/v1/commit", "archive.commit", "write", b'{"upload":"none","path":"new.txt","size":1,"sha256":"' + b"0" * 64 + b'"}'),
    Row("DELETE", "/v1/files/none.txt", "archive.rm", "write"),
    Row("POST", "/v1/move", "archive.mv", "write", b'{"from":"none.txt","to":"nowhere.txt"}'),
    Row("POST", "/v1/statements", "statement.submit", "propose", b"\x82\x40\xf6"),
    Row("POST", "/v1/signals", "signal.submit", "propose", b"\x82\x40\xf6"),
)


@pytest.fixture(scope="module")
def village(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, dict[str, Client]]]:
    """A house with a machine of each type and a file."""
    with House(tmp_path_factory.mktemp("rights")) as house:
        machines = {kind: house.machine(kind.lower(), kind) for kind in TYPES}
        machines["ADMIN"].put(b"content", "there.txt")
        machines["ADMIN"].put(b"content", "folder/there.txt")
        yield house, machines


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method} {row.target.split('?')[0]}")
@pytest.mark.parametrize("kind", TYPES)
def test_the_table(village: tuple[House, dict[str, Client]], kind: str, row: Row) -> None:
    """Each type reaches exactly the rows of its cap; what it does not reach is recorded as refused, answered 403 and does nothing."""
    house, machines = village
    headers = (("host", "house"), JSON) if row.body is not None else (("host", "house"),)
    request = Request(method=row.method, target=row.target, verb=row.verb, body=row.body, upload=row.upload, headers=headers)

    async def ask() -> int:
        with machines[kind].open() as machine:
            async with RawSession.open(machine) as raw:
                answer = await raw.ask(request)
                if not raw.cut and answer.status == 403 and b'"refused"' in answer.body:
                    # A refusal ends nothing: the session goes on.
                    assert (await raw.ask(Request())).status == 200
                recorded.append(int(answer.headers.get("tally-entry", "-1")))
                return answer.status

    recorded: list[int] = []
    status = asyncio.run(ask())
    allowed = row.action in CAPS[kind] and (not row.admin_only or kind == "ADMIN")
    # The newest signals of this machine: the ping that followed a refusal, and before it the one in question.
    pair = next(each["pairing"] for each in house.pairs() if each["label"] == kind.lower() and each["state"] == "standing")
    signals = [entry["fields"] for entry in house.log("signal", pair=pair)[-3:]]
    signal = next(fields for fields in reversed(signals) if fields["signal"]["verb"] == row.verb)
    assert signal["verdict"] == ("allow" if allowed else "refuse"), (status, signal)
    assert signal["signal"]["action"] == row.action
    if not allowed:
        assert status == 403
        assert recorded[0] >= 0


def test_what_is_refused_is_not_done(village: tuple[House, dict[str, Client]]) -> None:
    """After all refusals the archive is as it was."""
    house, machines = village
    for kind in ("USER", "INTERFACE"):
        house.fails(Refused, machines[kind].put, b"x", "mine.txt")
        house.fails(Refused, machines[kind].rm, "there.txt")
    house.fails(Refused, machines["INTERFACE"].get, "there.txt")
    assert machines["USER"].names() == ["folder", "there.txt"]
    assert machines["INTERFACE"].ls()["files"] == []
    assert machines["INTERFACE"].ls()["summary"]["files"] == 2


def test_a_log_shows_a_pair_its_own(village: tuple[House, dict[str, Client]]) -> None:
    """USER and INPUT read entries of their own pair, ADMIN all, INTERFACE none."""
    house, machines = village
    own = {kind: next(row["pairing"] for row in house.pairs() if row["label"] == kind.lower()) for kind in TYPES}
    for kind in ("USER", "INPUT"):
        entries = _log(machines[kind])
        assert entries
        assert {entry["pair"] for entry in entries} == {own[kind]}
    assert len({entry["pair"] for entry in _log(machines["ADMIN"])}) > 2
    house.fails(Refused, _log, machines["INTERFACE"])


def test_an_admin_is_told_stories(village: tuple[House, dict[str, Client]]) -> None:
    """Over an ADMIN pair the house tells how a signal came about, with proofs; nobody else is told."""
    house, machines = village
    put = next(entry for entry in house.log("signal") if entry["fields"]["signal"]["verb"] == "archive.commit")
    ask: dict[str, Any] = {"signal": str(put["index"]), "house": "attic", "quick": False, "all_now": False, "proofs": None}
    told = commands.explain(machines["ADMIN"].settings(), **ask)
    check(SHAPES["explain"], told, "explain")
    assert told["entry"] == put["index"]
    assert told["text"][0].startswith("The write of /v1/commit happened; machine #")
    assert [each["kind"] for each in told["steps"][0]["after"]] == ["effect-begun", "effect-done"]
    for kind in ("INPUT", "USER", "INTERFACE"):
        house.fails(Refused, commands.explain, machines[kind].settings(), **ask)


def _log(client: Client) -> list[dict[str, object]]:
    settings = client.settings()
    return list(commands.log(settings, house="attic", query={"limit": 200}, follow=False))


@pytest.mark.parametrize("after", ["USER", "INTERFACE"])
def test_a_downgrade_is_felt_by_a_live_session(village: tuple[House, dict[str, Client]], after: str) -> None:
    """A downgrade counts from the next command of a session that was open before; it never widens, and lasts over a new session."""
    house, _ = village
    name = f"narrowed-{after.lower()}"
    client = house.machine(name, "INPUT")
    client.put(b"x", f"{name}.txt")

    async def before_and_after() -> None:
        with client.open() as machine:
            async with RawSession.open(machine) as raw:
                remove = Request(method="DELETE", target=f"/v1/files/{name}.txt", verb="archive.rm")
                stat = Request(target=f"/v1/stat/{name}.txt", verb="archive.stat")
                assert (await raw.ask(stat)).status == 200
                await asyncio.to_thread(house.owner.downgrade, name, after)
                assert (await raw.ask(remove)).status == 403
                assert (await raw.ask(Request(target=f"/v1/stat/{name}.txt", verb="archive.stat"))).status == (
                    200 if after == "USER" else 403
                )
                assert (await raw.ask(Request())).status == 200

    asyncio.run(before_and_after())
    house.fails(Refused, client.rm, f"{name}.txt")
    for wider in ("INPUT", "ADMIN", after):
        house.fails(Refused, house.owner.downgrade, name, wider)
    assert house.row(name)["type"] == after
    assert "downgraded" in house.kinds()


def test_a_downgraded_admin_signs_nothing_more(village: tuple[House, dict[str, Client]]) -> None:
    """A human key's word does not exceed the cap of the pair that carries it: from a downgraded ADMIN machine no statement takes effect."""
    house, _ = village
    second = house.machine("second", "ADMIN")
    second.invite("USER")
    house.owner.downgrade("second", "INPUT")
    house.fails(Refused, second.invite, "USER")
    house.fails(Refused, second.downgrade, "owner", "USER")
    house.fails(Refused, second.inbox)


def test_only_an_admin_pair_carries_statements(village: tuple[House, dict[str, Client]]) -> None:
    """A statement signed by a standing admin key, but handed in over an INPUT pair, is refused."""
    house, machines = village
    target = bytes.fromhex(house.row("user")["pairing"])
    with house.owner.open() as machine:
        key = machine.vault.humans()[0]
        signer = machine.vault.human_signer(key.key_id, PASSPHRASE.decode())
        bundle = sign_statement(
            signer,
            encode_statement(PairDowngrade(pairing_id=target, pair_type=PairType.INTERFACE)),
            house_id=bytes(machine.store.pairs()[0].house or b""),
            issued_at_ns=time.time_ns(),
            stream=secrets.token_bytes(16),
            n=0,
            salt=secrets.token_bytes(32),
        )
    request = Request(method="POST", target="/v1/statements", verb="statement.submit", body=encode([bundle, None]))

    async def submit(kind: str) -> int:
        with machines[kind].open() as opened:
            async with RawSession.open(opened) as raw:
                return (await raw.ask(request)).status

    assert asyncio.run(submit("INPUT")) == 403
    assert house.row("user")["type"] == "USER"
    assert asyncio.run(submit("ADMIN")) == 200
    assert house.row("user")["type"] == "INTERFACE"
    assert asyncio.run(submit("ADMIN")) == 403
