"""`tally inbox --tui`: what waits, one thing after the other, with its exact effect and who is behind it; approve or deny.

The window shows what `node/commands/decisions.py` has proven, and signs nothing else: what is approved is proven anew at that moment and
compared with what stands on the screen. Text of other machines is drawn, never obeyed: no markup, no control characters.
"""

import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid, Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Checkbox, DataTable, Footer, Header, Input, Label, Static

from tallystick.errors import Misuse, TallyError
from tallystick.node.commands import decisions as commands
from tallystick.node.settings import Settings

NS: Final = 10**9
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_RISKS: Final[Mapping[str, str]] = {"low": "green", "medium": "yellow", "high": "bold red", "critical": "bold white on red"}
_UNITS: Final[Mapping[str, int]] = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

Row = Mapping[str, Any]


class Desk(Protocol):
    """What the window asks for. Every call blocks, and runs in a thread. Raises: the five errors."""

    def waiting(self) -> Row:
        """As `tally inbox --json`."""

    def look(self, proposal: str) -> Row:
        """As `tally inbox --show ID --json`."""

    def approve(self, proposals: Sequence[str], shown: Mapping[str, Row], passphrase: str, wider: "Reach") -> Row:
        """As `tally approve --json`; refused where what is approved is not what was shown."""

    def deny(self, proposal: str, reason: str, passphrase: str) -> Row:
        """As `tally deny --json`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far an approval reaches. Nothing given: these signals, once."""

    times: int | None = None
    seconds: int | None = None
    only_body: bool = False
    only_origins: bool = False
    only_target: bool = False
    reason: str = ""


class HouseDesk:
    """The desk of the house this machine is an ADMIN of."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def waiting(self) -> Row:
        return commands.inbox(self._settings)

    def look(self, proposal: str) -> Row:
        return commands.inbox_show(self._settings, proposal=proposal)

    def approve(self, proposals: Sequence[str], shown: Mapping[str, Row], passphrase: str, wider: Reach) -> Row:
        return commands.approve(
            self._settings,
            proposals=proposals,
            confirm=lambda pairing: same_words(shown, pairing),
            sure=lambda found: all(same(shown.get(str(each["id"])), each) for each in found),
            times=wider.times,
            until_ns=None if wider.seconds is None else time.time_ns() + wider.seconds * NS,
            only_body=wider.only_body,
            only_origins=wider.only_origins,
            only_target=wider.only_target,
            reason=wider.reason,
            passphrase=lambda _: passphrase.encode(),
            scripted=False,
        )

    def deny(self, proposal: str, reason: str, passphrase: str) -> Row:
        return commands.deny(self._settings, proposal=proposal, reason=reason, passphrase=lambda _: passphrase.encode())


def same(shown: Row | None, found: Row) -> bool:
    """Whether what is about to be signed is what stood on the screen."""
    watched = ("id", "verb", "action", "class", "target", "sha256", "effect", "key", "chain")
    return shown is not None and all(shown[name] == found[name] for name in watched)


def same_words(shown: Mapping[str, Row], pairing: Row) -> bool:
    """The person compared the words on the screen with the other end's; these must be those."""
    seen = shown.get(str(pairing["id"]))
    return seen is not None and list(seen["words"]) == list(pairing["words"])


def plain(text: object, style: str = "") -> Text:
    """Somebody's text, with everything a terminal might obey written out."""
    shown = "".join(
        char if unicodedata.category(char) not in _HIDDEN else f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}"
        for char in str(text)
    )
    return Text(shown, style=style)


def left(until_ns: int) -> str:
    """How long until then, in its largest unit."""
    seconds = max((until_ns - time.time_ns()) // NS, 0)
    return next(
        (f"{seconds // size} {unit}" for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)) if seconds >= size), f"{seconds} s"
    )


