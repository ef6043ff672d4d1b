"""Log lines: one JSON object a line, or plain ones; foreign text steers neither."""

import io
import json
import logging
from pathlib import Path

import pytest

from tallystick.node.logging import start
from tallystick.node.settings import Settings, load

HOSTILE = 'a\n{"level": "info", "message": "forged"}\r\x1b[2J\u2028'


def settings(tmp_path: Path, **flags: str) -> Settings:
    return load(flags, home=tmp_path, env={})


@pytest.mark.parametrize("form", ["plain", "json"])
def test_one_event_is_one_line(form: str, tmp_path: Path) -> None:
    """No text of a stranger makes a second line or reaches the terminal as a control."""
    out = io.StringIO()
    start(settings(tmp_path, log_format=form), out).info("odd name %s", HOSTILE, extra={"name_": HOSTILE, "bytes": 7})
    text = out.getvalue()
    assert text.count("\n") == 1
    assert len(text.splitlines()) == 1
    assert "\x1b" not in text
    assert "7" in text


def test_json_lines_carry_the_fields(tmp_path: Path) -> None:
    """time, level, message, then every field; a field cannot replace one of the three."""
    out = io.StringIO()
    logger = start(settings(tmp_path, log_format="auto"), out)
    logger.warning("disk fills", extra={"free": 1, "level": "none", "time": "never", "path": Path("/x")})
    line = json.loads(out.getvalue())
    assert (line["level"], line["message"], line["free"], line["path"]) == ("warning", "disk fills", 1, "/x")
    assert line["time"].endswith("Z")


@pytest.mark.parametrize("form", ["plain", "json"])
def test_a_traceback_is_kept(form: str, tmp_path: Path) -> None:
    """A crash of ours is logged with its trace."""
    out = io.StringIO()
    logger = start(settings(tmp_path, log_format=form), out)
    try:
        raise AssertionError("bad arithmetic")
    except AssertionError:
        logger.exception("crash")
    assert "bad arithmetic" in out.getvalue()
    assert "Traceback" in out.getvalue()


def test_the_level_is_the_least_that_is_written(tmp_path: Path) -> None:
    """log_level warning silences info; starting again replaces the first."""
    first, second = io.StringIO(), io.StringIO()
    start(settings(tmp_path), first)
    start(settings(tmp_path, log_level="warning"), second)
    logging.getLogger("tallystick.node").info("quiet")
    logging.getLogger("tallystick.node").warning("loud")
    assert first.getvalue() == ""
    assert [json.loads(line)["message"] for line in second.getvalue().splitlines()] == ["loud"]
