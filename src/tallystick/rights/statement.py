"""The bodies of human statements about keys, facts, scopes, the plan and what is held (docs/spec/statements.md, section 6).

As in pair/statement.py a body only says what a human key signs; the signature is a signal of class `human` around it. Each body has
one form, and its fields are written into the entry it brings about as they stand here, so that an auditor can compare the two.
"""

import re
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from tallystick.canonical import Encodable, Value, decode, encode
from tallystick.errors import Malformed, Misuse, TallyError
from tallystick.facts.fact import read_value
from tallystick.facts.schedule import parse_schedule
from tallystick.gate.question import Layer
from tallystick.keys import KeyId, PublicKey
from tallystick.pair.field import actions_of, hash_of, label_of, signing_key, whole
from tallystick.pair.message import MAX_ENTRY_INDEX
from tallystick.pair.statement import MAX_STATEMENT_BYTES, STATEMENT_VERSION
from tallystick.rights.scope import MAX_ORIGINS, MAX_USES, Terms
from tallystick.rights.verb import is_named

SOURCE: Final = "source"
MAX_CLASSES: Final = 16
MAX_TARGETS: Final = 64
MAX_TARGET_BYTES: Final = 1_024
MAX_SCHEDULE_BYTES: Final = 128
MAX_VALUE_BYTES: Final = 4_096
MAX_PROPOSALS: Final = 1_024
MAX_PLANNED: Final = 256
RETIRED: Final = "retired"
COMPROMISED: Final = "compromised"
# A human's, a paired machine's and the house's own words: no human key grants them to a source.
RESERVED_CLASSES: Final = frozenset(("human", "machine", "finding"))
_CLASS: Final = re.compile(r"[a-z][a-z0-9-]{0,31}(/[a-z0-9][a-z0-9-]{0,31}){0,2}", re.ASCII)  # docs/spec/signal.cddl
_VERB: Final = re.compile(r"[a-z][a-z0-9-]{0,31}\.[a-z][a-z0-9-]{0,31}", re.ASCII)
_WORD: Final = re.compile(r"[a-z0-9]([a-z0-9._/-]{0,62}[a-z0-9])?", re.ASCII)  # docs/spec/events.cddl, word
# What no line of text may hold; the same list as in the ledger's own fields.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_MAX_DEPTH: Final = 4
_MAX_ITEMS: Final = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyGrant:
    """A source key exists with this row of the matrix; or, where the house knows it, it has one more row.

    `actions`: none means those of a source without a grant.  `targets`: none means every one.  `place`: the commitment of where the key
    may be (its opening travels beside).
    """

    key: PublicKey
    classes: tuple[str, ...]
    actions: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    schedule: str | None = None
    place: bytes | None = None
    expires_ns: int | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRevoke:
    """A key is over. `how`: retired, or compromised; `since`: only then, the entry from which on what it signed is in doubt."""

    key: KeyId
    how: str
    since: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantWithdraw:
    """A row of the matrix is gone: `grant` is the entry that brought it."""

    grant: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FactAdd:
    """A fact holds. Either `value` (facts/fact.py writes it) stands in clear in the ledger, or `commitment`: its opening goes beside it."""

    predicate: str
    subject: KeyId | None
    value: bytes | None = field(default=None, repr=False)
    commitment: bytes | None = None
    observed_ns: int | None = None
    until_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FactWithdraw:
    """A fact no longer holds: `fact` is the entry that brought it."""

    fact: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalApprove:
    """Held signals may go. `root`: RFC 6962 over the leaves canonical([proposal, SHA-256 of the exact signal]), in the order given.

    `proposals`: their entries, rising.  `scope`: what else of this kind may go from now on.
    """

    root: bytes
    proposals: tuple[int, ...]
    expires_ns: int
    scope: Terms | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalDeny:
    """A held signal is turned away. `reason`: a word for the record."""

    proposal: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeGrant:
    """An advance approval for what `terms` names, of the key `subject`."""

    subject: KeyId
    terms: Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeWithdraw:
    """An advance approval is void. `scope`: its id, the SHA-256 of the statement that made it."""

    scope: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePlan:
    """Which layers judge which class: the whole plan, `default` among its words; classes rising, layers in their own order."""

    plan: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextBegin:
    """What is delivered to this key from now on is behind what it signs; what was before is behind it no longer."""

    key: KeyId


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextEnd:
    """The context of this key is closed."""

    key: KeyId


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramRun:
    """A named program runs once, asked for over this pair. `name`: its verb.  `input`: SHA-256 of its input, None for none."""

    name: str
    input: bytes | None
    pairing: bytes