def seconds_of(text: str) -> int | None:
    """`10m`, `2h`, `7d`; None for nothing. Raises: Misuse."""
    if not text.strip():
        return None
    number, unit = text.strip()[:-1], text.strip()[-1:]
    if unit not in _UNITS or not number.isascii() or not number.isdigit() or not 0 < int(number) <= 10_000:
        raise Misuse(f"{text[:20]!r} is no time", "write 10m, 2h or 7d")
    return int(number) * _UNITS[unit]


def held_lines(row: Row) -> Text:
    """Everything about one held signal: who asks what, what exactly would be done, because of whom, and the rest."""
    found = Text()
    if not row["proven"]:
        found.append_text(plain(f"NOT PROVEN: {row['problem']}\nDo not approve it.\n\n", "bold white on red"))
    why = {"rights": "its key, or one behind it, has not that right", "layer": "a layer of the gate", "confidence": "low confidence"}
    came_back = "" if row["replaces"] is None else f"instead of {row['replaces']}: something had changed"
    _named(
        found,
        ("asks", f"{row['verb']} ({row['action']})  {row['target']}", "bold"),
        ("who", f"{row['who']}, as {row['class']}", "bold"),
        ("risk", row["risk"], _RISKS.get(row["risk"], "")),
        ("held by", f"{why.get(row['reason'], row['reason'])} {row['rule']}".strip(), ""),
        ("came back", came_back, "yellow"),
    )
    found.append("\nwhat would be done\n", "dim")
    for line in row["effect"]:
        found.append_text(plain(line, _diff_style(line)))
        found.append("\n")
    chain = row["chain"] if isinstance(row["chain"], list) else []
    if chain:
        found.append("\nbecause of\n", "dim")
    for depth, link in enumerate(chain):
        name = "somebody unknown" if link["number"] is None else f"#{link['number']} {link['label']}".rstrip()
        bad = link["state"] not in ("standing", "unknown")
        found.append("  " * min(depth, 8) + "└ ", "dim")
        found.append_text(plain(name, "bold red" if bad or link["number"] is None else "bold"))
        said = "in its context" if link["entry"] is None else f"{link['class']} {link['verb']}, entry {link['entry']}"
        found.append_text(plain(f"  {said}" + (f"  (its key is {link['state']})" if bad else ""), "red" if bad else ""))
        found.append("\n")
    found.append("\n")
    size = "" if row["body_bytes"] is None else f"{row['body_bytes']} bytes, SHA-256 {row['sha256']}"
    _named(found, ("body", size, "dim"), ("key", row["key"], "dim"), ("expires", f"in {left(row['expires_ns'])}", "dim"))
    return found


def _named(found: Text, *rows: tuple[str, str, str]) -> None:
    """Name, value and style, one a line; empty values are left out."""
    for name, value, style in rows:
        if value:
            found.append(f"{name:>9}  ", "dim")
            found.append_text(plain(value, style))
            found.append("\n")


