"""A session's entries: before its first request, and after its last byte."""

import pytest

from tallystick.channel.datagram import Mode
from tallystick.channel.event import CutReason
from tallystick.pair.pairing import Role, Suite
from tallystick.passage.knock import Connection, breached, confirmed, ended
from tests.gate.world import seed
from tests.passage.test_pairing import NOW, PAIR
from tests.passage.walk import walk

SESSION = seed("handshake hash")


@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.name)
@pytest.mark.parametrize("role", Role)
def test_a_confirmed_session_is_two_entries_together(mode: Mode, role: Role) -> None:
    """The knock and its session; the receipt is the session's. Where it came from is a salted commitment."""
    connection = Connection(
        session=SESSION, knock=seed("knock"), address=seed("address"), mode=mode.value, visibility=mode.name.lower(), role=role
    )
    walked = walk(confirmed(connection, pair=PAIR, pair_type="USER", suite=Suite.CHACHAPOLY.value, stream=seed("stream")[:16], now_ns=NOW))
    assert walked.steps == ["Record KNOCK SESSION"]
    assert walked.value is walked.receipts[1]
    session = walked.event("SESSION")
    assert (session.text("role"), session.number("mode"), session.text("pair_type")) == (role.value, mode.value, "USER")
    assert (session.blob("session"), session.blob("pairing"), session.blob("pair")) == (SESSION, PAIR, PAIR)


WORDS = ["end", "void", "lost", "aborted", "severed", "stopped", "unrecorded", "limits", "checkpoint", "peer", "failed"]


@pytest.mark.parametrize("reason", [*WORDS, *(reason.value.replace(" ", "-") for reason in CutReason)])
def test_every_reason_is_a_word_of_the_ledger(reason: str) -> None:
    """Whatever ends a session can be written."""
    walked = walk(ended(session=SESSION, pair=PAIR, reason=reason, bytes_in=1, bytes_out=2, now_ns=NOW))
    assert walked.steps == ["Record SESSION_ENDED"]
    assert walked.event("SESSION_ENDED").text("reason") == reason


def test_an_unfinished_message_is_voided_before_the_end() -> None:
    """Both in one transaction: what was unfinished counts as never sent."""
    voided = (seed("stream")[:16], seed("signal"))
    walked = walk(ended(session=SESSION, pair=PAIR, reason="void", bytes_in=0, bytes_out=0, now_ns=NOW, voided=voided))
    assert walked.steps == ["Record STREAM_VOIDED SESSION_ENDED"]
    assert (walked.event("STREAM_VOIDED").blob("stream"), walked.event("STREAM_VOIDED").blob("signal_hash")) == voided


@pytest.mark.parametrize("what", ["data", "telemetry", "checkpoint", "direction", "malformed", "after-end"])
def test_a_breach_of_the_diode_is_recorded_without_its_bytes(what: str) -> None:
    """Its hash and its length, nothing of what was sent."""
    walked = walk(breached(session=SESSION, pair=PAIR, what=what, digest=seed("bytes"), length=9, now_ns=NOW))
    assert walked.steps == ["Record DIODE_BREACH"]
    assert walked.value is walked.receipts[0]
    assert walked.event("DIODE_BREACH").number("length") == 9
