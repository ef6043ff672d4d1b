"""Whatever JSON a house answers with, its clients raise the five errors and nothing else (docs/spec/door.md, section 6)."""

import ast
import asyncio
import contextlib
import copy
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tallystick
from tallystick.channel.event import Data, Event
from tallystick.errors import Malformed, TallyError
from tallystick.node import commands
from tallystick.node.client import HouseSession
from tallystick.node.remote import HouseClient
from tests.node.bare_house import BareHouse, Side, polite
from tests.node.village import Village, village

HASH, ID = "ab" * 32, "cd" * 16
ENTRY = {"index": 1, "time_ns": 2, "kind": "signal", "name": "x", "pair": HASH, "key": HASH, "fields": {"actor": "pair"}}
PAIR = {
    "name": "laptop",
    "label": "laptop",
    "role": "client",
    "type": "USER",
    "state": "pending",
    "pairing": HASH,
    "key": "key",
    "key_class": "file",
    "suite": "Noise_KKpsk0_25519_ChaChaPoly_BLAKE2s",
    "since_ns": 1,
    "last_knock_ns": None,
    "address": None,
    "received_bytes": 0,
    "sent_bytes": 0,
    "sessions": 0,
    "mode": 1,
    "visibility": None,
}
PROPOSAL: dict[str, Any] = {
    "id": HASH[:8],
    "label": "laptop",
    "type": "USER",
    "key": "key",
    "key_class": "file",
    "words": ["a", "b", "c", "d"],
    "digits": "1",
    "address": None,
    "since_ns": 1,
    "expires_ns": 2,
    "facts": {},
}
DETAIL = {"proposal": 5, "origin": HASH, "static": HASH, "signing": "a0", "witness": HASH, "human": None, "signed_type": "USER"}
FILE = {"name": "a", "kind": "file", "bytes": 1, "modified_ns": 1, "sha256": HASH}
STATUS = {"house": HASH, "name": "attic", "type": "ADMIN", "label": "x", "entries": 1, "pairs_standing": 1, "sessions_open": 1}
ROW = {"classes": ["sensor"], "actions": [], "targets": [], "schedule": None, "place": "attic", "expires_ns": 1}
KEY = {
    "number": 12,
    "key": "key-x",
    "label": "camera",
    "kind": "source",
    "state": "standing",
    "place_erased": False,
    "introduced": 4,
    "introduced_by": "#2",
    "pair": None,
    "changed": 4,
    "since": None,
    **ROW,
}
GRANT = {"entry": 5, "by": "#2", **ROW}
SCOPE = {"scope": HASH, "entry": 6, "state": "open", "verb": "mail.send", "targets": [], "uses_left": 1, "until_ns": 9}
FACT = {
    "entry": 7,
    "predicate": "firmware",
    "subject": "#12",
    "value": "1.4",
    "personal": False,
    "state": "standing",
    "observed_ns": 1,
    "until_ns": None,
    "by": "#2",
}
CHANGE = {"entry": 4, "time_ns": 1, "kind": "key-introduced", "by": "#2"}
CELLS = {
    "number": 12,
    "key": "key-x",
    "label": "camera",
    "kind": "source",
    "state": "standing",
    **dict.fromkeys(("metadata", "read", "egress", "propose", "write", "admin"), "ask"),
}
WHY = {
    "key": "#12",
    "label": "camera",
    "action": "write",
    "class": "sensor",
    "target": None,
    "signal": None,
    "cap": "INPUT",
    "verdict": "hold",
    "scope": None,
    "layers": ["crypto"],
    "layers_from": "default",
    "voices": [],
    "rows": [],
}
# What a good house may answer to a request that begins so; the first that fits.
GOOD: tuple[tuple[str, Any], ...] = (
    ("GET /v1/ping", {"time_ns": 1}),
    ("GET /v1/status", {**STATUS, "uptime_seconds": 1, "static": HASH, "advertise": [["192.0.2.1", 51877]]}),
    ("GET /v1/summary", {"files": 1, "bytes": 1, "versions": 1, "version_bytes": 1}),
    ("GET /v1/checkpoint", {"checkpoint": "note", "proof": [HASH]}),
    ("GET /v1/inbox", {"proposals": [PROPOSAL]}),
    ("GET /v1/pairs", {"pairs": [PAIR], "details": {HASH: DETAIL}}),
    ("GET /v1/log", {"entries": [ENTRY]}),
    ("GET /v1/list", {"files": [FILE], "after": None}),
    ("GET /v1/stat", {"path": "a", "kind": "file", "bytes": 1, "modified_ns": 1, "sha256": HASH, "version": 1}),
    ("GET /v1/versions", {"path": "a", "versions": [{"kept": 1, "version": 1, "bytes": 1, "modified_ns": 1, "sha256": HASH}]}),
    ("GET /v1/uploads/", {"upload": ID, "offset": 0}),
    ("GET /v1/uploads", {"uploads": [{"upload": ID, "path": "a", "offset": 1, "modified_ns": 1}]}),
    ("PUT ", {"upload": ID, "offset": 0}),
    ("PATCH ", {"upload": ID, "offset": 7}),
    ("POST /v1/commit", {"path": "a", "size": 7, "sha256": HASH, "version": 1, "entry": 1}),
    ("DELETE ", {"path": "a", "entry": 1}),
    ("POST /v1/move", {"path": "a", "target": "b", "entry": 1}),
    ("POST /v1/statements", {"verb": "pair.sever", "entry": 1}),
    (
        "GET /v1/keys?",
        {**KEY, "public": "a0", "grants": [GRANT], "scopes": [SCOPE], "facts": [FACT], "sightings": 1, "context": 5, "changes": [CHANGE]},
    ),
    ("GET /v1/keys", {"keys": [KEY], "suspended": [{"kind": "key", "id": HASH, "entry": 1, "cause": 2}]}),
    ("GET /v1/facts", {"facts": [FACT]}),
    ("GET /v1/rights/why", WHY),
    ("GET /v1/rights", {"keys": [CELLS]}),
    ("GET /v1/plan", {"entry": 1, "classes": [{"class": "cron", "layers": ["crypto"], "why": "entry 1"}], "plan": {"default": ["crypto"]}}),
)


