"""The window of the inbox, driven by keys: what it shows, what it signs, and what it refuses to sign."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

pytest.importorskip("textual")

from textual.pilot import Pilot
from textual.widgets import Checkbox, DataTable, Input, Static

from tallystick.console.inbox import Decide, InboxApp, Reach, Row, left, plain, same, same_words, seconds_of
from tallystick.errors import Misuse, Unavailable, Unproven

HOUR_NS = 3_600 * 10**9
EVIL = "evil\x1b]0;owned\x07\u202e[bold]markup[/]"


def held(entry: int, **other: Any) -> dict[str, Any]:
    row = {
        "id": entry,
        "proven": True,
        "problem": "",
        "who": "#47 vision-skill",
        "key": "k" * 20,
        "class": "skill",
        "action": "write",
        "verb": "archive.put",
        "target": f"PUT /v1/files/{entry}.txt",
        "body_bytes": 12,
        "sha256": "ab" * 32,
        "risk": "medium",
        "reason": "rights",
        "rule": "",
        "time_ns": time.time_ns(),
        "expires_ns": time.time_ns() + 20 * HOUR_NS,
        "replaces": None,
        "chain": [
            {
                "number": 12,
                "label": "camera-feed",
                "kind": "source",
                "state": "compromised",
                "entry": 7,
                "class": "sensor",
                "verb": "camera.frame",
            },
            {"number": None, "label": "", "kind": "unknown", "state": "unknown", "entry": None, "class": "", "verb": ""},
        ],
    }
    return row | other


PAIRING: dict[str, Any] = {
    "id": "7a31c0de",
    "label": "laptop",
    "type": "INPUT",
    "key": "K",
    "key_class": "file",
    "words": ["snapline", "pedigree", "ringbolt", "bifocals"],
    "digits": "123456-789012",
    "address": None,
    "since_ns": 0,
    "expires_ns": time.time_ns() + HOUR_NS,
    "facts": {},
}


@dataclass
class Cardboard:
    """A desk that writes down what was asked of it."""

    rows: list[dict[str, Any]]
    pairings: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    problem: Exception | None = None
    items: list[dict[str, Any]] = field(default_factory=list)

    def waiting(self) -> Row:
        if self.problem is not None:
            raise self.problem
        suspended = [{"kind": "key", "id": "", "entry": 1, "cause": 2, "name": "#3"}]
        return {"proposals": self.pairings, "held": self.rows, "suspended": suspended}

    def look(self, proposal: str) -> Row:
        (row,) = [row for row in self.rows if str(row["id"]) == proposal]
        return {**row, "state": "held", "effect": [f"writes {proposal}.txt", "--- a", "+++ b", "@@ -1 +1 @@", "-old", "+new " + EVIL]}

    def approve(self, proposals: Sequence[str], shown: Mapping[str, Row], passphrase: str, wider: Reach) -> Row:
        if passphrase != "secret":
            raise Unproven("the passphrase is wrong", "try again")
        self.asked.append(("approve", tuple(proposals), {key: row["id"] for key, row in shown.items()}, wider))
        self.rows = [row for row in self.rows if str(row["id"]) not in proposals]
        self.pairings = [row for row in self.pairings if row["id"] not in proposals]
        return {"id": ", ".join(proposals), "entry": 99, "type": "signal", "items": self.items}

    def deny(self, proposal: str, reason: str, passphrase: str) -> Row:
        self.asked.append(("deny", proposal, reason, passphrase))
        self.rows = [row for row in self.rows if str(row["id"]) != proposal]
        return {"id": proposal, "entry": 98}


def drive(desk: Cardboard, act: Callable[[InboxApp, Pilot[None]], Awaitable[None]]) -> None:
    async def run() -> None:
        app = InboxApp(desk)
        async with app.run_test(size=(140, 44)) as pilot:
            await settled(app, pilot)
            await act(app, pilot)

    asyncio.run(run())


async def settled(app: InboxApp, pilot: Pilot[None]) -> None:
    """Until no thread works and everything is drawn."""
    for _ in range(3):
        await app.workers.wait_for_complete()
        await pilot.pause()


def text_of(app: InboxApp, name: str) -> str:
    return str(app.query_one(name, Static).render())


def test_it_shows_what_waits_and_the_first_of_it(tmp_path: object) -> None:
    """The list; beside it who asks, why it is held, who is behind it, and the change line by line."""

    async def act(app: InboxApp, pilot: Pilot[None]) -> None:
        assert app.query_one("#list", DataTable).row_count == 2
        assert app.sub_title == "2 wait, 1 suspended"
        shown = text_of(app, "#detail")
        for part in (
            "archive.put (write)",
            "#47 vision-skill",
            "#12 camera-feed",
            "its key is compromised",
            "somebody unknown",
            "-old",
            "medium",
        ):
            assert part in shown
        await pilot.press("down")
        await settled(app, pilot)
        assert "writes 82.txt" in text_of(app, "#detail")

    drive(Cardboard([held(81), held(82)]), act)


def test_foreign_text_is_drawn_and_not_obeyed() -> None:
    """No escape sequence, no change of direction, no markup."""

    async def act(app: InboxApp, pilot: Pilot[None]) -> None:
        shown = text_of(app, "#detail")
        assert "\\x1b" in shown and "\\u202e" in shown and "[bold]markup[/]" in shown
        assert not {"\x1b", "\x07", "\u202e"} & set(shown)

    drive(Cardboard([held(81, who=EVIL, target=EVIL)]), act)


def test_a_person_approves_with_a_passphrase() -> None:
    """One key, the passphrase, Enter: what was shown is handed over, and the list is fetched anew."""
    desk = Cardboard([held(81), held(82)])

    async def act(app: InboxApp, pilot: Pilot[None]) -> None:
        await pilot.press("a", *"secret", "enter")
        await settled(app, pilot)
        assert desk.asked == [("approve", ("81",), {"81": 81}, Reach())]
        assert app.query_one("#list", DataTable).row_count == 1
        assert text_of(app, "#said") == "approved in entry 99"

    drive(desk, act)


def test_several_with_one_signature_and_a_reach() -> None:
    """Marked one by one, after each was looked at; more like them, so often and so long."""
    desk = Cardboard([held(81), held(82), held(83)])

    async def act(app: InboxApp, pilot: Pilot[None]) -> None:
        await pilot.press("space", "down")
        await settled(app, pilot)
        await pilot.press("space", "a")
        await pilot.pause()
        screen = app.screen
        assert isinstance(screen, Decide)
        screen.query_one("#times", Input).value = "10"
        screen.query_one("#until", Input).value = "2h"
        screen.query_one("#only-target", Checkbox).value = True
        screen.query_one("#reason", Input).value = "the report"
        await pilot.press(*"secret", "enter")
        await settled(app, pilot)
        reach = Reach(times=10, seconds=7_200, only_target=True, reason="the report")
        assert desk.asked == [("approve", ("81", "82"), {"81": 81, "82": 82}, reach)]

    drive(desk, act)


def test_what_was_not_done_is_said() -> None:
    """Something had changed: it waits again, and the line below says so."""
    desk = Cardboard([held(81)], items=[{"id": 81, "why": "changed", "result": "", "reason": ""}])

    async def act(app: InboxApp, pilot: Pilot[None]) -> None:
        await pilot.press("a", *"secret", "enter")
        await settled(app, pilot)
        assert text_of(app, "#said") == "approved in entry 99; not done: 81: changed"

    drive(desk, act)


@pytest.mark.parametrize(("keys", "asked"), [(("escape",), []), (("enter",), []), ((*"wrong", "enter"), [])])
def test_nothing_is_signed_without_the_passphrase(keys: tuple[str, ...], asked: list[Any]) -> None:
    """Left, empty or wrong: it waits on."""
    desk = Cardboard([held(81)])

    async def act(app: InboxApp, pilot: Pilot[None]) -> None:
        await pilot.press("a", *keys)
        await settled(app, pilot)
        assert desk.asked == asked
        assert len(desk.rows) == 1

    drive(desk, act)


def test_what_is_not_proven_cannot_be_approved() -> None:
    """It is marked, says why, and takes no signature; it can be denied."""
    desk = Cardboard([held(81, proven=False, problem="the signature does not hold", verb="", risk="")])

    async def act(app: InboxApp, pilot: Pilot[None]) -> None:
        assert "NOT PROVEN: the signature does not hold" in text_of(app, "#detail")
        await pilot.press("a")
        await settled(app, pilot)
        assert not isinstance(app.screen, Decide)
        await pilot.press("d", *"secret", "enter")
        await settled(app, pilot)
        assert desk.asked == [("deny", "81", "denied", "secret")]

    drive(desk, act)


def test_a_pairing_shows_its_words() -> None:
    """To be compared; approved alone, and without a reach."""
    desk = Cardboard([], [PAIRING])

    async def act(app: InboxApp, pilot: Pilot[None]) -> None:
        assert "snapline pedigree ringbolt bifocals" in text_of(app, "#detail")
        await pilot.press("space", "a")
        await pilot.pause()
        assert not app.screen.query("#times")
        await pilot.press(*"secret", "enter")
        await settled(app, pilot)
        assert desk.asked == [("approve", ("7a31c0de",), {"7a31c0de": "7a31c0de"}, Reach())]

    drive(desk, act)


def test_a_house_that_is_away_is_said() -> None:
    """The window stays; asked again it shows what waits."""
    desk = Cardboard([held(81)], problem=Unavailable("attic does not answer", "is it on?"))

    async def act(app: InboxApp, pilot: Pilot[None]) -> None:
        assert text_of(app, "#said") == "attic does not answer (is it on?)"
        desk.problem = None
        await pilot.press("r")
        await settled(app, pilot)
        assert app.query_one("#list", DataTable).row_count == 1

    drive(desk, act)


@pytest.mark.parametrize("name", ["verb", "target", "effect", "sha256", "key", "chain", "id"])
def test_what_is_signed_is_what_was_shown(name: str) -> None:
    """Any difference between the screen and what would be signed: refused."""
    shown = {**held(81), "effect": ["+new"]}
    assert same(shown, dict(shown))
    assert not same(shown, shown | {name: "other"})
    assert not same(None, shown)
    seen = {"7a31c0de": PAIRING}
    assert same_words(seen, PAIRING)
    assert not same_words(seen, PAIRING | {"words": ["a", "b", "c", "d"]})
    assert not same_words({}, PAIRING)


def test_times_as_people_type_them() -> None:
    """10m, 2h, 7d; nothing is nothing; anything else is said."""
    assert [seconds_of(text) for text in ("", " ", "30s", "10m", "2h", "7d")] == [None, None, 30, 600, 7_200, 604_800]
    for text in ("2", "h", "-2h", "0h", "2x", "٢h", "99999d"):
        with pytest.raises(Misuse):
            seconds_of(text)
    assert left(time.time_ns() + 3 * HOUR_NS + 10**9) == "3 h"
    assert left(0) == "0 s"
    assert plain("a\x1bb").plain == "a\\x1bb"