Statement: TypeAlias = (
    KeyGrant
    | KeyRevoke
    | GrantWithdraw
    | FactAdd
    | FactWithdraw
    | SignalApprove
    | SignalDeny
    | ScopeGrant
    | ScopeWithdraw
    | GatePlan
    | ContextBegin
    | ContextEnd
    | ProgramRun
)

VERBS: Final[dict[type[Statement], str]] = {
    KeyGrant: "key.grant",
    KeyRevoke: "key.revoke",
    GrantWithdraw: "grant.withdraw",
    FactAdd: "fact.add",
    FactWithdraw: "fact.withdraw",
    SignalApprove: "signal.approve",
    SignalDeny: "signal.deny",
    ScopeGrant: "scope.grant",
    ScopeWithdraw: "scope.withdraw",
    GatePlan: "gate.plan",
    ContextBegin: "context.begin",
    ContextEnd: "context.end",
    ProgramRun: "program.run",
}
SPOKEN: Final = frozenset(VERBS.values())
"""The verbs whose bodies are read here and not in pair/statement.py."""


def encode_statement(statement: Statement) -> bytes:
    """Write a body in its one form. Raises: Misuse when a field is out of range: it was made here."""
    raw = encode({"v": STATEMENT_VERSION, "verb": VERBS[type(statement)], **_fields(statement)})
    try:
        if parse_statement(raw) != statement:
            raise Misuse("statement: a field is not in its one form")
    except TallyError as error:
        raise Misuse(error.message, error.hint) from None
    return raw


def parse_statement(raw: bytes) -> Statement:
    """Read a body. Raises: Malformed for an unknown verb, a missing or further field, or a value out of range."""
    value = decode(raw, max_bytes=MAX_STATEMENT_BYTES, max_depth=_MAX_DEPTH, max_items=_MAX_ITEMS)
    if not isinstance(value, dict):
        raise Malformed("statement: not a map")
    form = dict(value)
    version, verb = form.pop("v", None), form.pop("verb", None)
    if type(version) is not int or version != STATEMENT_VERSION:
        raise Malformed("statement: a version that is not known here")
    match form:
        case {
            "key": key, "kind": kind, "classes": classes, "actions": actions, "targets": targets, "schedule": schedule,
            "place": place, "expires": expires, "label": label, **rest,
        } if verb == "key.grant" and not rest:  # fmt: skip
            if kind != SOURCE:
                raise Malformed("statement: only source keys are introduced by a grant")
            return KeyGrant(
                key=signing_key(key),
                classes=_classes(classes),
                actions=actions_of(actions),
                targets=_targets(targets),
                schedule=None if schedule is None else parse_schedule(_line(schedule, MAX_SCHEDULE_BYTES)).text,
                place=None if place is None else hash_of(place),
                expires_ns=None if expires is None else whole(expires),
                label=None if label is None else label_of(label),
            )
        case {"key": key, "how": how, "since": since, **rest} if verb == "key.revoke" and not rest:
            if how not in (RETIRED, COMPROMISED) or (how == RETIRED) is not (since is None):
                raise Malformed("statement: a key is retired, or compromised since an entry")
            return KeyRevoke(key=KeyId(hash_of(key)), how=str(how), since=None if since is None else _index(since))
        case {"grant": grant, **rest} if verb == "grant.withdraw" and not rest:
            return GrantWithdraw(grant=_index(grant))
        case {
            "predicate": predicate, "subject": subject, "value": said, "commitment": commitment, "observed": observed, "until": until,
            **rest,
        } if verb == "fact.add" and not rest:  # fmt: skip
            return _fact(
                FactAdd(
                    predicate=_word(predicate),
                    subject=None if subject is None else KeyId(hash_of(subject)),
                    value=None if said is None else _octets(said),
                    commitment=None if commitment is None else hash_of(commitment),
                    observed_ns=None if observed is None else whole(observed),
                    until_ns=None if until is None else whole(until),
                )
            )
        case {"fact": fact, **rest} if verb == "fact.withdraw" and not rest:
            return FactWithdraw(fact=_index(fact))
        case {"root": root, "count": count, "proposals": list(proposals), "expires": expires, "scope": scope, **rest} if (
            verb == "signal.approve" and not rest
        ):
            entries = tuple(_index(each) for each in proposals)
            if not 1 <= len(entries) <= MAX_PROPOSALS or list(entries) != sorted(set(entries)) or type(count) is not int:
                raise Malformed(f"statement: 1 to {MAX_PROPOSALS} proposals, rising")
            if count != len(entries):
                raise Malformed("statement: the count is not the number of proposals")
            more = None if scope is None else _terms(scope)
            return SignalApprove(root=hash_of(root), proposals=entries, expires_ns=whole(expires), scope=more)
        case {"proposal": proposal, "reason": reason, **rest} if verb == "signal.deny" and not rest:
            return SignalDeny(proposal=_index(proposal), reason=_word(reason))
        case {"subject": subject, "scope": terms, **rest} if verb == "scope.grant" and not rest:
            return ScopeGrant(subject=KeyId(hash_of(subject)), terms=_terms(terms))
        case {"scope": scope, **rest} if verb == "scope.withdraw" and not rest:
            return ScopeWithdraw(scope=hash_of(scope))
        case {"plan": dict(plan), **rest} if verb == "gate.plan" and not rest:
            return GatePlan(plan=_plan(plan))
        case {"key": key, **rest} if verb == "context.begin" and not rest:
            return ContextBegin(key=KeyId(hash_of(key)))
        case {"key": key, **rest} if verb == "context.end" and not rest:
            return ContextEnd(key=KeyId(hash_of(key)))
        case {"name": str(name), "input": given, "pairing": pairing, **rest} if verb == "program.run" and not rest:
            if not is_named(name):
                raise Malformed("statement: a program's verb is missing")
            return ProgramRun(name=name, input=None if given is None else hash_of(given), pairing=hash_of(pairing))
        case _:
            raise Malformed("statement: not a statement of this version")


