"""The door: every row of docs/spec/door.md, in the order of the ledger; everything else is refused and recorded."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tallystick.errors import Malformed, Misuse, Refused, TallyError, Unavailable, Unproven
from tallystick.gate.stream import StreamBook
from tallystick.ledger.event import Kind
from tallystick.node.door import MAX_BODY_BYTES, MAX_QUERY_FIELDS, Answer, Call, Door, Route, json_answer, route
from tallystick.node.effects import Effects, NoDoors
from tallystick.pair.pairing import PairType
from tallystick.passage.signal import ADMIN_ONLY, Asker, Command
from tallystick.rights.matrix import CAP
from tallystick.rights.verb import VERBS
from tests.node.door_scene import CONTENT, NAME_OF, Scene, play, settled
from tests.support import PROJECT

# --- The table ---------------------------------------------------------------------------------------------------------------

_ROW = re.compile(r"^\| `([A-Z]+) (/v1/[^`]*)` \| `([a-z.-]+)` \| ([a-z]+) \| ([^|]+) \|", re.MULTILINE)


def table() -> list[tuple[str, str, str, str, str]]:
    """Method, path, verb, action, types of each row of docs/spec/door.md, section 1."""
    text = (PROJECT / "docs" / "spec" / "door.md").read_text().split("## 2.")[0]
    rows, last = [], ""
    for method, target, verb, action, types in _ROW.findall(text):
        last = last if types.strip() == "same" else types.strip()
        path = target.partition("?")[0]
        rows.append((method, re.sub(r"\b(PATH|ID)$", "*", path), verb, action, last))
    assert len(rows) == text.count("\n| `") > 15
    return rows


def path_of(found: Route) -> str:
    return re.sub(r"\(\.\*\)$", "*", re.sub(r"\(\)$", "", found.path.pattern)).replace("\\", "")


def test_the_table_is_the_routes(tmp_path: Path) -> None:
    """Every row of the specification is a route with that verb, and every route is a row."""

    async def act(here: Scene) -> set[tuple[str, str, str]]:
        return {(each.method, path_of(each), each.verb) for each in here.house._door.routes}

    assert play(tmp_path, act) == {row[:3] for row in table()}


@pytest.mark.parametrize("row", table(), ids=lambda row: f"{row[0]} {row[1]}")
def test_the_table_says_who_reaches_a_row(row: tuple[str, str, str, str, str]) -> None:
    """Its action is the verb's, and its types are those whose cap has the action."""
    _, _, verb, action, types = row
    assert VERBS[verb].value == action
    reach = {kind for kind in PairType if VERBS[verb] in CAP[kind] and (verb not in ADMIN_ONLY or kind is PairType.ADMIN)}
    assert reach == ({*PairType} if types == "all" else {kind for kind in PairType if re.search(rf"\b{kind.value}\b", types)})


@pytest.mark.parametrize("kind", PairType)
def test_every_row_is_reached_by_its_types_only(kind: PairType, tmp_path: Path) -> None:
    """A request for each row: past the door for its types (whatever the handler says then), 403 with an entry for all others.

    The ledger says the same: the signal with `allow` or `refuse`, and behind a refusal nothing.
    """

    async def act(here: Scene) -> None:
        visit = here.visit(NAME_OF[kind])
        for method, path, verb, _, types in table():
            upload = method in ("PUT", "PATCH")
            target = path.replace("*", "ID") + ("?offset=0" if method == "PATCH" else "")
            await settled(here)
            before = here.estate.house.store.size()
            said = await visit.ask(method, target, verb, b"{}" if method == "POST" or upload else None, upload=upload)
            allowed = types == "all" or re.search(rf"\b{kind.value}\b", types) is not None
            signal = here.event(said.entry)
            assert signal.kind is Kind.SIGNAL
            assert signal.get("verdict") == ("allow" if allowed else "refuse")
            assert (said.entry, signal.blob("pair")) == (before, visit.ear.asker.pair)
            if allowed:
                assert said.status != 403 or said.json["error"]["message"] != "not allowed"
            else:
                assert (said.status, said.json["error"]["message"]) == (403, "not allowed")
                assert here.kinds(before) == ["SIGNAL"]
        assert visit.ear.cuts == []

    play(tmp_path, act)