class Liar:
    """A house in a thread of its own, with the real one's keys. `lie` turns a good answer into what is sent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lie: Callable[[Any], Any] = lambda good: good
        self.found: Village | None = None
        self.asked = 0
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._live()))
        self._thread.start()
        assert self._ready.wait(30)

    async def _live(self) -> None:
        async with village(self.folder) as found:
            self.found = found
            await found.house.stop()
            async with BareHouse(found.house.port, self._script).open(found, "owner"):
                self._ready.set()
                await self._over.wait()

    def _script(self, side: Side, event: Event) -> None:
        if not isinstance(event, Data):
            polite(side, event)
        elif (request := event.data.split(b" HTTP/1.1")[0].decode("latin-1")).split(" ")[0].isupper():
            good = next(answer for start, answer in GOOD if request.startswith(start))
            self.asked += 1
            answer = self.lie(copy.deepcopy(good))
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode("ascii")
            side.say(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\ntally-entry: 7\r\n\r\n%b" % (len(body), body)
            )

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(20)
        self._loop.close()


@pytest.fixture(scope="module")
def liar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Liar]:
    made = Liar(tmp_path_factory.mktemp("liar"))
    yield made
    made.close()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8) | st.sampled_from([HASH, "ADMIN", "file"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.sampled_from(list(PAIR)), inner, max_size=4),
    max_leaves=8,
)
NOISE = JSON | st.binary(max_size=40) | st.sampled_from([b"", b"{", b"[" * 5_000, b'{"a":1}{"a":2}', b'"\\ud800"', b"nan"])


@st.composite
def lies(draw: st.DrawFn) -> Callable[[Any], Any]:
    """Another answer altogether, or a good one in which one place is missing or holds something else."""
    noise = draw(NOISE)
    if draw(st.integers(0, 3)) == 0:
        return lambda good: noise
    turns, drop = draw(st.lists(st.integers(0, 40), min_size=1, max_size=4)), draw(st.booleans())
    value = None if isinstance(noise, bytes) else noise

    def lie(good: Any) -> Any:
        holder: Any = [good]
        key: Any = 0
        for turn in turns:
            inner = holder[key]
            if not isinstance(inner, dict | list) or not inner:
                break
            holder, key = inner, list(inner)[turn % len(inner)] if isinstance(inner, dict) else turn % len(inner)
        if drop and isinstance(holder, dict):
            del holder[key]
        else:
            holder[key] = value
        return good

    return lie


CALLS: dict[str, Callable[[HouseClient], Awaitable[object]]] = {
    "ping": lambda house: house.ping(),
    "status": lambda house: house.status(),
    "summary": lambda house: house.summary(),
    "checkpoint": lambda house: house.checkpoint(),
    "inbox": lambda house: house.inbox(),
    "pairs": lambda house: house.pairs(),
    "log": lambda house: house.log(),
    "ls": lambda house: house.ls(),
    "stat": lambda house: house.stat("a"),
    "versions": lambda house: house.versions("a"),
    "uploads": lambda house: house.uploads(),
    "give_up": lambda house: house.give_up(ID),
    "rm": lambda house: house.rm("a"),
    "mv": lambda house: house.mv("a", "b"),
    "put": lambda house: house.put("a", b"content"),
}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_programs_meet_the_five_errors_and_nothing_else(liar: Liar, data: st.DataObject) -> None:
    """Every call of the SDK, with a good answer that was changed in one place or with another one: a value, or one of the five."""
    names = data.draw(st.lists(st.sampled_from(list(CALLS)), min_size=1, max_size=8))
    told = [data.draw(lies()) for _ in names]
    assert liar.found is not None
    owner, pair = liar.found.member("owner"), liar.found.pair_of("owner")

    async def ask() -> None:
        house = await HouseClient.open(owner, pair)
        try:
            for name, lie in zip(names, told, strict=True):
                liar.lie = lie
                try:
                    await CALLS[name](house)
                except TallyError as error:
                    assert error.message
        finally:
            with contextlib.suppress(TallyError):  # a house that breaks the protocol may have lost its session
                await house.close()

    asyncio.run(ask())


@pytest.mark.parametrize("name", CALLS)
def test_a_good_answer_is_taken(liar: Liar, name: str) -> None:
    """The samples that the lies are made from are answers: what is refused above is refused for the lie."""
    assert liar.found is not None
    owner, pair = liar.found.member("owner"), liar.found.pair_of("owner")
    liar.lie = lambda good: good

    async def ask() -> None:
        async with await HouseClient.open(owner, pair) as house:
            await CALLS[name](house)
            liar.lie = lambda good: {"error": "surprise"}
            with pytest.raises(Malformed, match="attic answered"):
                await CALLS[name](house)

    asyncio.run(ask())


def commands_of(liar: Liar) -> dict[str, Callable[[], object]]:
    """Every command that asks a house and reads JSON."""
    assert liar.found is not None
    chosen = liar.found.member("owner").settings

    def passphrase(_: str) -> bytes:
        return b"not it"

    def confirm(_: object) -> bool:
        return True

    return {
        "inbox": lambda: commands.inbox(chosen),
        "approve": lambda: commands.approve(chosen, proposals=(HASH[:8],), confirm=confirm, passphrase=passphrase, scripted=True),
        "deny": lambda: commands.deny(chosen, proposal=HASH[:8], reason="denied", passphrase=passphrase),
        "downgrade": lambda: commands.downgrade(chosen, name="laptop", pair_type="USER", passphrase=passphrase, scripted=True),
        "sever": lambda: commands.sever(chosen, name="laptop", reason="lost", passphrase=passphrase),
        "ping": lambda: commands.ping(chosen, house="", count=1),
        "ls": lambda: commands.ls(chosen, house="", path="/"),
        "versions": lambda: commands.versions(chosen, house="", path="/a"),
        "uploads": lambda: commands.uploads(chosen, house=""),
        "key ls": lambda: commands.key_ls_house(chosen, house="attic"),
        "key show": lambda: commands.key_show(chosen, key="#12", house="attic"),
        "fact ls": lambda: commands.fact_ls(chosen, key="", predicate="", every=True, house="attic"),
        "rights ls": lambda: commands.rights_ls(chosen, house="attic"),
        "rights why": lambda: commands.rights_why(chosen, query={"key": "#12", "action": "write"}, house="attic"),
        "plan": lambda: commands.plan(chosen, house="attic"),
        "log": lambda: list(commands.log(chosen, house="attic", query={"limit": 3}, follow=False)),
    }


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_commands_meet_the_five_errors_and_nothing_else(liar: Liar, data: st.DataObject) -> None:
    """The same for the commands behind `tally`, whose questions follow from one another."""
    found = commands_of(liar)
    work = found[data.draw(st.sampled_from(list(found)))]
    liar.lie = data.draw(lies())
    try:
        work()
    except TallyError as error:
        assert error.message


def test_every_question_names_the_kind_of_its_answer() -> None:
    """In the package no JSON of a house is read without its kind: one reader, and no way around it."""
    source = Path(tallystick.__file__).parent
    readers = {name for name in vars(HouseSession) if name.endswith("_json")} | {"json_of"}
    seen = 0
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in readers:
                seen += 1
                named = any(word.arg == "kind" for word in node.keywords) or (node.func.attr == "json_of" and len(node.args) == 2)
                assert named, f"{path.name}:{node.lineno}"
    assert seen >= 15
