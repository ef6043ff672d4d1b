"""Human statements about keys, rows, facts, scopes, the plan and contexts: recorded as they were signed, and only then in force."""

from typing import Any

import pytest

from tallystick.canonical import encode
from tallystick.errors import Refused, TallyError, Unavailable
from tallystick.ledger.event import Kind
from tallystick.passage import rights
from tallystick.passage.effect import Close, Destroy, Passage, Recheck, Record, secret_name
from tallystick.primitives import sha256
from tests.pair.world import seed
from tests.passage.test_pairing import NOW, SIGNED
from tests.passage.walk import walk
from tests.rights.test_statement import AGENT, EXAMPLES

PAIR = seed("pair")
OPENING = b"\xa0"


def said(name: str) -> Passage[Any]:
    """The passage of an example of a statement."""
    statement: Any = EXAMPLES[name]
    given: dict[str, Any] = {"signed": SIGNED, "now_ns": NOW}
    match name.split()[0]:
        case "grant" if name != "grant withdraw":
            return rights.granted(statement, known=name == "grant bare", opening=OPENING if name == "grant" else None, **given)
        case "grant":
            return rights.grant_withdrawn(statement, subject=bytes(AGENT), **given)
        case "revoke" | "compromised":
            return rights.revoked(statement, pair=None, **given)
        case "fact" | "personal" if name != "fact withdraw":
            return rights.fact_added(statement, opening=OPENING if name == "personal fact" else None, **given)
        case "fact":
            return rights.fact_withdrawn(statement, **given)
        case "scope" if name != "scope withdraw":
            return rights.scope_granted(statement, **given)
        case "scope":
            return rights.scope_withdrawn(statement, **given)
        case "plan":
            return rights.planned(statement, weakened=True, **given)
        case "begin":
            return rights.context_begun(statement, **given)
    return rights.context_ended(statement, context=(3, 9, seed("root")), **given)


KINDS = {
    "grant": "KEY_INTRODUCED",
    "grant bare": "GRANT",
    "revoke": "KEY_REVOKED",
    "compromised": "KEY_REVOKED",
    "grant withdraw": "GRANT_WITHDRAWN",
    "fact": "FACT_ADDED",
    "fact for all": "FACT_ADDED",
    "personal fact": "FACT_ADDED",
    "fact withdraw": "FACT_WITHDRAWN",
    "scope": "SCOPE",
    "scope bare": "SCOPE",
    "scope withdraw": "SCOPE_ENDED",
    "plan": "PLAN",
    "begin": "CONTEXT_BEGUN",
    "end": "CONTEXT_ENDED",
}
ENDS = {"revoke", "compromised", "grant withdraw", "fact withdraw", "scope withdraw"}
EACH = pytest.mark.parametrize("name", KINDS)


@EACH
def test_each_is_one_entry_with_its_statement(name: str) -> None:
    """Recorded by the pair that carried it, with the whole statement; what ends something is urgent; openings go with their entry."""
    walked = walk(said(name))
    assert walked.steps == [f"Record {KINDS[name]}", *(["Recheck"] if KINDS[name] == "KEY_REVOKED" else [])]
    record = walked.effects[0]
    assert isinstance(record, Record)
    assert record.urgent is (name in ENDS)
    assert record.openings == ((OPENING,) if name in ("grant", "personal fact") else ())
    event = walked.event(KINDS[name])
    assert (event.actor, event.blob("key"), event.blob("statement"), event.blob("signal")) == (
        "pair",
        SIGNED.key,
        SIGNED.statement,
        SIGNED.signal,
    )
    assert walked.value == walked.receipts[0]


@EACH
@pytest.mark.parametrize("failure", [Refused("no"), Unavailable("no disk")], ids=repr)
def test_what_was_not_recorded_is_not_in_force(name: str, failure: TallyError) -> None:
    """Nothing comes after a refused entry."""
    walked = walk(said(name), answers={Record: [failure]})
    assert (len(walked.effects), walked.error) == (1, failure)


def test_an_entry_says_what_the_statement_says() -> None:
    """Field by field, so that an auditor can compare the two."""
    grant = walk(said("grant")).event("KEY_INTRODUCED")
    assert (grant.text("key_kind"), grant.get("classes"), grant.get("actions")) == (
        "source",
        ("sensor/camera", "tool"),
        ("metadata", "write"),
    )
    assert (grant.get("targets"), grant.text("schedule"), grant.blob("place")) == (("PUT /v1/files/cam/*",), "0 6 * * *", seed("place"))
    assert (grant.number("expires"), grant.text("label")) == (2**62, "front-door")
    revoked = walk(said("compromised")).event("KEY_REVOKED")
    assert (revoked.blob("subject"), revoked.text("revocation"), revoked.get("since")) == (bytes(AGENT), "compromised", 7)
    fact = walk(said("fact")).event("FACT_ADDED")
    assert (fact.text("predicate"), fact.blob("value"), fact.number("observed"), fact.number("until")) == ("attested", encode(True), 1, 2)
    scope = walk(said("scope")).event("SCOPE")
    assert (scope.blob("scope"), scope.get("uses"), scope.number("expires")) == (sha256(SIGNED.statement), 3, 2**62)
    plan = walk(said("plan")).event("PLAN")
    assert plan.get("weakened") is True
    assert plan.get("plan") == {"cron": ("crypto",), "default": ("crypto", "deterministic"), "sensor/camera": ("crypto", "sensory")}


def test_a_machines_key_takes_its_pair_with_it() -> None:
    """Both entries in one transaction; then silence, the secret, and whatever else fell."""
    statement: Any = EXAMPLES["compromised"]
    walked = walk(rights.revoked(statement, pair=PAIR, signed=SIGNED, now_ns=NOW))
    revocation, severance = walked.receipts
    assert walked.effects[1:] == [Close(PAIR, severance), Destroy(secret_name(PAIR), severance), Recheck(revocation)]
    assert [event.kind for event in walked.recorded] == [Kind.KEY_REVOKED, Kind.SEVERED]
    severed = walked.event("SEVERED")
    assert (severed.text("by"), severed.text("reason"), severed.get("signal")) == ("policy", "compromised", None)
    assert walked.value == revocation