@pytest.mark.parametrize("target", ["/", "/v1", "/v1/", "/v1/pings", "/V1/ping", "/v2/ping", "/v1/ping/", "/v1/list%2Fx"])
def test_everything_else_is_404_and_recorded(target: str, tmp_path: Path) -> None:
    """There is nothing at this target: the signal is in the ledger as refused."""

    async def act(here: Scene) -> None:
        before = here.estate.house.store.size()
        said = await here.visit("owner").ask("GET", target, "pair.ping")
        assert said.error == (404, "refused")
        assert here.kinds(before) == ["SIGNAL"]
        assert (said.entry, here.event(before).get("verdict")) == (before, "refuse")

    play(tmp_path, act)


@pytest.mark.parametrize("method", ["HEAD", "PUT", "POST", "OPTIONS", "DELETE"])
def test_another_method_is_another_target(method: str, tmp_path: Path) -> None:
    """404, also for methods that web frameworks answer by themselves."""

    async def act(here: Scene) -> None:
        said = await here.visit("owner").ask(method, "/v1/ping", "pair.ping")
        assert said.status == 404
        assert here.event(said.entry).get("verdict") == "refuse"

    play(tmp_path, act)


# --- The handlers ------------------------------------------------------------------------------------------------------------


def test_a_file_is_stored_read_moved_and_removed(tmp_path: Path) -> None:
    """The whole life of a file, with what the ledger says of each step."""

    async def act(here: Scene) -> None:
        visit = here.visit("input")
        before = here.estate.house.store.size()
        stored = await visit.put("a%20b/c.txt".replace("%20", ""), CONTENT)
        assert (stored.status, stored.json["size"], stored.json["path"]) == (200, len(CONTENT), "ab/c.txt")
        digest = hashlib.sha256(CONTENT).hexdigest()
        assert stored.json["sha256"] == digest
        await settled(here)
        assert here.kinds(before) == ["SIGNAL", "ANSWER", "SIGNAL", "EFFECT_BEGUN", "EFFECT_DONE", "ANSWER", "STOPPED"]
        assert here.event(stored.json["entry"]).kind is Kind.EFFECT_BEGUN

        got = await visit.ask("GET", "/v1/files/ab/c.txt", "archive.get")
        assert (got.status, got.body, got.headers["content-sha256"]) == (200, CONTENT, digest)
        part = await visit.ask("GET", "/v1/files/ab/c.txt", "archive.get", headers=(("range", "bytes=5-8"),))
        assert (part.status, part.body, part.headers["content-range"]) == (206, CONTENT[5:9], f"bytes 5-8/{len(CONTENT)}")
        stat = await visit.ask("GET", "/v1/stat/ab/c.txt", "archive.stat")
        assert (stat.json["sha256"], stat.json["bytes"]) == (digest, len(CONTENT))
        assert [each["name"] for each in (await visit.ask("GET", "/v1/list", "archive.ls")).json["files"]] == ["ab"]
        assert [each["name"] for each in (await visit.ask("GET", "/v1/list/ab?limit=1", "archive.ls")).json["files"]] == ["c.txt"]
        moved = await visit.ask("POST", "/v1/move", "archive.mv", json.dumps({"from": "ab/c.txt", "to": "d.txt"}).encode())
        assert moved.status == 200
        assert (await visit.ask("GET", "/v1/files/ab/c.txt", "archive.get")).error == (404, "refused")
        assert (await visit.ask("DELETE", "/v1/files/d.txt", "archive.rm")).status == 200
        assert (await visit.ask("GET", "/v1/summary", "archive.summary")).json["files"] == 0

    play(tmp_path, act)


