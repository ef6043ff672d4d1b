"""A story as a picture: a graph for Graphviz, and an SVG of our own (docs/explain.md).

The signal that is explained stands at the top, what it came from below it, an arrow from each cause up to what came of it. Rows are by the
longest way down from the top, at most eight boxes wide; arrows run behind the boxes, and each line of text is cut to its box, so no text
lies on another. All text may come from other machines: it is made printable first, then escaped.
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from tallystick.cli.shapes import Result
from tallystick.cli.text import printable
from tallystick.ledger.wording import utc

COLUMNS: Final = 8  # boxes in a row
CHARACTERS: Final = 40  # of a line in a box
CHARACTER_PX: Final = 7.3  # of a fixed-width font of 12 px, rounded up
LINE_PX: Final = 17
PAD_PX: Final = 10
GAP_X_PX: Final = 28
GAP_Y_PX: Final = 54
MARGIN_PX: Final = 24
HEAD_PX: Final = 64
BOX_X_PX: Final = int(CHARACTERS * CHARACTER_PX) + 2 * PAD_PX
_STROKE: Final = {"allow": "#2e7d32", "hold": "#b26a00", "refuse": "#b3261e"}
_NAMES: Final = {"allow": "allowed", "hold": "held", "refuse": "refused"}
_ENDS: Final = {
    "approval": "approved",
    "proposal-denied": "denied",
    "effect-done": "done",
    "effect-failed": "failed",
    "effect-unknown": "end unknown",
}
_LEGEND: Final = "solid: proven by a signature; dashed: inferred by the house; red: not proven"


@dataclass(frozen=True, slots=True)
class Box:
    """A signal of the picture, or one that the ledger does not hold. `colour`: by its verdict."""

    name: str
    lines: tuple[str, ...]
    colour: str


@dataclass(frozen=True, slots=True)
class Arrow:
    """From a cause to what came of it. `style`: proven, inferred or open."""

    cause: str
    effect: str
    style: str


def picture(result: Result) -> tuple[list[list[Box]], list[Arrow]]:
    """The boxes in rows, the signal that is explained in the first, and the arrows between them."""
    boxes = {step["entry"]: _box(step, result) for step in result["steps"]}
    level = {result["entry"]: 0}
    below: dict[int, list[int]] = {}
    for link in result["links"]:
        if link["earlier"] in boxes and link["earlier"] < link["later"]:
            below.setdefault(link["later"], []).append(link["earlier"])
    for later in sorted(boxes, reverse=True):
        for earlier in below.get(later, ()):
            level[earlier] = max(level.get(earlier, 0), level.get(later, 0) + 1)
    rows: list[list[Box]] = []
    for step in sorted(boxes, key=lambda entry: (level.get(entry, 0), -entry)):
        while len(rows) <= level.get(step, 0):
            rows.append([])
        rows[level.get(step, 0)].append(boxes[step])
    arrows, unknown = [], 0
    for link in result["links"]:
        style = "proven" if link["proven"] else "open" if link["how"] == "signed" else "inferred"
        if link["earlier"] in boxes:
            arrows.append(Arrow(boxes[link["earlier"]].name, boxes[link["later"]].name, style))
            continue
        box = Box(f"u{unknown}", ("not in this ledger", link["reference"][:CHARACTERS]), "#777777")
        unknown += 1
        at = level.get(link["later"], 0) + 1
        rows += [[] for _ in range(at + 1 - len(rows))]
        rows[at].append(box)
        arrows.append(Arrow(box.name, boxes[link["later"]].name, style))
    return rows, arrows


def _box(step: Result, result: Result) -> Box:
    number = f"key #{step['number']}" if step["number"] is not None else "unknown key" if step["key"] else "the house"
    label = f" ({step['label']})" if step["label"] else ""
    target = step["target"] or {"erased": "(erased)", "wrong": "(not what was signed)"}.get(step["opening"], "")
    became = [
        _NAMES.get(step["verdict"], step["verdict"] or "recorded"),
        *(_ENDS[each["kind"]] for each in step["after"] if each["kind"] in _ENDS),
    ]
    seen = [f"{each['layer']}: {each['rule'] or _mismatches(each) or each['outcome']}" for each in step["then"]]
    fates = [fate["what"] for key in result["keys"] if key["key"] == step["key"] for fate in key["fates"] if fate["what"] != "resumed"]
    lines = (
        f"{number}{label}",
        f"{step['signal_class']}  {step['verb'] or step['kind']}",
        target,
        f"entry {step['entry']}: {', '.join(became)}",
        utc(step["time_ns"]),
        "; ".join(seen),
        f"the key was later {', '.join(fates)}" if fates else "",
    )
    shown = tuple(printable(line.strip()) for line in lines if line.strip())
    return Box(f"e{step['entry']}", shown, _STROKE.get(step["verdict"], "#555555"))


def _mismatches(layered: Result) -> str:
    return ", ".join(str(row[0]) for row in layered["matches"] if row[1] == "mismatch")


# --- Graphviz --------------------------------------------------------------------------------------------------------------------------


def dot(result: Result) -> str:
    """The graph in the language of Graphviz, for `dot -Tsvg` and others."""
    rows, arrows = picture(result)
    styles = {"proven": "solid", "inferred": "dashed", "open": "dashed, color=red"}
    lines = ["digraph story {", "  rankdir=BT;", '  node [shape=box, fontname="monospace"];']
    for box in (box for row in rows for box in row):
        label = "".join(f"{_dot_text(line)}\\l" for line in box.lines)
        lines.append(f'  {box.name} [label="{label}", color="{box.colour}"];')
    lines += [f"  {arrow.cause} -> {arrow.effect} [style={styles[arrow.style]}];" for arrow in arrows]
    return "\n".join([*lines, "}", ""])


def _dot_text(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


# --- SVG -------------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """The upper left corner of a box, and its height: as its row's."""

    x: int
    y: int
    height: int


