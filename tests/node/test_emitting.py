"""tally emit: signs with a key of this machine and says what the gate said."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tallystick.cli.main import run as tally
from tallystick.ledger.event import Kind
from tests.node.gate_scene import GateScene, gate_scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[GateScene]:
    with gate_scene(tmp_path / "house") as found:
        for label, classes in (("camera", "sensor"), ("agent", "llm")):
            key = found.machine.vault.new_source(label, now_ns=found.now_ns)
            found.adopt(label, key.public, classes)
        yield found


def emit(scene: GateScene, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    code = tally(["--home", str(scene.machine.home.path), "emit", *words, "--json"])
    captured = capsys.readouterr()
    return code, json.loads(captured.out) if captured.out else captured.err


def test_emit_signs_and_tells(scene: GateScene, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "frame").write_bytes(b"a frame")
    words = ["--key", "camera", "--class", "sensor/camera", "--action", "metadata", "--verb", "camera.frame"]
    code, seen = emit(scene, capsys, *words, "--body", str(tmp_path / "frame"), "--place", "52.37,4.89,20")
    assert (code, seen["verdict"], seen["proposal"]) == (0, "allowed", None)
    assert scene.events(Kind.SIGHTING)[0].blob("subject").hex() == scene.machine.vault.sources()[1].key_id.hex()
    words = ["--key", "agent", "--class", "llm", "--action", "write", "--verb", "door.close", "--target", "PUT /door/1"]
    code, asked = emit(scene, capsys, *words, "--prev", seen["reference"])
    assert (code, asked["verdict"], asked["proposal"]) == (0, "held", asked["entry"] + 1)
    code, lie = emit(scene, capsys, "--key", "agent", "--class", "human", "--action", "write", "--verb", "door.close")
    assert (code, lie["verdict"]) == (1, "refused")


@pytest.mark.parametrize(
    "words",
    [
        ["--key", "nobody"],
        ["--target", "/door/1"],
        ["--place", "52.37,north"],
        ["--place", "1e400,0"],
        ["--prev", "abc"],
        ["--action", "everything"],
        ["--verb", "Camera"],
        ["--class", "sensor//x"],
        ["--body", "/nowhere/at/all"],
        ["--deliver-to", "key-1"],
    ],
)
def test_what_cannot_be_said(scene: GateScene, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    """Nothing is signed, nothing is recorded; the error is one of ours."""
    size = scene.machine.store.size()
    options = {"--key": "camera", "--class": "sensor", "--action": "read", "--verb": "camera.frame"} | dict([words])
    code, error = emit(scene, capsys, *(word for pair in options.items() for word in pair))
    assert code in (1, 2, 4, 5), error
    assert scene.machine.store.size() - size <= 1  # at most the plan, which the first opening records