def test_a_missing_file_is_404(tmp_path: Path) -> None:
    """`no such file`, for reads and for writes, which are recorded as failed."""

    async def act(here: Scene) -> None:
        visit = here.visit("input")
        for method, target, verb in (
            ("GET", "/v1/files/none", "archive.get"),
            ("GET", "/v1/stat/none", "archive.stat"),
            ("DELETE", "/v1/files/none", "archive.rm"),
        ):
            said = await visit.ask(method, target, verb)
            assert said.error == (404, "refused")
            assert said.json["error"]["message"] == "no such file"
        assert here.kinds(here.estate.house.store.size() - 4) == ["SIGNAL", "EFFECT_BEGUN", "EFFECT_FAILED", "ANSWER"]
        assert here.event(here.estate.house.store.size() - 2).text("reason") == "refused"

    play(tmp_path, act)


def test_a_file_is_not_there_before_its_closing_signal(tmp_path: Path) -> None:
    """The stream alone changes nothing; a closing signal over other bytes changes nothing either."""

    async def act(here: Scene) -> None:
        visit = here.visit("input")
        begun = await visit.ask("PUT", "/v1/files/x", "archive.put", CONTENT, upload=True)
        assert (await visit.ask("GET", "/v1/files/x", "archive.get")).status == 404
        assert (await visit.commit(begun.json["upload"], "x", CONTENT + b"!")).status >= 400
        assert (await visit.ask("GET", "/v1/files/x", "archive.get")).status == 404
        assert (await visit.commit(begun.json["upload"], "x")).status == 200

    play(tmp_path, act)


def test_an_upload_belongs_to_its_pair(tmp_path: Path) -> None:
    """Another pair neither continues nor commits it, nor learns how far it is."""

    async def act(here: Scene) -> None:
        begun = await here.visit("input").ask("PUT", "/v1/files/x", "archive.put", CONTENT, upload=True)
        other, upload = here.visit("owner"), begun.json["upload"]
        assert (await other.ask("GET", f"/v1/uploads/{upload}", "archive.put")).status in (403, 404)
        assert (await other.ask("PATCH", f"/v1/uploads/{upload}?offset=12", "archive.put", b"more", upload=True)).status in (403, 404)
        assert (await other.commit(upload, "x")).status in (403, 404)

    play(tmp_path, act)


def test_a_log_shows_a_pair_its_own_entries(tmp_path: Path) -> None:
    """ADMIN sees all; everybody else their own pair's, and nothing that tells whether others exist."""

    async def act(here: Scene) -> None:
        user, admin = here.visit("user"), here.visit("owner")
        await user.ask("GET", "/v1/ping", "pair.ping")
        everything = (await admin.ask("GET", "/v1/log?limit=200", "house.log")).json["entries"]
        own = (await user.ask("GET", "/v1/log?limit=200", "house.log")).json["entries"]
        mine = user.ear.asker.pair.hex()
        assert {entry["fields"].get("pair", entry["pair"]) for entry in own} == {mine}
        assert len(everything) > len(own) > 2
        for query in ("pair=input", "pair=nobody", "pair=" + admin.ear.asker.pair.hex()):
            found = (await user.ask("GET", f"/v1/log?limit=200&{query}", "house.log")).json["entries"]
            assert {entry["fields"].get("pair", entry["pair"]) for entry in found} == {mine}
        for query in ("key=999", "key=%2399", "key=" + "ab" * 32):
            assert (await user.ask("GET", f"/v1/log?{query}", "house.log")).json["entries"] == []
            assert (await admin.ask("GET", f"/v1/log?{query}", "house.log")).error == (409, "misuse")
        names = {entry.get("name") or entry.get("label") for entry in own}
        assert "owner" not in names

    play(tmp_path, act)


@pytest.mark.parametrize(
    "query",
    [
        "limit=x",
        "limit=-1",
        "limit=%C2%B2",
        "after=1e3",
        "after=99999999999999999999",
        "since_ns=-5",
        "kind=nonsense",
        "key=%C2%B2",
        "key=x",
    ],
)
def test_a_filter_that_is_none_is_misuse(query: str, tmp_path: Path) -> None:
    """Told as such; the session goes on."""

    async def act(here: Scene) -> None:
        visit = here.visit("owner")
        assert (await visit.ask("GET", f"/v1/log?{query}", "house.log")).error == (409, "misuse")
        assert (await visit.ask("GET", "/v1/ping", "pair.ping")).status == 200

    play(tmp_path, act)