def svg(result: Result) -> str:
    """The picture as SVG 1.1: no script, no link, no foreign content."""
    rows, arrows = picture(result)
    drawn = [row[at : at + COLUMNS] for row in rows for at in range(0, len(row), COLUMNS)]
    widest = max(len(row) for row in drawn)
    width = max(2 * MARGIN_PX + widest * (BOX_X_PX + GAP_X_PX) - GAP_X_PX, int(len(_LEGEND) * CHARACTER_PX) + 2 * MARGIN_PX)
    places: dict[str, _Place] = {}
    down = HEAD_PX
    for row in drawn:
        start = (width - len(row) * (BOX_X_PX + GAP_X_PX) + GAP_X_PX) // 2
        tall = max(len(box.lines) for box in row) * LINE_PX + PAD_PX
        for across, box in enumerate(row):
            places[box.name] = _Place(start + across * (BOX_X_PX + GAP_X_PX), down, tall)
        down += tall + GAP_Y_PX
    height = down - GAP_Y_PX + MARGIN_PX
    title = f"The story of the signal in entry {result['entry']}"
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(printable(result['text'][0])) if result['text'] else ''}</desc>",
            "<style>text{font:12px monospace;fill:#1a1a1a}.head{font-size:14px;font-weight:bold}.first{font-weight:bold}"
            "path{fill:none;stroke:#444;stroke-width:1.4}.inferred{stroke-dasharray:6 4}.open{stroke:#b3261e;stroke-dasharray:2 3}</style>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
            '<path d="M0 0L8 4L0 8z" style="fill:#444;stroke:none"/></marker></defs>',
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            f'<text class="head" x="{MARGIN_PX}" y="28">{escape(title)}</text>',
            f'<text x="{MARGIN_PX}" y="48">{escape(_LEGEND)}</text>',
            *(_arrow(places[arrow.cause], places[arrow.effect], arrow.style) for arrow in arrows),
            *(line for row in drawn for box in row for line in _drawn(box, places[box.name])),
            "</svg>",
            "",
        ]
    )


def _arrow(cause: _Place, effect: _Place, style: str) -> str:
    """From the top of the cause to the bottom of what came of it."""
    x1, y1 = cause.x + BOX_X_PX // 2, cause.y
    x2, y2 = effect.x + BOX_X_PX // 2, effect.y + effect.height + 2
    bend = GAP_Y_PX // 2
    return f'<path class="{style}" marker-end="url(#tip)" d="M{x1} {y1}C{x1} {y1 - bend} {x2} {y2 + bend} {x2} {y2}"/>'


def _drawn(box: Box, place: _Place) -> Iterator[str]:
    yield (
        f'<rect x="{place.x}" y="{place.y}" width="{BOX_X_PX}" height="{place.height}" rx="6" fill="#fbfbf8" stroke="{box.colour}"'
        ' stroke-width="2"/>'
    )
    for number, line in enumerate(box.lines):
        text, columns = fitted(line)
        # A font that has no glyph of one or two columns for a character may use any width: the line is held to its own.
        held = "" if text.isascii() else f' textLength="{columns * 7.2:.0f}" lengthAdjust="spacingAndGlyphs"'
        kind = ' class="first"' if number == 0 else ""
        y = place.y + PAD_PX // 2 + 12 + number * LINE_PX
        yield f'<text{kind} x="{place.x + PAD_PX}" y="{y}" xml:space="preserve"{held}>{escape(text)}</text>'


def fitted(line: str) -> tuple[str, int]:
    """A line cut to its box, and the columns it takes."""
    if columns_of(line) <= CHARACTERS:
        return line, columns_of(line)
    kept = ""
    for character in line:
        if columns_of(kept + character) > CHARACTERS - 3:
            break
        kept += character
    return kept + "...", columns_of(kept) + 3


def columns_of(text: str) -> int:
    """How many columns a text takes in a fixed-width font."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)