def _diff_style(line: str) -> str:
    if line.startswith(("+++", "---")):
        return "bold"
    return {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")


def pairing_lines(row: Row) -> Text:
    """Everything about a machine that wants to pair."""
    found = Text()
    _named(
        found,
        ("machine", row["label"], "bold"),
        ("as", row["type"], _RISKS["critical"] if row["type"] == "ADMIN" else "bold"),
        ("key", f"{row['key']} ({row['key_class']})", "dim"),
        ("from", row["address"] or "", ""),
        ("expires", f"in {left(row['expires_ns'])}", ""),
        ("words", " ".join(row["words"]), "bold green"),
        ("digits", row["digits"], "bold green"),
    )
    found.append("\nDoes the other end show the same words? Then approve it. If not, deny it: somebody is in between.\n")
    return found


class Decide(ModalScreen["tuple[str, Reach, str] | None"]):
    """Asks for the passphrase, and how far the decision reaches."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave")]
    DEFAULT_CSS = """
    Decide { align: center middle; }
    Decide > Vertical { width: 74; height: auto; padding: 1 2; border: round $primary; background: $surface; }
    Decide Input { margin: 0 0 1 0; }
    Decide Grid { grid-size: 2; grid-gutter: 0 2; grid-rows: 3; height: 3; margin-bottom: 1; }
    Decide Grid Input { margin: 0; }
    Decide Checkbox { border: none; padding: 0; height: 1; }
    Decide #reason { margin-top: 1; }
    Decide Horizontal { height: auto; align-horizontal: right; margin-top: 1; }
    Decide Button { margin-left: 2; }
    Decide #problem { color: $error; height: auto; }
    """

    def __init__(self, title: str, *, approving: bool, wider: bool) -> None:
        super().__init__()
        self._title, self._approving, self._wider = title, approving, wider

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Label(plain(self._title, "bold"))
            if self._wider:
                yield Label("Let more like it go? Leave both empty for: only this, once.")
                with Grid():
                    yield Input(placeholder="how many more", id="times")
                    yield Input(placeholder="for how long: 10m, 2h, 7d", id="until")
                yield Checkbox("only this target", id="only-target")
                yield Checkbox("only with nobody else behind it", id="only-origins")
                yield Checkbox("only this content", id="only-body")
            yield Input(placeholder="reason, kept in the record" if self._approving else "reason: one word", id="reason")
            yield Input(placeholder="passphrase of your human key", password=True, id="passphrase")
            yield Static("", id="problem")
            with Horizontal():
                yield Button("Leave", id="leave")
                yield Button("Approve" if self._approving else "Deny", id="go", variant="success" if self._approving else "error")

    def on_mount(self) -> None:
        self.query_one("#passphrase", Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id == "passphrase":
            self._go()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "go":
            self._go()
        else:
            self.dismiss(None)

    def action_leave(self) -> None:
        """Decide nothing."""
        self.dismiss(None)

    def _go(self) -> None:
        passphrase, reason = self.query_one("#passphrase", Input).value, self.query_one("#reason", Input).value
        try:
            reach = self._reach(reason)
        except Misuse as error:
            self.query_one("#problem", Static).update(plain(f"{error.message}: {error.hint}"))
            return
        if not passphrase:
            self.query_one("#problem", Static).update("a decision is signed: your passphrase is needed")
            return
        self.dismiss((passphrase, reach, reason or "denied"))

    def _reach(self, reason: str) -> Reach:
        if not self._wider:
            return Reach(reason=reason if self._approving else "")
        times = self.query_one("#times", Input).value.strip()
        if times and not (times.isascii() and times.isdigit() and 0 < int(times) <= 1_000_000):
            raise Misuse("how many more is a number", "write 1 to 1000000, or nothing")
        return Reach(
            times=int(times) if times else None,
            seconds=seconds_of(self.query_one("#until", Input).value),
            only_body=self.query_one("#only-body", Checkbox).value,
            only_origins=self.query_one("#only-origins", Checkbox).value,
            only_target=self.query_one("#only-target", Checkbox).value,
            reason=reason,
        )


class InboxApp(App[None]):
    """The window."""

    TITLE = "tally inbox"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "approve", "Approve"),
        Binding("d", "deny", "Deny"),
        Binding("space", "mark", "Mark"),
        Binding("r", "reload", "Reload"),
        Binding("q", "quit", "Quit"),
    ]
    CSS = """
    #list { height: auto; max-height: 40%; }
    #side { height: 1fr; border-top: solid $primary; padding: 0 1; }
    #said { height: 1; padding: 0 1; background: $boost; }
    """

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self._rows: dict[str, Row] = {}
        self._looked: dict[str, Row] = {}
        self._marked: set[str] = set()

    def compose(self) -> ComposeResult:
        yield Header()
        with Vertical():
            table: DataTable[Text] = DataTable(id="list", cursor_type="row", zebra_stripes=True)
            yield table
            with VerticalScroll(id="side"):
                yield Static("", id="detail")
        yield Static("", id="said")
        yield Footer()

    def on_mount(self) -> None:
        self._table.add_columns("", "ID", "RISK", "WHO", "LEFT", "ASKS")
        self.action_reload()

    @property
    def _table(self) -> "DataTable[Text]":
        return self.query_one("#list", DataTable)

    def say(self, text: str, style: str = "") -> None:
        """One line below."""
        self.query_one("#said", Static).update(plain(text, style))

    def _chosen(self) -> str | None:
        table = self._table
        if not table.row_count:
            return None
        return str(table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value)

    # --- Looking ---------------------------------------------------------------------------------------------------------

    def action_reload(self) -> None:
        """Ask the house again."""
        self.say("asking the house ...")
        self._load()

    @work(thread=True, exclusive=True, group="load")
    def _load(self) -> None:
        found = self._try(self._desk.waiting)
        if found is not None:
            self.call_from_thread(self._fill, found)

    def _fill(self, found: Row) -> None:
        table, before = self._table, self._chosen()
        table.clear()
        self._rows = {str(row["id"]): row for row in (*found["proposals"], *found["held"])}
        self._marked &= self._rows.keys()
        self._looked = {}
        for row in found["proposals"]:
            cells = (row["id"], "critical" if row["type"] == "ADMIN" else "high", row["label"], f"pair as {row['type']}")
            self._add(str(row["id"]), cells, row["expires_ns"])
        for row in found["held"]:
            path = row["target"].partition(" ")[2].removeprefix("/v1/files/").removeprefix("/v1/verbs/")
            asks = f"{row['verb']} {path}".strip() if row["proven"] else row["problem"]
            cells = (str(row["id"]), row["risk"] if row["proven"] else "NOT PROVEN", row["who"], asks)
            self._add(str(row["id"]), cells, row["expires_ns"])
        suspended = len(found["suspended"])
        self.sub_title = f"{len(self._rows)} wait" + (f", {suspended} suspended" if suspended else "")
        self.say("Nobody waits." if not self._rows else "")
        self.query_one("#detail", Static).update("")
        if before in self._rows:
            table.move_cursor(row=list(self._rows).index(before))
        if (chosen := self._chosen()) is not None:
            self._show(chosen)

    def _add(self, key: str, cells: Sequence[str], expires_ns: int) -> None:
        ident, risk, who, asks = cells
        mark = Text("●" if key in self._marked else " ", style="green")
        style = _RISKS.get(risk, "bold white on red")
        self._table.add_row(mark, plain(ident), plain(risk, style), plain(who[:18]), plain(left(expires_ns)), plain(asks[:60]), key=key)

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        if event.row_key.value is not None:
            self._show(str(event.row_key.value))

    def _show(self, key: str) -> None:
        row = self._rows.get(key)
        if row is None:
            return
        if "words" in row:
            self._looked[key] = row
            self.query_one("#detail", Static).update(pairing_lines(row))
        elif key in self._looked:
            self.query_one("#detail", Static).update(held_lines(self._looked[key]))
        else:
            self._look(key)

    @work(thread=True, exclusive=True, group="look")
    def _look(self, key: str) -> None:
        found = self._try(lambda: self._desk.look(key))
        if found is not None:
            self.call_from_thread(self._seen, key, found)

    def _seen(self, key: str, found: Row) -> None:
        self._looked[key] = found
        if self._chosen() == key:
            self.query_one("#detail", Static).update(held_lines(found))
            self.query_one("#side", VerticalScroll).scroll_home(animate=False)

    def _try(self, ask: Callable[[], Row]) -> Row | None:
        try:
            return ask()
        except TallyError as error:
            hint = f" ({error.hint})" if error.hint else ""
            self.call_from_thread(self.say, f"{error.message}{hint}", "bold red")
            return None

    # --- Deciding --------------------------------------------------------------------------------------------------------

    def action_mark(self) -> None:
        """Approve this one together with others."""
        chosen = self._chosen()
        if chosen is None or "words" in self._rows[chosen]:
            return
        if chosen not in self._looked:
            self.say("look at it first")
            return
        self._marked ^= {chosen}
        self._table.update_cell_at((self._table.cursor_row, 0), Text("●" if chosen in self._marked else " ", style="green"))  # type: ignore[arg-type]
        self.say(f"{len(self._marked)} marked: one signature approves all of them" if self._marked else "")

    def action_approve(self) -> None:
        """Sign that these may go."""
        wanted = [key for key in self._rows if key in self._marked] or ([] if (one := self._chosen()) is None else [one])
        if not wanted:
            return
        if any(key not in self._looked for key in wanted):
            self.say("look at it first: it is being fetched", "yellow")
            return
        rows = [self._looked[key] for key in wanted]
        pairing = "words" in rows[0]
        if not pairing and any(not row["proven"] for row in rows):
            self.say("what is not proven cannot be approved", "bold red")
            return
        one = f"{rows[0]['label']} pairs as {rows[0]['type']}" if pairing else f"{rows[0]['who']}: {rows[0]['verb']} {rows[0]['target']}"
        title = f"Approve {wanted[0]}: {one}"[:70] if len(wanted) == 1 else f"Approve {len(wanted)} with one signature"
        self.push_screen(Decide(title, approving=True, wider=not pairing), lambda said: self._approved(wanted, said))

    def _approved(self, wanted: list[str], said: "tuple[str, Reach, str] | None") -> None:
        if said is not None:
            self.say("signing ...")
            self._approve(wanted, said[0], said[1])

    @work(thread=True, exclusive=True, group="decide")
    def _approve(self, wanted: list[str], passphrase: str, reach: Reach) -> None:
        shown = {key: self._looked[key] for key in wanted}
        found = self._try(lambda: self._desk.approve(wanted, shown, passphrase, reach))
        if found is None:
            return
        items = found["items"]
        bad = [each for each in items if each["why"] != "released" or each["result"] not in ("", "done")]
        done = ", ".join(
            f"{each['id']}: {each['why'] if each['why'] != 'released' else each['result']} {each['reason']}".strip() for each in bad
        )
        text = f"approved in entry {found['entry']}" + (f"; not done: {done}" if bad else "")
        self.call_from_thread(self._decided, text, "bold yellow" if bad else "green")

    def action_deny(self) -> None:
        """Turn this one away."""
        chosen = self._chosen()
        if chosen is not None:
            self.push_screen(Decide(f"Deny {chosen}", approving=False, wider=False), lambda said: self._denied(chosen, said))

    def _denied(self, chosen: str, said: "tuple[str, Reach, str] | None") -> None:
        if said is not None:
            self.say("signing ...")
            self._deny(chosen, said[2], said[0])

    @work(thread=True, exclusive=True, group="decide")
    def _deny(self, chosen: str, reason: str, passphrase: str) -> None:
        found = self._try(lambda: self._desk.deny(chosen, reason, passphrase))
        if found is not None:
            self.call_from_thread(self._decided, f"denied {chosen} in entry {found['entry']}", "yellow")

    def _decided(self, text: str, style: str) -> None:
        self._marked.clear()
        self._load_and_say(text, style)

    @work(thread=True, exclusive=True, group="load")
    def _load_and_say(self, text: str, style: str) -> None:
        found = self._try(self._desk.waiting)
        if found is not None:
            self.call_from_thread(self._fill, found)
            self.call_from_thread(self.say, text, style)


def open_inbox(settings: Settings) -> None:
    """Run the window until the person leaves it. Raises: the five errors, before it opens."""
    desk = HouseDesk(settings)
    desk.waiting()  # no house, no window
    InboxApp(desk).run()