@pytest.mark.parametrize("old", ["", "?old=0", "?old=3", "?old=100000"])
def test_a_checkpoint_is_for_everybody(old: str, tmp_path: Path) -> None:
    """Also for INTERFACE: the newest note, and the proof from a size that there was."""

    async def act(here: Scene) -> None:
        said = await here.visit("interface").ask("GET", f"/v1/checkpoint{old}", "house.checkpoint")
        assert said.json["checkpoint"].startswith(here.estate.house.log_name)
        assert bool(said.json["proof"]) is (old == "?old=3")

    play(tmp_path, act)


# --- What cuts a session -----------------------------------------------------------------------------------------------------

LIES: list[tuple[str, dict[str, Any], tuple[int, str]]] = [
    ("another target", {"sent": ("GET", "/v1/status")}, (400, "malformed")),
    ("another query", {"sent": ("GET", "/v1/ping?x=1")}, (400, "malformed")),
    ("another method", {"sent": ("DELETE", "/v1/ping")}, (400, "malformed")),
    ("a body that is not signed", {"body": b"x", "upload": True}, (400, "malformed")),
    ("another body", {"body": b"x", "signed_body": b"y"}, (400, "malformed")),
    ("a longer body", {"body": b"xx", "signed_body": b"x"}, (400, "malformed")),
    ("no body", {"body": None, "signed_body": b"x"}, (400, "malformed")),
    ("a number too far", {"skip": 1}, (401, "unproven")),
    ("too old", {"issued_at_ns": 1}, (401, "unproven")),
    ("a verb of another route", {"verb": "house.status"}, (400, "malformed")),
    ("a query of two meanings", {"target": "/v1/ping?a=1&a=2"}, (400, "malformed")),
    ("a query without a value", {"target": "/v1/ping?a"}, (400, "malformed")),
    ("a query that is no UTF-8", {"target": "/v1/ping?a=%ff"}, (400, "malformed")),
    ("too many names", {"target": "/v1/ping?" + "&".join(f"a{n}=1" for n in range(MAX_QUERY_FIELDS + 1))}, (400, "malformed")),
]


@pytest.mark.parametrize(("given", "error"), [row[1:] for row in LIES], ids=[row[0] for row in LIES])
def test_a_request_that_is_not_what_was_signed_cuts_its_session(given: dict[str, Any], error: tuple[int, str], tmp_path: Path) -> None:
    """Recorded as refused, told once, and over: nothing was done, nothing is void."""

    async def act(here: Scene) -> None:
        visit = here.visit("owner")
        before = here.estate.house.store.size()
        said = await visit.ask(**({"method": "GET", "target": "/v1/ping", "verb": "pair.ping"} | given))
        assert said.error == error
        assert (said.entry, said.headers["connection"]) == (None, "close")
        assert visit.ear.cuts == [error[1]]
        assert visit.ear.was_under_way == [None]
        assert here.kinds(before) == ["REFUSED"]
        assert here.event(before).text("reason") == error[1]

    play(tmp_path, act)


def test_a_body_has_a_limit(tmp_path: Path) -> None:
    """64 KiB of a command that is no upload; one byte more cuts the session, signed or not."""

    async def act(here: Scene) -> None:
        visit = here.visit("owner")
        assert (await visit.ask("POST", "/v1/move", "archive.mv", bytes(MAX_BODY_BYTES))).error == (400, "malformed")
        assert visit.ear.cuts == []  # it was what was signed, and no JSON: recorded, performed, failed
        assert here.kinds(here.estate.house.store.size() - 4) == ["SIGNAL", "EFFECT_BEGUN", "EFFECT_FAILED", "ANSWER"]
        assert (await visit.ask("POST", "/v1/move", "archive.mv", bytes(MAX_BODY_BYTES + 1))).error == (400, "malformed")
        assert visit.ear.cuts == ["malformed"]

    play(tmp_path, act)


def test_a_request_without_a_signal_cuts_its_session(tmp_path: Path) -> None:
    """There is no command without one."""

    async def act(here: Scene) -> None:
        visit = here.visit("owner")
        before = here.estate.house.store.size()
        response = await visit.client.request("GET", "/v1/ping", [("host", "house")], None)
        assert (response.status, response.entry) == (400, None)
        assert visit.ear.cuts == ["malformed"]
        assert here.kinds(before) == ["REFUSED"]

    play(tmp_path, act)