def _fields(statement: Statement) -> dict[str, Encodable]:
    match statement:
        case KeyGrant() as s:
            return {
                "key": s.key.cose_key(),
                "kind": SOURCE,
                "classes": list(s.classes),
                "actions": list(s.actions),
                "targets": list(s.targets),
                "schedule": s.schedule,
                "place": s.place,
                "expires": s.expires_ns,
                "label": s.label,
            }
        case KeyRevoke() as s:
            return {"key": bytes(s.key), "how": s.how, "since": s.since}
        case GrantWithdraw() as s:
            return {"grant": s.grant}
        case FactAdd() as s:
            return {
                "predicate": s.predicate,
                "subject": None if s.subject is None else bytes(s.subject),
                "value": s.value,
                "commitment": s.commitment,
                "observed": s.observed_ns,
                "until": s.until_ns,
            }
        case FactWithdraw() as s:
            return {"fact": s.fact}
        case SignalApprove() as s:
            return {
                "root": s.root,
                "count": len(s.proposals),
                "proposals": list(s.proposals),
                "expires": s.expires_ns,
                "scope": None if s.scope is None else terms_fields(s.scope),
            }
        case SignalDeny() as s:
            return {"proposal": s.proposal, "reason": s.reason}
        case ScopeGrant() as s:
            return {"subject": bytes(s.subject), "scope": terms_fields(s.terms)}
        case ScopeWithdraw() as s:
            return {"scope": s.scope}
        case GatePlan() as s:
            return {"plan": {word: list(layers) for word, layers in s.plan}}
        case ContextBegin(key=key) | ContextEnd(key=key):
            return {"key": bytes(key)}
        case ProgramRun() as s:
            return {"name": s.name, "input": s.input, "pairing": s.pairing}


def terms_fields(terms: Terms) -> dict[str, Encodable]:
    """The map of a scope, as statements carry it."""
    return {
        "verb": terms.verb,
        "targets": list(terms.targets) or None,
        "body": terms.body,
        "origins": None if terms.origins is None else [bytes(each) for each in terms.origins],
        "uses": terms.uses,
        "until": terms.until_ns,
    }


