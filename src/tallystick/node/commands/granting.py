"""grant, key revoke and resume, fact add and withdraw, plan set: statements of this machine's human key about what others may.

They are signed on a machine with an ADMIN pair; each is looked at first with what the house shows, so that a person names keys as they
are called there.
"""

import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from tallystick.canonical import Value
from tallystick.errors import Malformed, Misuse
from tallystick.facts.fact import MAX_RADIUS_M, Place, Point, check_value, place_value, read_place, write_value
from tallystick.facts.schedule import parse_schedule
from tallystick.gate.opening import SALT_BYTES, TAGS, Opened, Opening, commit, encode_opening
from tallystick.gate.plan import plan_of, weaker
from tallystick.keys import KeyId, PublicKey, parse_cose_key
from tallystick.node import rightsanswers as answers
from tallystick.node.client import HouseSession
from tallystick.node.commands.here import at_the_house, run
from tallystick.node.commands.where import Passphrase, open_human, submit, the_house
from tallystick.node.localhouse import open_house
from tallystick.node.machine import Machine
from tallystick.node.rightsview import find_key
from tallystick.node.settings import Settings
from tallystick.pair.field import ACTIONS
from tallystick.pair.message import LABEL_FORM
from tallystick.pair.statement import KeyResume
from tallystick.pair.statement import Statement as PairStatement
from tallystick.rights.statement import (
    COMPROMISED,
    RETIRED,
    ContextBegin,
    ContextEnd,
    FactAdd,
    FactWithdraw,
    GatePlan,
    GrantWithdraw,
    KeyGrant,
    KeyRevoke,
    ScopeWithdraw,
    Statement,
)

_POINT: Final = re.compile(r"(-?\d{1,3})(?:\.(\d{1,7}))?, ?(-?\d{1,3})(?:\.(\d{1,7}))?(?:, ?(\d{1,8}))?", re.ASCII)
_NUMBER: Final = re.compile(r"0|-?[1-9][0-9]{0,18}", re.ASCII)
_HASH_DIGITS: Final = 64
_MIN_COSE_DIGITS: Final = 80  # a COSE_Key in hexadecimal is longer than any hash

Prepared = tuple[Statement | PairStatement, bytes | None, dict[str, Any]]
"""A statement, the opening that goes with it, and what else the command has to say."""

Prepare = Callable[[Machine, HouseSession], Awaitable[Prepared]]
Finish = Callable[[HouseSession, Mapping[str, Any]], Awaitable[dict[str, Any]]]


def _sign(settings: Settings, house: str, passphrase: Passphrase, prepare: Prepare, finish: Finish | None = None) -> dict[str, Any]:
    """Sign a statement with this machine's human key, over its ADMIN pair. `finish`: what is asked of the house afterwards."""
    if not house and at_the_house(settings):
        raise Misuse("this is signed by a human key", "give the command on a machine with an ADMIN pair; yours needs no house of its own")
    with Machine.open(settings) as machine:
        row = the_house(machine, house)
        signer = open_human(machine, passphrase)

        async def work() -> dict[str, Any]:
            async with await HouseSession.open(machine, row) as session:
                statement, secret, more = await prepare(machine, session)
                answer = await submit(session, row, signer, statement, secret=secret)
                more["entry"] = answer["entry"]
                return more if finish is None else {**more, **await finish(session, more)}

        return run(work())


async def _detail(session: HouseSession, key: str) -> answers.KeyDetail:
    return await session.get_json(f"/v1/keys?{urlencode({'key': key})}", verb="house.keys", kind=answers.KeyDetail)


def grant(
    settings: Settings,
    *,
    key: str,
    classes: Sequence[str],
    actions: Sequence[str],
    targets: Sequence[str],
    schedule: str,
    place: str,
    expires_ns: int | None,
    label: str,
    house: str,
    passphrase: Passphrase,
) -> dict[str, Any]:
    """A source key comes in, or gets one more row. `key`: its public key, a source key of this machine's vault, or one the house knows."""
    if label and not LABEL_FORM.fullmatch(label):
        raise Misuse(f"{label[:70]!r} is no label", "letters, digits, dot, dash and underscore, at most 63")
    if schedule:
        parse_schedule(schedule)
    opened = None if not place else Opened(salt=secrets.token_bytes(SALT_BYTES), value=place_value(read_a_place(place)))

    async def prepare(machine: Machine, session: HouseSession) -> Prepared:
        public, called = await _public(machine, session, key)
        statement = KeyGrant(
            key=public,
            classes=tuple(sorted(set(classes))),
            actions=tuple(action for action in ACTIONS if action in actions),
            targets=tuple(sorted(set(targets))),
            schedule=schedule or None,
            place=None if opened is None else commit(TAGS[4], opened.salt, opened.value),
            expires_ns=expires_ns,
            label=label or called,
        )
        secret = None if opened is None else encode_opening(Opening(place=opened))
        return statement, secret, {"key": str(public.key_id)}

    async def finish(session: HouseSession, done: Mapping[str, Any]) -> dict[str, Any]:
        known = await _detail(session, done["key"])
        return {"number": known["number"], "label": known["label"], "introduced": known["introduced"] == done["entry"]}

    return _sign(settings, house, passphrase, prepare, finish)