def test_a_ledger_that_is_closed_answers_unavailable(tmp_path: Path) -> None:
    """Nothing is done that cannot be recorded; also a refusal that cannot be recorded still cuts."""

    async def act(here: Scene) -> None:
        ran: list[str] = []

        async def handler(call: Call) -> Answer:
            ran.append("ran")
            return json_answer({})

        store = here.estate.house.store
        closed = Effects(type(store).open(tmp_path / "other.sqlite", create=True), here.estate.house.vault, NoDoors())
        closed._store.close()
        here.application = Door(closed, (route("GET", "/v1/ping", "pair.ping", handler),), here.house.clock)
        visit = here.visit("owner")
        assert (await visit.ask("GET", "/v1/ping", "pair.ping")).error == (503, "unavailable")
        assert (await visit.ask("GET", "/v1/ping", "pair.ping", skip=3)).error == (401, "unproven")
        assert visit.ear.cuts == ["unproven"]
        assert ran == []

    play(tmp_path, act)


# --- Answers -----------------------------------------------------------------------------------------------------------------


async def _ok(call: Call) -> Answer:
    return json_answer({"ok": True})


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (Malformed("a", "b"), 400, "malformed"),
        (Unproven("a", "b"), 401, "unproven"),
        (Refused("a", "b"), 403, "refused"),
        (Misuse("a", "b"), 409, "misuse"),
        (Unavailable("a", "b"), 503, "unavailable"),
    ],
)
@pytest.mark.parametrize("effect", [None, "archive.rm"])
def test_each_error_has_its_status(error: TallyError, status: int, kind: str, effect: str | None, tmp_path: Path) -> None:
    """Kind, message and hint in the body, the entry in the head, and `failed` in the ledger; the session goes on."""

    async def fails(call: Call) -> Answer:
        raise error

    async def act(here: Scene) -> None:
        visit = here.visit("owner")
        before = here.estate.house.store.size()
        said = await visit.ask("DELETE", "/v1/files/x", "archive.rm")
        assert (said.status, said.json["error"]) == (status, {"kind": kind, "message": "a", "hint": "b"})
        assert said.entry == before
        await settled(here)
        ends = ["EFFECT_BEGUN", "EFFECT_FAILED"] if effect else []
        assert here.kinds(before) == ["SIGNAL", *ends, "ANSWER", "STOPPED"]
        answer = here.event(here.estate.house.store.size() - 2)
        assert (answer.text("result"), answer.number("status")) == ("failed", status)
        assert visit.ear.cuts == []

    play(tmp_path, act, route("DELETE", "/v1/files/*", "archive.rm", fails, effect=effect))


def test_a_defect_is_500_and_leaves_its_effect_open(tmp_path: Path) -> None:
    """An error that is none of the five: nobody knows what was done, so `begun` stays open for the next start to call unknown."""

    async def crashes(call: Call) -> Answer:
        raise ValueError("a bug")

    async def act(here: Scene) -> None:
        visit = here.visit("owner")
        before = here.estate.house.store.size()
        with pytest.raises((TallyError, json.JSONDecodeError)):
            said = await visit.ask("DELETE", "/v1/files/x", "archive.rm")
            assert said.status == 500
            assert said.entry is None
            raise Unavailable("as expected")
        assert here.kinds(before) == ["SIGNAL", "EFFECT_BEGUN"]
        assert [effect.begun for effect in here.estate.house.store.open_effects()] == [before + 1]

    play(tmp_path, act, route("DELETE", "/v1/files/*", "archive.rm", crashes, effect="archive.rm"))


