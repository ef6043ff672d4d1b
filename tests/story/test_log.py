"""`tally log` with the gate's kinds: it reads aloud, names keys, and lists what is about one signal."""

import json
from pathlib import Path

import pytest

from tallystick.cli.log import entry_line
from tallystick.cli.main import run
from tallystick.errors import Misuse
from tallystick.ledger.event import Kind
from tallystick.node.records import names_of, page_of, rows_about
from tallystick.node.view import entry_json
from tests.story.village import Village, incident, village


def lines(place: Village) -> list[str]:
    """What `tally log` shows, without index and time."""
    names = names_of(place.store)
    return [entry_line(entry_json(row, names))[29:] for row in place.store.entries(limit=1_000)]


def test_every_kind_of_the_gate_reads_aloud(tmp_path: Path) -> None:
    """Keys by number and label, times as times, lists as words; no hash and no number of nanoseconds."""
    with village(tmp_path / "house") as place:
        deletion = incident(place)
        place.begin_context("cleaner")
        place.say("vision-skill", "skill", "metadata", "vision.report", deliver_to=("cleaner",), signers=(place.kid("cleaner"),))
        fact = place.fact("liveness", "failed", about="camera-feed")
        place.fact("speed-limit", 1_100)
        place.fact("attested", True, about="cleaner")
        place.withdraw(fact)
        place.record(place.event(Kind.PLAN, "house", plan={"default": ("crypto", "deterministic")}))
        place.record(place.event(Kind.REFUSED, subject=place.kid("cleaner"), reason="replay"))
        told = lines(place)
    assert told[5:20] == [
        "signal                #5 camera-feed    camera.frame  verdict=allow",
        "sighting              #5 camera-feed    observed=" + told[6].partition("observed=")[2],
        "signal                #5 camera-feed    camera.frame  verdict=refuse  reason=layer  rule=impossible-transit  facts=6",
        "finding               -                 gate.finding  layer=sensory  outcome=noted  matches=liveness:mismatch",
        "finding               -                 gate.finding  layer=deterministic  outcome=reject  rule=impossible-transit  facts=6",
        "signal                #6 vision-skill   vision.classify  verdict=allow",
        "signal                #7 cleaner        archive.rm  verdict=hold  reason=rights",
        "proposal              #7 cleaner        expires=" + told[12].partition("expires=")[2],
        "approval              #4 owner          signal.approve  reason=looked-at-it  expires=" + told[13].partition("expires=")[2],
        "effect-begun          -                 entry=12  effect=archive.rm",
        "effect-done           -                 entry=14",
        "proposal-ended        -                 reason=released  entry=12",
        "key-revoked           #4 owner          key.revoke  revocation=compromised  since=5  about=#5 camera-feed",
        "context-begun         #7 cleaner",
        "signal                #6 vision-skill   vision.report  verdict=allow  signers=1",
    ]
    assert told[20:] == [
        "delivered             #7 cleaner",
        "fact-added            #5 camera-feed    predicate=liveness  value=failed",
        "fact-added            -                 predicate=speed-limit  value=1100",
        "fact-added            #7 cleaner        predicate=attested  value=yes",
        "fact-withdrawn        -                 entry=21",
        "plan                  -                 plan=default: crypto+deterministic",
        "refused               #7 cleaner        reason=replay",
    ]
    assert told[12].endswith("risk=high  what=rights")
    assert told[13].endswith("items=12")
    assert deletion.entry == 11


def test_what_is_about_one_signal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """By its entry, that of its approval, or its reference; with nothing else, and nothing of other signals."""
    with village(tmp_path / "house") as place:
        deletion = incident(place)
        about = [row.index for row in rows_about(place.store, {"signal": "7"})]
        assert about == [7, 8, 9]
        for name in (str(deletion.entry), "13", deletion.reference.hex()[:8]):
            assert [row.index for row in rows_about(place.store, {"signal": name})] == [11, 12, 13, 14, 15, 16]
        assert len(page_of(place.store, {"signal": "11", "limit": "2"})) == 2
        for wrong in ({"kind": "signal"}, {"key": "#5"}, {"since_ns": 1}):
            with pytest.raises(Misuse, match="listed whole"):
                rows_about(place.store, {"signal": "11", **wrong})
        with pytest.raises(Misuse):
            page_of(place.store, {"signal": "0"})
    home = ["--home", str(tmp_path / "house")]
    assert run(["log", "--signal", "11", "--json", *home]) == 0
    assert [json.loads(line)["index"] for line in capfd.readouterr().out.splitlines()] == [11, 12, 13, 14, 15, 16]
    assert run(["log", "--signal", "11", "--follow", *home]) == 2


def test_who_sees_one_pair_learns_of_no_key_and_no_signal(tmp_path: Path) -> None:
    """A reader of one pair is told neither what keys are called nor whether a signal exists."""
    with village(tmp_path / "house") as place:
        incident(place)
        pair = bytes(range(32))
        assert names_of(place.store, pair) == {}
        for signal in ("11", "0", "ffffffff"):
            assert page_of(place.store, {"signal": signal}, pair=pair) == []