async def _public(machine: Machine, session: HouseSession, text: str) -> tuple[PublicKey, str | None]:
    """The key that a person means, and the label it comes in with. Raises: Malformed, Refused: there is none."""
    if len(text) >= _MIN_COSE_DIGITS:
        try:
            return parse_cose_key(bytes.fromhex(text)), None
        except ValueError:
            raise Malformed("a public key is hexadecimal", "copy `public` from `tally key ls --json` on the machine that has it") from None
    for source in machine.vault.sources():
        if text in (source.label, str(source.key_id), source.key_id.hex()):
            known = {row["key"]: row for row in (await session.get_json("/v1/keys", verb="house.keys", kind=answers.Keys))["keys"]}
            label = source.label if str(source.key_id) not in known and LABEL_FORM.fullmatch(source.label) else None
            return source.public, label
    found = await _detail(session, text)
    return parse_cose_key(bytes.fromhex(found["public"])), None


def key_revoke(settings: Settings, *, key: str, since: int | None, house: str, passphrase: Passphrase) -> dict[str, Any]:
    """A key is over: retired, or with `since` compromised from that entry on. Returns also what fell with it."""

    async def prepare(_: Machine, session: HouseSession) -> Prepared:
        found = await _detail(session, key)
        how = RETIRED if since is None else COMPROMISED
        statement = KeyRevoke(key=KeyId.parse(found["key"]), how=how, since=since)
        return statement, None, {"key": found["key"], "number": found["number"], "label": found["label"], "how": how, "since": since}

    async def finish(session: HouseSession, done: Mapping[str, Any]) -> dict[str, Any]:
        waiting = (await session.get_json("/v1/keys", verb="house.keys", kind=answers.Keys))["suspended"]
        return {"suspended": [{**each} for each in waiting if each["cause"] in (done["entry"], 0)]}

    return _sign(settings, house, passphrase, prepare, finish)


def key_resume(settings: Settings, *, key: str, house: str, passphrase: Passphrase) -> dict[str, Any]:
    """A suspended key stands again."""

    async def prepare(_: Machine, session: HouseSession) -> Prepared:
        found = await _detail(session, key)
        return KeyResume(key=KeyId.parse(found["key"])), None, {"key": found["key"], "number": found["number"], "label": found["label"]}

    return _sign(settings, house, passphrase, prepare)


def context_begin(settings: Settings, *, key: str, house: str, passphrase: Passphrase) -> dict[str, Any]:
    """The context of a model, tool or skill begins: at the house itself by its own user, elsewhere signed by a human key."""
    return _context(settings, key, ends=False, house=house, passphrase=passphrase)


def context_end(settings: Settings, *, key: str, house: str, passphrase: Passphrase) -> dict[str, Any]:
    """The context of a model, tool or skill ends."""
    return _context(settings, key, ends=True, house=house, passphrase=passphrase)


def _context(settings: Settings, key: str, *, ends: bool, house: str, passphrase: Passphrase) -> dict[str, Any]:
    if not house and at_the_house(settings):
        return _context_here(settings, key, ends=ends)

    async def prepare(_: Machine, session: HouseSession) -> Prepared:
        found = await _detail(session, key)
        key_id = KeyId.parse(found["key"])
        return (
            ContextEnd(key=key_id) if ends else ContextBegin(key=key_id),
            None,
            {name: found[name] for name in ("key", "number", "label")},
        )

    return _sign(settings, house, passphrase, prepare)


def _context_here(settings: Settings, key: str, *, ends: bool) -> dict[str, Any]:
    with Machine.open(settings) as machine:
        row = find_key(machine.store, key)

    async def work() -> int:
        async with open_house(settings.home) as gate:
            return await (gate.end_context(row.key_id) if ends else gate.begin_context(row.key_id))

    return {"key": str(row.key_id), "number": row.number, "label": row.label, "entry": run(work())}