def _terms(value: Value) -> Terms:
    match value:
        case {"verb": str(verb), "targets": targets, "body": body, "origins": origins, "uses": uses, "until": until, **rest} if not rest:
            if not _VERB.fullmatch(verb):
                raise Malformed("statement: a scope names a verb")
            if targets == []:
                raise Malformed("statement: a scope without targets says null")
            return Terms(
                verb=verb,
                targets=() if targets is None else _targets(targets),
                body=None if body is None else hash_of(body),
                origins=None if origins is None else _origins(origins),
                uses=None if uses is None else whole(uses, 1, MAX_USES),
                until_ns=whole(until),
            )
    raise Malformed("statement: not the map of a scope")


def _fact(statement: FactAdd) -> FactAdd:
    if (statement.value is None) == (statement.commitment is None):
        raise Malformed("statement: a fact has a value or the commitment of one")
    if statement.value is not None:
        read_value(statement.value)
    if statement.observed_ns is not None and statement.until_ns is not None and statement.until_ns <= statement.observed_ns:
        raise Malformed("statement: a fact that ends before it begins")
    return statement


def _plan(value: dict[int | str, Value]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if "default" not in value or len(value) > MAX_PLANNED:
        raise Malformed(f"statement: a plan names `default` and at most {MAX_PLANNED} classes")
    found = []
    for word in sorted(value, key=str):
        layers = value[word]
        if not isinstance(word, str) or not _CLASS.fullmatch(word) or len(word) > 64:
            raise Malformed("statement: a plan is for classes")
        if not isinstance(layers, list) or layers != [layer.value for layer in Layer if layer.value in layers]:
            raise Malformed("statement: layers unknown, twice or out of order")
        if Layer.CRYPTO not in layers:
            raise Malformed("statement: no plan leaves the layer crypto out")
        found.append((word, tuple(layer.value for layer in Layer if layer.value in layers)))
    return tuple(found)


def _classes(value: Value) -> tuple[str, ...]:
    """Class words, rising, none twice."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_CLASSES:
        raise Malformed(f"statement: 1 to {MAX_CLASSES} classes")
    found = [each for each in value if isinstance(each, str) and len(each) <= 64 and _CLASS.fullmatch(each)]
    if len(found) != len(value) or found != sorted(set(found)):
        raise Malformed("statement: classes are words, rising, none twice")
    if any(each.split("/")[0] in RESERVED_CLASSES for each in found):
        raise Malformed("statement: no source is human, machine or finding", "A source is a sensor, feed, cron, skill, tool, llm, ...")
    return tuple(found)


def _targets(value: Value) -> tuple[str, ...]:
    """Patterns, rising, none twice: exact, or everything that begins with what stands before a last `*`."""
    if not isinstance(value, list) or len(value) > MAX_TARGETS:
        raise Malformed(f"statement: at most {MAX_TARGETS} targets")
    found = [_line(each, MAX_TARGET_BYTES) for each in value]
    if found != sorted(set(found)) or any("*" in each[:-1] for each in found):
        raise Malformed("statement: targets rise, none stands twice, and `*` stands at the end or nowhere")
    return tuple(found)


def _origins(value: Value) -> tuple[KeyId, ...]:
    if not isinstance(value, list) or len(value) > MAX_ORIGINS:
        raise Malformed(f"statement: at most {MAX_ORIGINS} origins")
    found = [KeyId(hash_of(each)) for each in value]
    if found != sorted(set(found)):
        raise Malformed("statement: origins rise and none stands twice")
    return tuple(found)


def _line(value: Value, most: int) -> str:
    if not isinstance(value, str) or _CONTROL.search(value) or not 1 <= len(value.encode("utf-8")) <= most:
        raise Malformed(f"statement: a line of 1 to {most} bytes without control characters is missing")
    return value


def _octets(value: Value) -> bytes:
    if not isinstance(value, bytes) or not 1 <= len(value) <= MAX_VALUE_BYTES:
        raise Malformed(f"statement: 1 to {MAX_VALUE_BYTES} bytes are missing")
    return value


def _index(value: Value) -> int:
    return whole(value, 0, MAX_ENTRY_INDEX)


def _word(value: Value) -> str:
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise Malformed("statement: a word of a-z 0-9 . _ / - is missing")
    return value
