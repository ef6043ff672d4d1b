"""Statements about keys, facts, scopes, the plan and what is held: exact keys, exact values, one form."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.canonical import Value, decode, encode
from tallystick.errors import Malformed, Misuse
from tallystick.gate.statement import parse_bundle, sign_statement
from tallystick.keys import KeyId, KeyKind, PublicKey
from tallystick.ledger.field import Text, Word
from tallystick.pair import statement as pairs
from tallystick.rights.scope import UNKNOWN, Terms
from tallystick.rights.statement import (
    MAX_PROPOSALS,
    SPOKEN,
    VERBS,
    ContextBegin,
    ContextEnd,
    FactAdd,
    FactWithdraw,
    GatePlan,
    GrantWithdraw,
    KeyGrant,
    KeyRevoke,
    ProgramRun,
    ScopeGrant,
    ScopeWithdraw,
    SignalApprove,
    SignalDeny,
    Statement,
    encode_statement,
    parse_statement,
    terms_fields,
)
from tests.pair.world import CLIENT, HOUSE, Key, seed
from tests.support import PROJECT

CAMERA = Key("camera").public
AGENT = KeyId(seed("agent"))
TERMS = Terms(
    verb="archive.put",
    targets=("PUT /v1/files/a", "PUT /v1/files/cam/*"),
    body=seed("body"),
    origins=(UNKNOWN, KeyId(b"\x01" * 32)),
    uses=3,
    until_ns=2**62,
)
BARE = Terms(verb="mail.send", until_ns=1)
EXAMPLES: dict[str, Statement] = {
    "grant": KeyGrant(
        key=CAMERA,
        classes=("sensor/camera", "tool"),
        actions=("metadata", "write"),
        targets=("PUT /v1/files/cam/*",),
        schedule="0 6 * * *",
        place=seed("place"),
        expires_ns=2**62,
        label="front-door",
    ),
    "grant bare": KeyGrant(key=Key("p", KeyKind.P256).public, classes=("llm",)),
    "revoke": KeyRevoke(key=AGENT, how="retired"),
    "compromised": KeyRevoke(key=AGENT, how="compromised", since=7),
    "grant withdraw": GrantWithdraw(grant=7),
    "fact": FactAdd(predicate="attested", subject=AGENT, value=encode(True), observed_ns=1, until_ns=2),
    "fact for all": FactAdd(predicate="firmware", subject=None, value=encode("1.4.2")),
    "personal fact": FactAdd(predicate="owner/name", subject=AGENT, commitment=seed("commitment")),
    "fact withdraw": FactWithdraw(fact=2**40),
    "approve": SignalApprove(root=seed("root"), proposals=(3, 9, 2**40), expires_ns=5, scope=TERMS),
    "approve one": SignalApprove(root=seed("root"), proposals=(0,), expires_ns=5),
    "deny": SignalDeny(proposal=9, reason="not-mine"),
    "scope": ScopeGrant(subject=AGENT, terms=TERMS),
    "scope bare": ScopeGrant(subject=AGENT, terms=BARE),
    "scope withdraw": ScopeWithdraw(scope=seed("scope")),
    "plan": GatePlan(plan=(("cron", ("crypto",)), ("default", ("crypto", "deterministic")), ("sensor/camera", ("crypto", "sensory")))),
    "begin": ContextBegin(key=AGENT),
    "end": ContextEnd(key=AGENT),
    "run": ProgramRun(name="verb.vm-start", input=seed("input"), pairing=seed("pair")),
    "bare run": ProgramRun(name="verb.reboot", input=None, pairing=seed("pair")),
}
# What is another statement and no junk: a field that may be left out, a number or a line that may be another.
OTHERS: list[tuple[str, Value]] = [
    *[(name, None) for name in ("schedule", "place", "expires", "label", "subject", "observed", "until", "scope", "input")],
    *[(name, number) for name in ("expires", "since", "grant", "observed", "until", "fact", "proposal") for number in (0, 601)],
    ("actions", []),
    ("targets", []),
]
EACH = pytest.mark.parametrize("name", EXAMPLES)


def fields(name: str) -> dict[int | str, Value]:
    """The map of an example."""
    value = decode(encode_statement(EXAMPLES[name]))
    assert isinstance(value, dict)
    return value


@EACH
def test_a_statement_has_one_form(name: str) -> None:
    """Written, read, written: the same bytes; cut anywhere or with a byte more: Malformed. A bundle carries it."""
    statement = EXAMPLES[name]
    raw = encode_statement(statement)
    assert parse_statement(raw) == statement
    assert encode_statement(parse_statement(raw)) == raw
    assert (fields(name)["v"], fields(name)["verb"]) == (1, VERBS[type(statement)])
    for at in range(len(raw)):
        with pytest.raises(Malformed):
            parse_statement(raw[:at])
    with pytest.raises(Malformed):
        parse_statement(raw + b"\x00")
    bundle = sign_statement(CLIENT.human, raw, house_id=bytes(32), issued_at_ns=1, stream=bytes(16), n=0, salt=bytes(32))
    assert parse_bundle(bundle).prove(CLIENT.human.public).body == raw


@EACH
def test_fields_are_exactly_those_of_the_verb(name: str) -> None:
    """A missing field, a further one, another version or another verb's name: Malformed."""
    value = fields(name)
    for key in value:
        with pytest.raises(Malformed):
            parse_statement(encode({k: v for k, v in value.items() if k != key}))
    changes: list[tuple[int | str, Value]] = [("more", 1), ("v", 2), ("v", True), ("verb", "key.enlarge"), ("verb", None), (1, 1)]
    for added, wrong in changes:
        with pytest.raises(Malformed):
            parse_statement(encode({**value, added: wrong}))
    for verb in SPOKEN - {value["verb"]}:
        if {verb, value["verb"]} != {"context.begin", "context.end"}:
            with pytest.raises(Malformed):
                parse_statement(encode({**value, "verb": verb}))