def test_a_write_is_answered_after_its_end_is_recorded(tmp_path: Path) -> None:
    """When the answer's first byte leaves, `done` is in the ledger."""

    async def act(here: Scene) -> None:
        visit = here.visit("owner")
        seen: list[list[str]] = []
        before = here.estate.house.store.size()
        feed = visit.client.feed

        def spy(data: bytes) -> None:
            seen.append(here.kinds(before))
            feed(data)

        visit.client.feed = spy  # type: ignore[method-assign]
        await visit.ask("DELETE", "/v1/files/x", "archive.rm")
        assert seen[0] == ["SIGNAL", "EFFECT_BEGUN", "EFFECT_DONE", "ANSWER"]

    play(tmp_path, act, route("DELETE", "/v1/files/*", "archive.rm", _ok, effect="archive.rm"))


def test_a_handler_gets_what_was_signed(tmp_path: Path) -> None:
    """Target, query, rest, end-to-end headers, body; the entry of the begun effect for a write, of the signal for a read."""
    got: list[Call] = []

    async def keep(call: Call) -> Answer:
        got.append(call)
        return json_answer({})

    async def act(here: Scene) -> None:
        visit = here.visit("owner")
        before = here.estate.house.store.size()
        await visit.ask("POST", "/v1/move", "archive.mv", b"{}", headers=(("x-own", "1"),))
        await visit.ask("GET", "/v1/files/a%2Fb/c?x=%C3%A9&y=", "archive.get")
        write, read = got
        assert (write.body, write.chunks, write.entry) == (b"{}", None, before + 1)
        assert ("x-own", "1") in write.command.headers
        assert not any(name.startswith("tally-") for name, _ in write.command.headers)
        assert (read.rest, read.query) == ("a%2Fb/c", {"x": "é", "y": ""})
        assert read.entry == here.estate.house.store.size() - 2 or here.event(read.entry).kind is Kind.SIGNAL
        assert read.command.target.path == "/v1/files/a%2Fb/c?x=%C3%A9&y="

    play(
        tmp_path,
        act,
        route("POST", "/v1/move", "archive.mv", keep, effect="archive.mv"),
        route("GET", "/v1/files/*", "archive.get", keep),
    )


class Pieces:
    """A body in pieces that may fail, and says whether it was closed."""

    def __init__(self, *pieces: bytes, then: TallyError | None = None) -> None:
        self.pieces = list(pieces)
        self.then = then
        self.closed = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await asyncio.sleep(0)
        if self.pieces:
            return self.pieces.pop(0)
        if self.then is not None:
            raise self.then
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed += 1


def test_a_body_in_pieces_is_sent_and_closed(tmp_path: Path) -> None:
    """With its length where it is known; the ledger has what was sent."""
    bodies = [Pieces(b"ab", b"c"), Pieces(b"ab", b"c"), Pieces()]
    lengths = iter((3, None, 0))
    given = iter(bodies)

    async def handler(call: Call) -> Answer:
        return Answer(body=next(given), length=next(lengths), kind="text/plain")

    async def act(here: Scene) -> None:
        visit = here.visit("owner")
        said = [await visit.ask("GET", "/v1/files/x", "archive.get") for _ in bodies]
        assert [(each.body, each.headers.get("content-length")) for each in said] == [(b"abc", "3"), (b"abc", None), (b"", "0")]
        assert [body.closed for body in bodies] == [1, 1, 1]
        await settled(here)
        answers = [row.event.number("length") for row in here.estate.house.store.entries(kinds=(Kind.ANSWER,))]
        assert answers[-3:] == [3, 3, 0]

    play(tmp_path, act, route("GET", "/v1/files/*", "archive.get", handler))


def test_half_an_answer_is_void(tmp_path: Path) -> None:
    """Its source fails in the middle: the session is cut, so that the other side does not take it for whole; recorded as failed."""
    body = Pieces(b"half", then=Unavailable("the disk is gone"))

    async def handler(call: Call) -> Answer:
        return Answer(body=body, length=8)

    async def act(here: Scene) -> None:
        visit = here.visit("owner")
        asking = asyncio.create_task(visit.ask("GET", "/v1/files/x", "archive.get"))
        while not visit.ear.cuts:
            await asyncio.sleep(0.005)
        assert visit.ear.cuts == ["unfinished"]
        assert visit.ear.was_under_way[0] is not None
        assert visit.ear.stream is not None
        visit.ear.stream.lost()
        visit.client.lost()
        with pytest.raises(Unavailable):
            await asking
        await settled(here)
        answer = next(row.event for row in here.estate.house.store.entries(kinds=(Kind.ANSWER,), newest_first=True))
        assert (answer.text("result"), answer.get("length")) == ("failed", None)
        assert body.closed == 1

    play(tmp_path, act, route("GET", "/v1/files/*", "archive.get", handler))


