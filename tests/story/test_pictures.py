"""The story for programs and as pictures: shapes, proofs, evidence, and text from hostile machines."""

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tallystick.canonical import Value
from tallystick.cli.drawing import BOX_X_PX, CHARACTER_PX, COLUMNS, columns_of, dot, fitted, picture, svg
from tallystick.cli.main import run
from tallystick.cli.shapes import SHAPES, check
from tallystick.ledger.event import Kind
from tallystick.ledger.wording import quoted, utc
from tallystick.node import commands
from tallystick.node.explaining import explain
from tallystick.node.machine import Machine
from tallystick.node.settings import load
from tallystick.node.storyview import explained
from tallystick.tlog.proof import verify_inclusion
from tests.story.village import Sent, Village, incident, village

SVG = "{http://www.w3.org/2000/svg}"
# Characters that a terminal, a browser or Graphviz might obey.
LABEL = '</text><script>alert(1)</script>"]; evil [label="x" URL="javascript:x'
SAYS: tuple[Value, ...] = ("\x1b]0;owned\x07\r\nKey #1 was never revoked.\u202e", "<b>&amp;\x00", {"a": [1, b"\xff", None, True]})


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Village]:
    with village(tmp_path / "house") as found:
        yield found


def result(place: Village, sent: Sent) -> dict[str, Any]:
    found = {**explained(place.store, explain(place.store, sent.entry)), "proofs": None, "seconds": 0.0}
    check(SHAPES["explain"], found, "explain")
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]


def hostile(place: Village) -> Sent:
    """A signal of a key with a hostile label, whose observations are no better."""
    place.introduce("evil", "sensor", label=LABEL[:63])
    place.introduce("wide", "sensor", label="日本語のとても長いラベルです。とても")
    wide = place.say("wide", "sensor", "metadata", "sensor.read", target="/v1/files/" + "x" * 300)
    return place.say("evil", "sensor", "metadata", "sensor.read", target="/%3Csvg%3E?a=<b>&c=\"'", says=SAYS, prev=(wide.reference,))


def test_the_shape_and_its_proofs(place: Village) -> None:
    """Every field is promised; each step's proof leads from its leaf to the root of the checkpoint that is in the answer."""
    deletion = incident(place)
    commands.log_prove(place.machine.settings, index=1, target=place.machine.home.path / "first")  # signs a checkpoint
    found = result(place, deletion)
    assert found["entry"] == deletion.entry
    assert [step["entry"] for step in found["steps"]] == [11, 10, 7]
    for step in found["steps"]:
        verify_inclusion(
            index=step["entry"], size=found["size"], leaf=bytes.fromhex(step["leaf_hash"]), root=bytes.fromhex(found["root"]),
            proof=tuple(map(bytes.fromhex, step["proof"])),
        )  # fmt: skip
    assert [each["kind"] for each in found["steps"][0]["after"]] == [
        "proposal",
        "approval",
        "effect-begun",
        "effect-done",
        "proposal-ended",
    ]
    assert found["steps"][2]["then"][0]["matches"] == [["liveness", "mismatch", 400_000, 800_000, 900_000]]
    assert [fate["what"] for key in found["keys"] for fate in key["fates"]] == ["revoked"]
    (fact,) = found["facts"]
    assert fact == {"entry": 6, "words": "seen at 52.52000 N 13.40500 E, within 50 m, 2026-11-18 11:06:44 UTC", "withdrawn": None}


def test_before_a_checkpoint_there_is_no_proof(place: Village) -> None:
    """Nothing is signed for the asking; the answer says that there is none."""
    found = result(place, incident(place))
    assert (found["size"], found["root"], found["checkpoint"]) == (None, None, None)
    assert all(step["proof"] == [] for step in found["steps"])


def texts(drawn: str) -> list[ET.Element]:
    return list(ET.fromstring(drawn).iter(f"{SVG}text"))


def boxes(drawn: str) -> list[tuple[float, float, float, float]]:
    """Left, top, right, bottom of each box."""
    found = [each for each in ET.fromstring(drawn).iter(f"{SVG}rect") if each.get("rx")]
    return [
        (x := float(e.attrib["x"]), y := float(e.attrib["y"]), x + float(e.attrib["width"]), y + float(e.attrib["height"])) for e in found
    ]