@EACH
def test_every_field_has_its_type_and_range(name: str) -> None:
    """Junk in any field is Malformed, or it is another statement that was allowed there."""
    value = fields(name)
    junk: list[Value] = [None, True, -1, 0, 601, 2**63, "", "\x1b", "ADMIN ", b"", bytes(31), bytes(33), [], {}, ["metadata", "metadata"]]
    for key, good in value.items():
        for wrong in junk:
            if wrong == good and type(wrong) is type(good):
                continue
            raw = encode({**value, key: wrong})
            try:
                read = parse_statement(raw)
            except Malformed:
                continue
            assert encode_statement(read) == raw
            assert any(key == field and wrong == other and type(wrong) is type(other) for field, other in OTHERS)


WRONG: list[tuple[str, dict[int | str, Any]]] = [
    ("grant", {"key": encode({1: 1, -1: 6, -2: bytes(32)})}),
    ("grant", {"key": HOUSE.identity.log_pq.cose_key()}),
    ("grant", {"key": PublicKey(KeyKind.X25519, CLIENT.static.public).cose_key()}),
    ("grant", {"kind": "human"}),
    ("grant", {"kind": "machine"}),
    ("grant", {"classes": ["tool", "sensor/camera"]}),
    ("grant", {"classes": ["tool", "tool"]}),
    ("grant", {"classes": ["human"]}),
    ("grant", {"classes": ["human/owner"]}),
    ("grant", {"classes": ["machine"]}),
    ("grant", {"classes": ["finding"]}),
    ("grant", {"classes": ["Sensor"]}),
    ("grant", {"classes": ["sensor/"]}),
    ("grant", {"classes": [f"c{n:02}" for n in range(17)]}),
    ("grant", {"classes": ["a" * 32 + "/" + "b" * 32]}),
    ("grant", {"actions": ["write", "metadata"]}),
    ("grant", {"actions": ["everything"]}),
    ("grant", {"targets": ["a*b"]}),
    ("grant", {"targets": ["**"]}),
    ("grant", {"targets": ["b", "a"]}),
    ("grant", {"targets": ["a", "a"]}),
    ("grant", {"targets": [""]}),
    ("grant", {"targets": ["a\u202eb"]}),
    ("grant", {"targets": ["a" * 1025]}),
    ("grant", {"targets": [f"{n:03}" for n in range(65)]}),
    ("grant", {"schedule": "x" * 129}),
    ("grant", {"schedule": "0 6 * *"}),
    ("grant", {"schedule": "0  6 * * *"}),
    ("grant", {"schedule": "@daily"}),
    ("grant", {"label": "a/b"}),
    ("revoke", {"how": "lost"}),
    ("revoke", {"since": 3}),
    ("compromised", {"since": -1}),
    ("compromised", {"since": None}),
    ("fact", {"commitment": bytes(32)}),
    ("fact", {"value": None}),
    ("fact", {"value": b"\xff"}),
    ("fact", {"value": b"\x18\x01"}),
    ("fact", {"value": bytes(4097)}),
    ("fact", {"value": encode([1])}),
    ("fact", {"value": encode(None)}),
    ("fact", {"value": encode(2**63)}),
    ("fact", {"predicate": "Owner"}),
    ("fact", {"observed": 2}),
    ("personal fact", {"value": encode(1)}),
    ("approve", {"count": 2}),
    ("approve", {"count": True}),
    ("approve", {"proposals": []}),
    ("approve", {"proposals": [9, 3, 2**40]}),
    ("approve", {"proposals": [3, 3, 9]}),
    ("approve", {"proposals": [[bytes(32), 3]], "count": 1}),
    ("approve", {"scope": {"verb": "archive.put"}}),
    ("approve one", {"proposals": list(range(MAX_PROPOSALS + 1)), "count": MAX_PROPOSALS + 1}),
    ("deny", {"reason": "Not a word"}),
    ("plan", {"plan": {}}),
    ("plan", {"plan": {"cron": ["crypto"]}}),
    ("plan", {"plan": {"default": []}}),
    ("plan", {"plan": {"default": ["deterministic"]}}),
    ("plan", {"plan": {"default": ["deterministic", "crypto"]}}),
    ("plan", {"plan": {"default": ["crypto", "crypto"]}}),
    ("plan", {"plan": {"default": ["crypto", "magic"]}}),
    ("plan", {"plan": {"default": ["crypto"], "Cron": ["crypto"]}}),
    ("plan", {"plan": {"default": ["crypto"], 1: ["crypto"]}}),
    ("plan", {"plan": {"default": ["crypto"], **{f"c{n}": ["crypto"] for n in range(256)}}}),
]