@pytest.mark.parametrize("started", [True, False])
def test_an_asker_that_leaves_is_recorded(started: bool, tmp_path: Path) -> None:
    """In the middle of an answer or before its first byte: the source is closed, and the ledger says that it did not arrive."""
    release = asyncio.Event()
    body = Pieces(b"x" * 10)

    async def act(here: Scene) -> None:
        visit = here.visit("owner")

        async def handler(call: Call) -> Answer:
            if not started:
                await release.wait()
            return Answer(body=endless if started else body, length=None)

        endless = Pieces(*(b"x" * 1000 for _ in range(100_000)))
        here.application = Door(
            Effects(here.estate.house.store, here.estate.house.vault, NoDoors()),
            (route("GET", "/v1/files/*", "archive.get", handler),),
            here.house.clock,
        )
        visit = here.visit("owner")
        before = here.estate.house.store.size()
        asking = asyncio.create_task(visit.ask("GET", "/v1/files/x", "archive.get"))
        await asyncio.sleep(0.1)
        assert visit.ear.under_way is not None
        assert visit.ear.stream is not None
        visit.ear.cuts.append("lost")
        visit.ear.stream.lost()
        visit.client.lost()
        release.set()
        with pytest.raises(Unavailable):
            await asking
        await settled(here)
        assert here.kinds(before) == ["SIGNAL", "ANSWER", "STOPPED"]
        assert here.event(before + 1).text("result") == "failed"
        assert (endless if started else body).closed == 1

    play(tmp_path, act)


# --- Looking while the entry is written ----------------------------------------------------------------------------------------


def test_a_look_is_for_allowed_reads_and_its_answer_waits_for_the_entry(tmp_path: Path) -> None:
    """Refused: nobody looks. Allowed: the look runs beside the entry, the handler after it, with what was seen (docs/adr/0013)."""
    looked: list[int] = []

    async def act(here: Scene) -> None:
        store = here.estate.house.store

        def look(asker: Asker, command: Command, rest: str, query: dict[str, str]) -> asyncio.Future[Any]:
            looked.append(store.size())
            seen: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            seen.set_result(f"{rest} {asker.cap}")
            return seen

        async def handler(call: Call) -> Answer:
            assert call.seen is not None
            return json_answer({"seen": await call.seen, "recorded": call.entry < store.size()})

        here.application = Door(here.house.effects, (route("GET", "/v1/files/*", "archive.get", handler, look=look),), here.house.clock)
        assert (await here.visit("interface").ask("GET", "/v1/files/x", "archive.get")).status == 403
        assert looked == []
        visit = here.visit("user")
        before = store.size()
        said = await visit.ask("GET", "/v1/files/x", "archive.get")
        assert (said.json, said.entry) == ({"seen": "x USER", "recorded": True}, before)
        assert len(looked) == 1

    play(tmp_path, act)


def test_a_look_that_fails_is_the_reads_failure_and_nobody_elses(tmp_path: Path) -> None:
    """What went wrong is answered after the entry; where the entry could not be written it is forgotten."""

    async def act(here: Scene) -> None:
        def look(asker: Asker, command: Command, rest: str, query: dict[str, str]) -> asyncio.Future[Any]:
            seen: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            seen.set_exception(Refused("a", "b"))
            return seen

        async def handler(call: Call) -> Answer:
            assert call.seen is not None
            return json_answer(await call.seen)

        row = route("GET", "/v1/files/*", "archive.get", handler, look=look)
        here.application = Door(here.house.effects, (row,), here.house.clock)
        visit = here.visit("user")
        before = here.estate.house.store.size()
        assert (await visit.ask("GET", "/v1/files/x", "archive.get")).error == (403, "refused")
        await settled(here)
        assert here.kinds(before) == ["SIGNAL", "ANSWER", "STOPPED"]
        # Another statement under the same number: the ledger refuses it, and what was seen is for nobody.
        visit.ear.book = StreamBook.of(machine=bytes(visit.ear.asker.key.key_id), handshake_hash=visit.ear.asker.session)
        visit.n = 0
        assert (await visit.ask("GET", "/v1/files/y", "archive.get")).error == (401, "unproven")

    play(tmp_path, act)