def grant_withdraw(settings: Settings, *, grant: str, house: str, passphrase: Passphrase) -> dict[str, Any]:
    """A row of the matrix is gone (named by its entry), or an advance approval is void (named by its id)."""

    async def prepare(_: Machine, __: HouseSession) -> Prepared:
        if len(grant) == _HASH_DIGITS:
            return ScopeWithdraw(scope=_hash(grant)), None, {"withdrawn": grant}
        return GrantWithdraw(grant=_entry(grant)), None, {"withdrawn": grant}

    return _sign(settings, house, passphrase, prepare)


def fact_add(
    settings: Settings,
    *,
    predicate: str,
    value: str,
    key: str,
    personal: bool,
    since_ns: int | None,
    until_ns: int | None,
    house: str,
    passphrase: Passphrase,
) -> dict[str, Any]:
    """A fact holds. `personal`: the ledger gets only a commitment, and the value can be erased."""
    clear = read_a_value(value)

    async def prepare(_: Machine, session: HouseSession) -> Prepared:
        subject = None if not key else KeyId.parse((await _detail(session, key))["key"])
        opened = Opened(salt=secrets.token_bytes(SALT_BYTES), value=clear) if personal else None
        statement = FactAdd(
            predicate=predicate,
            subject=subject,
            value=write_value(clear) if opened is None else None,
            commitment=None if opened is None else commit(TAGS[5], opened.salt, opened.value),
            observed_ns=since_ns,
            until_ns=until_ns,
        )
        secret = None if opened is None else encode_opening(Opening(observations=(opened,)))
        return statement, secret, {"predicate": predicate, "personal": personal}

    return _sign(settings, house, passphrase, prepare)


def fact_withdraw(settings: Settings, *, fact: str, house: str, passphrase: Passphrase) -> dict[str, Any]:
    """A fact no longer holds."""

    async def prepare(_: Machine, __: HouseSession) -> Prepared:
        return FactWithdraw(fact=_entry(fact)), None, {"fact": _entry(fact)}

    return _sign(settings, house, passphrase, prepare)


def plan_set(settings: Settings, *, changes: Sequence[str], house: str, passphrase: Passphrase) -> dict[str, Any]:
    """Other layers for some classes: `CLASS=layer,layer`, or `CLASS=` to leave it to its parent. All of it is signed as one plan."""
    wanted = dict(_change(text) for text in changes)

    async def prepare(_: Machine, session: HouseSession) -> Prepared:
        old = await session.get_json("/v1/plan", verb="house.plan", kind=answers.Plan)
        words: dict[str, Sequence[str]] = {**old["plan"], **{name: layers for name, layers in wanted.items() if layers}}
        for name, layers in wanted.items():
            if not layers:
                if name == "default":
                    raise Misuse("`default` cannot be left out", "name its layers: default=crypto,deterministic")
                words.pop(name, None)
        new = plan_of(words)
        statement = GatePlan(plan=tuple(sorted(new.words().items())))
        lost = weaker(plan_of(old["plan"]), new)
        return statement, None, {"plan": {name: list(layers) for name, layers in new.words().items()}, "weakened": list(lost)}

    return _sign(settings, house, passphrase, prepare)


# --- What a person types ---------------------------------------------------------------------------------------------------------


def read_a_place(text: str) -> Place:
    """`48.1374,11.5755`, `48.1374,11.5755,250` with a radius in metres, or a name. Raises: Misuse."""
    match = _POINT.fullmatch(text)
    try:
        if match is None:
            return read_place(text)
        point = Point(_e7(match[1], match[2]), _e7(match[3], match[4]), int(match[5] or 0))
        return read_place(place_value(point))
    except Malformed as error:
        hint = f"LATITUDE,LONGITUDE in degrees, a radius of at most {MAX_RADIUS_M} m if wished; or a name"
        raise Misuse(error.message, hint) from None


def _e7(whole: str, part: str | None) -> int:
    e7 = abs(int(whole)) * 10**7 + int((part or "").ljust(7, "0"))
    return -e7 if whole.startswith("-") else e7


def read_a_value(text: str) -> Value:
    """`true`, `false`, a whole number, or text. Raises: Misuse."""
    value: Value = {"true": True, "false": False}.get(text, text)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = int(value)
    try:
        return check_value(value)
    except Malformed as error:
        raise Misuse(error.message, error.hint) from None


def _change(text: str) -> tuple[str, list[str]]:
    name, equals, layers = text.partition("=")
    if not equals or not name:
        raise Misuse(f"{text[:60]!r} is no change of the plan", "write CLASS=LAYER,LAYER as in cron=crypto")
    return name, [word.strip() for word in layers.split(",")] if layers.strip() else []


def _entry(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Misuse(f"{text[:40]!r} is no entry", "name it by its number, as `tally key show` and `tally fact ls` show it")
    return int(text)


def _hash(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise Misuse(f"{text[:40]!r} is no scope", "name it by its id, as `tally key show` lists it") from None