@pytest.mark.parametrize(("name", "change"), WRONG)
def test_what_a_statement_may_not_say(name: str, change: dict[int | str, Value]) -> None:
    """Unsafe keys, classes that are nobody's to give, words out of order, two values or none, a plan without crypto."""
    with pytest.raises(Malformed):
        parse_statement(encode({**fields(name), **change}))


NO_TERMS: list[dict[str, Any]] = [
    {"verb": "archive"},
    {"verb": None},
    {"more": 1},
    {"targets": []},
    {"targets": ["b", "a"]},
    {"origins": [b"\x01" * 32, bytes(32)]},
    {"origins": [bytes(32)] * 2},
    {"origins": [n.to_bytes(32, "big") for n in range(65)]},
    {"body": b""},
    {"uses": 0},
    {"uses": True},
    {"uses": 1_000_001},
    {"until": None},
]


@pytest.mark.parametrize("change", NO_TERMS)
def test_what_a_scope_may_not_say(change: dict[str, Any]) -> None:
    """Alone and in an approval alike."""
    terms = {**terms_fields(TERMS), **change}
    for name in ("scope", "approve"):
        with pytest.raises(Malformed):
            parse_statement(encode({**fields(name), "scope": terms}))
    without = {key: each for key, each in terms_fields(TERMS).items() if key != "uses"}
    with pytest.raises(Malformed):
        parse_statement(encode({**fields("scope"), "scope": without}))


def test_our_own_mistakes_are_misuse() -> None:
    """A statement that no reader would take is not written."""
    grant = EXAMPLES["grant"]
    assert isinstance(grant, KeyGrant)
    for bad in (
        replace(grant, label=""),
        replace(grant, classes=()),
        replace(grant, classes=("human",)),
        replace(grant, actions=("write", "read")),
        replace(grant, targets=["a"]),  # type: ignore[arg-type]
        replace(grant, key=HOUSE.identity.log_pq),
        KeyRevoke(key=AGENT, how="retired", since=1),
        FactAdd(predicate="attested", subject=None),
        SignalApprove(root=b"", proposals=(1,), expires_ns=1),
        ScopeGrant(subject=AGENT, terms=replace(BARE, uses=0)),
        GatePlan(plan=()),
    ):
        with pytest.raises(Misuse):
            encode_statement(bad)


def test_the_longest_approval_fits() -> None:
    """1,024 proposals with entries of nine bytes are one statement."""
    most = SignalApprove(root=bytes(32), proposals=tuple(range(2**63 - 1 - MAX_PROPOSALS, 2**63 - 1)), expires_ns=1, scope=TERMS)
    assert parse_statement(encode_statement(most)) == most


def test_verbs_of_pairs_and_rights_are_apart() -> None:
    """Each verb has one reader; a body of the other is Malformed here and there."""
    assert not set(pairs.VERBS.values()) & SPOKEN
    for statement in EXAMPLES.values():
        with pytest.raises(Malformed):
            pairs.parse_statement(encode_statement(statement))


def test_the_ledger_takes_what_a_statement_may_say() -> None:
    """Words and lines of statements are those of the ledger's own fields: what was signed can be recorded."""
    for line in ("a", "PUT /v1/files/ä*", "x" * 1024):
        assert Text(1024).check(line) == line
    for statement in EXAMPLES.values():
        if isinstance(statement, FactAdd):
            Word().check(statement.predicate)


def test_the_specification_names_every_verb() -> None:
    """docs/spec/statements.md, section 6 has the body of each verb."""
    text = (PROJECT / "docs/spec/statements.md").read_text().split("## 6.")[1]
    assert all(f'"verb": "{verb}"' in text for verb in SPOKEN)


@pytest.mark.parametrize("value", [None, 7, [], "key.grant", b""])
def test_a_body_is_a_map(value: Value) -> None:
    """Other CBOR is Malformed."""
    with pytest.raises(Malformed):
        parse_statement(encode(value))


@given(st.binary(max_size=300))
def test_junk_is_malformed(junk: bytes) -> None:
    """Whatever bytes come, only Malformed comes out."""
    with pytest.raises(Malformed):
        parse_statement(junk)


_junk = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2**63) | st.binary(max_size=40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(EXAMPLES)), st.data())
def test_whatever_a_field_holds_is_read_in_one_form_or_not_at_all(name: str, data: st.DataObject) -> None:
    """Any value in any field: Malformed, or a statement that is written back as the same bytes."""
    value = fields(name)
    key = data.draw(st.sampled_from(sorted(map(str, value))))
    raw = encode({**value, key: data.draw(_junk)})
    try:
        read = parse_statement(raw)
    except Malformed:
        return
    assert encode_statement(read) == raw