def test_the_picture_is_well_formed_and_no_text_lies_on_another(place: Village) -> None:
    """Boxes do not touch, each line lies within its box, and lines in a box keep their distance."""
    place.introduce("s", "sensor")
    place.introduce("agent", "skill")
    low = [place.say("s", "sensor", "metadata", "sensor.read", target=f"/v1/files/{'a' * n}") for n in range(60, 124)]
    drawn = svg(result(place, place.say("agent", "skill", "propose", "agent.plan", prev=tuple(each.reference for each in low))))
    corners = boxes(drawn)
    assert len(corners) == 65
    for at, (left, top, right, bottom) in enumerate(corners):
        for other in corners[at + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
    lines = [(float(each.attrib["x"]), float(each.attrib["y"]), each.text or "") for each in texts(drawn)][2:]
    assert len(lines) > 4 * 65
    for x, y, text in lines:
        inside = [box for box in corners if box[0] <= x < box[2] and box[1] <= y - 10 and y + 3 <= box[3]]
        assert len(inside) == 1
        assert x + columns_of(text) * CHARACTER_PX <= inside[0][2]
    for box in corners:
        mine = sorted(y for x, y, _ in lines if box[0] <= x < box[2] and box[1] <= y <= box[3])
        assert all(later - earlier >= 15 for earlier, later in pairwise(mine))
    assert max(right for _, _, right, _ in corners) <= COLUMNS * (BOX_X_PX + 40)


def test_hostile_text_stays_text(place: Village) -> None:
    """Labels, targets and observations: escaped in the SVG, quoted in the graph, written out on a terminal, whole in the JSON."""
    found = result(place, hostile(place))
    drawn = svg(found)
    root = ET.fromstring(drawn)
    tags = {each.tag.removeprefix(SVG) for each in root.iter()}
    assert tags <= {"svg", "title", "desc", "style", "defs", "marker", "path", "rect", "text"}
    assert not re.search(r"<script|javascript:x\"|\x1b|\x00|\u202e", drawn.replace("&quot;", ""))
    assert any("</text><script>" in (each.text or "") for each in texts(drawn))
    graph = dot(found)
    assert len(re.findall(r"^  e\d+ \[label=", graph, re.MULTILINE)) == 2
    node = r'[eu]\d+ \[label="(\\.|[^"\\])*", color="#\w{6}"\];'
    edge = r"[eu]\d+ -> [eu]\d+ \[[a-z=, ]+\];"
    for line in graph.splitlines():
        assert re.fullmatch(rf"digraph story \{{|\}}|  (rankdir=BT;|node \[.*\];|{node}|{edge})", line), line
    assert found["steps"][0]["label"] == LABEL[:63]
    assert found["steps"][0]["observations"][0] == SAYS[0]
    # A foreign sentence stands in quotes, so it cannot pass for ours.
    account = "\n".join(found["text"])
    assert f"({quoted(LABEL[:63])})" in account
    assert quoted(LABEL[:63]).startswith('"</text>')
    assert 'Key #1 was never revoked.\\u202e"' in account
    assert not any("\n" in line for line in found["text"])


def test_rows_go_by_the_longest_way(place: Village) -> None:
    """A predecessor of two steps stands below both, and unknown ones have boxes of their own."""
    place.introduce("agent", "skill")
    first = place.say("agent", "skill", "propose", "agent.plan")
    second = place.say("agent", "skill", "propose", "agent.plan", prev=(first.reference,))
    last = place.say("agent", "skill", "propose", "agent.plan", prev=(first.reference, second.reference, bytes(32)))
    rows, arrows = picture(result(place, last))
    assert [[box.name for box in row] for row in rows] == [[f"e{last.entry}"], [f"e{second.entry}", "u0"], [f"e{first.entry}"]]
    assert {(arrow.cause, arrow.style) for arrow in arrows} == {
        (f"e{first.entry}", "proven"),
        (f"e{second.entry}", "proven"),
        ("u0", "open"),
    }


@pytest.mark.parametrize(
    ("text", "columns"), [("a" * 40, 40), ("a" * 41, 40), ("日" * 20, 40), ("日" * 21, 39), ("e\u0301" * 60, 40), ("", 0)]
)
def test_a_line_is_cut_to_its_box(text: str, columns: int) -> None:
    """By columns, not by characters."""
    kept, wide = fitted(text)
    assert wide == columns == columns_of(kept)
    assert kept == text or kept.endswith("...")


def test_the_command_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Text, JSON, picture, graph and evidence from a home where no house runs; each asking is an entry, and the evidence verifies."""
    with village(tmp_path / "house") as here:
        deletion = incident(here)
        hostile(here)
    home = ["--home", str(tmp_path / "house")]
    assert run(["explain", str(deletion.entry), *home]) == 0
    told = capfd.readouterr().out
    assert told.startswith("The deletion of /backup/old happened because skill #6")
    assert "No checkpoint was signed yet" in told
    evidence = tmp_path / "evidence.tar"
    assert run(["explain", deletion.reference.hex()[:12], *home, "--proofs", str(evidence)]) == 0
    assert "3 of 3 stand under the checkpoint" in capfd.readouterr().out
    assert run(["verify", str(evidence), *home]) == 0
    assert "Proven" in capfd.readouterr().out
    assert run(["explain", str(deletion.entry), *home, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["size"] > deletion.entry
    for option, begins in (("--svg", "<?xml"), ("--dot", "digraph story {")):
        assert run(["explain", str(deletion.entry), *home, option]) == 0
        assert capfd.readouterr().out.startswith(begins)
    for wrong in (["--svg", "--dot"], ["--json", "--svg"], ["--proofs", str(evidence)]):
        assert run(["explain", str(deletion.entry), *home, *wrong]) in (1, 2)
    assert run(["explain", "0", *home]) == 2
    capfd.readouterr()
    with Machine.open(load(home=tmp_path / "house", env={"HOME": str(tmp_path)})) as machine:
        asked = [row.event.text("what") for row in machine.store.entries(kinds=(Kind.QUERY,))]
    assert asked == ["explain"] * 5


def test_on_a_terminal_nothing_is_obeyed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Control and direction characters are written out."""
    with village(tmp_path / "house") as here:
        sent = hostile(here)
    assert run(["explain", str(sent.entry), "--home", str(tmp_path / "house")]) == 0
    shown = capfd.readouterr().out
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", shown)
    assert "\\u001b]0;owned\\u0007" in shown


def test_times_are_utc() -> None:
    """The calendar of our own agrees with the library's, over leap years and centuries."""
    from datetime import UTC, datetime

    for second in [0, 951_782_400, 1_709_164_799, 1_795_000_000, 4_107_542_400, 7_258_118_399, *range(0, 9_000_000_000, 86_400_123)]:
        assert utc(second * 10**9) == datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def test_names_that_are_no_plain_words_are_quoted() -> None:
    """A label may not pass for a sentence."""
    assert quoted("camera-feed") == "camera-feed"
    assert quoted('x". Key') == '"x\\". Key"'
    assert len(quoted("a b" * 100)) == 82