# --- Severed or narrowed in between --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("effect", [None, "archive.rm"])
def test_what_is_recorded_after_a_severance_is_not_done(effect: str | None, tmp_path: Path) -> None:
    """A command in the same group of entries as the severance, behind it: its handler never runs."""
    ran: list[str] = []

    async def handler(call: Call) -> Answer:
        ran.append("ran")
        return json_answer({})

    async def act(here: Scene) -> None:
        here.application = Door(
            here.house.effects, (route("DELETE", "/v1/files/*", "archive.rm", handler, effect=effect),), here.house.clock
        )
        visit = here.visit("input")
        pair = visit.ear.asker.pair
        here.house._sessions[pair] = {visit.ear}  # type: ignore[arg-type]
        before = here.estate.house.store.size()
        severing = asyncio.create_task(here.house.sever(pair, by="local", reason="lost", tell=True))
        asking = asyncio.create_task(visit.ask("DELETE", "/v1/files/x", "archive.rm"))
        await severing
        said = await asking
        here.house._sessions.clear()
        assert ran == []
        assert said.error == (403, "refused")
        await settled(here)
        assert here.kinds(before) == ["SEVERED", "SIGNAL", "STOPPED"]
        assert [row.event.text("verdict") for row in here.estate.house.store.entries(before, kinds=(Kind.SIGNAL,))] == ["refuse"]

    play(tmp_path, act)


def test_a_slow_body_is_judged_by_the_type_of_now(tmp_path: Path) -> None:
    """The head came while the pair was INPUT, the body's end when it was USER: refused."""

    async def act(here: Scene) -> None:
        visit = here.visit("input")
        halfway = asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield b'{"from": "a",'
            await halfway.wait()
            yield b' "to": "b"}'

        asking = asyncio.create_task(visit.ask("POST", "/v1/move", "archive.mv", slowly(), signed_body=b'{"from": "a", "to": "b"}'))
        await asyncio.sleep(0.1)
        asker = visit.ear.asker
        visit.ear.asker = Asker(house=asker.house, pair=asker.pair, cap=PairType.USER, key=asker.key, session=asker.session)
        halfway.set()
        said = await asking
        assert (said.status, here.event(said.entry).get("verdict")) == (403, "refuse")

    play(tmp_path, act)


def test_numbers_count_on_through_refusals(tmp_path: Path) -> None:
    """A refused command has used its number; the next one is good."""

    async def act(here: Scene) -> None:
        visit = here.visit("interface")
        for _ in range(3):
            assert (await visit.ask("GET", "/v1/list", "archive.ls")).status == 403
            assert (await visit.ask("GET", "/v1/ping", "pair.ping")).status == 200
        assert (visit.ear.book.next_n, here.house._door.allowed, here.house._door.refused) == (6, 3, 3)

    play(tmp_path, act)


def test_later_results_of_a_stopped_ledger_are_nobodys_error(tmp_path: Path) -> None:
    """The answer has left when the ledger stops: the result is lost, the answer was good."""

    async def act(here: Scene) -> None:
        store = type(here.estate.house.store).open(tmp_path / "other.sqlite", create=True)
        for row in here.estate.house.store.entries():
            await store.record(row.event)

        async def handler(call: Call) -> Answer:
            await asyncio.to_thread(store.close)
            return json_answer({"ok": True})

        here.application = Door(
            Effects(store, here.estate.house.vault, NoDoors()), (route("GET", "/v1/ping", "pair.ping", handler),), here.house.clock
        )
        visit = here.visit("owner")
        assert (await visit.ask("GET", "/v1/ping", "pair.ping")).json == {"ok": True}
        assert visit.ear.cuts == []

    play(tmp_path, act)
