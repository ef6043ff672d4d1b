"""inbox, approve, deny, edit: what waits for a human, and what the human says (docs/approvals.md).

Pairings are decided as ever (commands/pairs.py). Held signals are proven here before anybody is shown them (node/held.py), and what is
signed is the root over the bytes that were proven.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tallystick.canonical import encode
from tallystick.errors import Malformed, Misuse, Refused, TallyError
from tallystick.gate.opening import SALT_BYTES, UNSTATED, BodyDigest, Target, commitments_of, encode_opening, make_opening
from tallystick.gate.signal import STREAM_BYTES, Signal, encode_signal, parse_signal
from tallystick.keys import Signer, sign1
from tallystick.node import answers
from tallystick.node.client import HouseSession
from tallystick.node.commands import pairs
from tallystick.node.commands.here import at_the_house, run
from tallystick.node.commands.where import Passphrase, describe, human_key, open_human, submit, text_of, the_house
from tallystick.node.files import read_file
from tallystick.node.held import Held, Wider, check_body, effect_of, prove, scope_of
from tallystick.node.machine import Machine
from tallystick.node.running import programs
from tallystick.node.settings import Settings
from tallystick.node.targets import target_of
from tallystick.primitives import sha256
from tallystick.rights.approval import approval_root
from tallystick.rights.statement import SignalApprove, SignalDeny
from tallystick.storage.rows import PairRow

MAX_BODY_BYTES: Final = 1_000_000
MAX_EDITED_BYTES: Final = 49_152  # with signal and opening it fits into a request
MAX_PAGES: Final = 100
APPROVAL_LIFE_NS: Final = 600 * 10**9
WAIT_S: Final = 30.0
LOOK_S: Final = 0.3
_GOING: Final = frozenset(("approved", "begun"))

Sure = Callable[[Sequence[Mapping[str, Any]]], bool]
"""Shows what would be done, and asks whether that is meant."""


@dataclass(frozen=True, slots=True)
class Waits:
    """A held signal as it was shown: proven, or why not."""

    shown: answers.Held
    held: Held | None
    problem: str


async def waiting(session: HouseSession) -> tuple[answers.Inbox, list[Waits]]:
    """Everything that waits, all pages of it. Raises: as `HouseSession.request`."""
    first: answers.Inbox | None = None
    found: list[Waits] = []
    after: int | None = 0
    for _ in range(MAX_PAGES):
        page = await session.get_json(f"/v1/inbox?after={after}", verb="house.inbox", kind=answers.Inbox)
        first = first or page
        found += [look_at(session, shown) for shown in page.get("held", [])]
        after, before = page.get("more"), after
        if after is None or after <= (before or 0):
            break
    if first is None:
        raise AssertionError("at least one page was asked for")
    return first, found


def look_at(session: HouseSession, shown: answers.Held) -> Waits:
    """Prove one."""
    try:
        return Waits(shown, prove(shown, bytes(session.pair.house or b"")), "")
    except TallyError as error:
        return Waits(shown, None, error.message)


def held_json(waits: Waits) -> dict[str, Any]:
    """As `tally inbox` shows it; what could not be proven is not shown but for why."""
    shown, held = waits.shown, waits.held
    signer = shown["signer"]
    number = "" if signer["number"] is None else f"#{signer['number']}"
    return {
        "id": shown["id"],
        "proven": held is not None,
        "problem": waits.problem,
        "who": f"{number} {signer['label']}".strip() if held is None or signer["key"] == held.key.hex() else held.key.hex()[:16],
        "key": "" if held is None else str(held.key),
        "class": "" if held is None else held.claims.signal_class,
        "action": "" if held is None else held.claims.action,
        "verb": "" if held is None else held.claims.verb,
        "target": "" if held is None else held.target,
        "body_bytes": None if held is None or held.body is None else held.body.length,
        "sha256": None if held is None or held.body is None else held.body.sha256.hex(),
        "risk": "" if held is None else held.risk,
        "reason": shown["reason"],
        "rule": shown["rule"],
        "time_ns": shown["time_ns"],
        "expires_ns": shown["expires_ns"],
        "replaces": shown["replaces"],
        "chain": [{**link} for link in shown["chain"]],
    }


def inbox(settings: Settings) -> dict[str, Any]:
    """What waits: of this house, or of the house this machine is an ADMIN of."""
    if at_the_house(settings):
        return {**pairs.inbox(settings), "held": [], "suspended": []}
    with Machine.open(settings) as machine:

        async def ask() -> dict[str, Any]:
            async with await HouseSession.open(machine, the_house(machine, "")) as session:
                page, found = await waiting(session)
                suspended = [{**each} for each in page.get("suspended", [])]
                return {"proposals": page["proposals"], "held": [held_json(each) for each in found], "suspended": suspended}

        return run(ask())


def inbox_show(settings: Settings, *, proposal: str) -> dict[str, Any]:
    """One held signal, and what exactly would be done."""
    with Machine.open(settings) as machine:

        async def ask() -> dict[str, Any]:
            async with await HouseSession.open(machine, the_house(machine, "")) as session:
                return (await look(session, _entry(proposal)))[0]

        return run(ask())


async def look(session: HouseSession, entry: int) -> tuple[dict[str, Any], Held | None]:
    """One held signal with its body, proven, and its exact effect. What is shown and what is returned beside it are of the same bytes."""
    waits = look_at(session, await session.get_json(f"/v1/proposals/{entry}", verb="house.inbox", kind=answers.Held))
    if waits.shown["id"] != entry:
        raise Malformed("the house shows another proposal than the one asked for", "do not approve it")
    found = {**held_json(waits), "state": waits.shown["state"], "effect": []}
    if waits.held is not None:
        try:
            found["effect"] = await _effect(session, waits.held)
        except TallyError as error:
            return found | {"proven": False, "problem": error.message}, None
    return found, waits.held


async def _effect(session: HouseSession, held: Held) -> list[str]:
    body: bytes | None = None
    if held.told["body_bytes"] is not None:
        response = await session.request("GET", f"/v1/bodies/{held.item.entry}", verb="house.inbox")
        body = await response.read(MAX_BODY_BYTES)
        check_body(held, body)
    elif held.body is not None:
        return [f"{held.claims.verb} {held.target}", f"its content stayed with its sender: {held.body.length} bytes"]
    argv = None
    if held.claims.verb.startswith("verb."):
        argv = next((each["argv"] for each in await programs(session) if f"verb.{each['name']}" == held.claims.verb), None)
    return effect_of(held, body, await _current(session, held), argv)


async def _current(session: HouseSession, held: Held) -> bytes | str | None:
    """What the file it changes holds now; a long one is not fetched."""
    if held.file is None:
        return None
    try:
        stat = await session.get_json(target_of("/v1/stat", held.file), verb="archive.stat", kind=answers.Stat)
        if stat["bytes"] is None or stat["bytes"] > MAX_BODY_BYTES:
            digest = f", SHA-256 {stat['sha256']}" if stat["sha256"] else ""
            return f"a {stat['kind']}" if stat["bytes"] is None else f"{stat['bytes']} bytes{digest}"
        response = await session.request("GET", target_of("/v1/files", held.file), verb="archive.get")
        return await response.read(MAX_BODY_BYTES)
    except Refused:
        return None  # no such file


def approve(
    settings: Settings,
    *,
    proposals: Sequence[str],
    confirm: Callable[[Mapping[str, Any]], bool],
    passphrase: Passphrase,
    scripted: bool,
    sure: Sure | None = None,
    times: int | None = None,
    until_ns: int | None = None,
    only_body: bool = False,
    only_origins: bool = False,
    only_target: bool = False,
    reason: str = "",
) -> dict[str, Any]:
    """Sign that a pairing stands, or that held signals may go: one signature over all of them."""
    scoped = times is not None or until_ns is not None or only_body or only_origins or only_target
    if len(proposals) == 1 and (at_the_house(settings) or not proposals[0].isdigit() or _is_pairing(settings, proposals[0])):
        if scoped or reason:
            raise Misuse("a pairing is approved as it is", "the other options are for held signals")
        found = pairs.approve(settings, proposal=proposals[0], confirm=confirm, passphrase=passphrase, scripted=scripted)
        return {**found, "items": []}
    _not_at_the_house(settings)
    entries = sorted({_entry(each) for each in proposals})
    with Machine.open(settings) as machine:
        house = the_house(machine, "")

        async def show() -> tuple[list[dict[str, Any]], list[Held]]:
            async with await HouseSession.open(machine, house) as session:
                shown, helds = [], []
                for entry in entries:
                    one, held = await look(session, entry)
                    if held is None:
                        raise Malformed(
                            f"proposal {entry} is not what it is shown as: {one['problem']}", "do not approve it; `tally deny` it"
                        )
                    shown.append(one)
                    helds.append(held)
                return shown, helds

        # The person is asked between two sessions: nothing stays open while somebody reads.
        shown, helds = run(show())
        if sure is None or not sure(shown):
            raise Refused("nothing was approved", "`tally deny ID` turns it away")
        signer = open_human(machine, passphrase)

        async def sign() -> dict[str, Any]:
            async with await HouseSession.open(machine, house) as session:
                now_ns = session.now_ns()
                wider = Wider(
                    times=times,
                    until_ns=until_ns or now_ns + 24 * 3_600 * 10**9,
                    only_body=only_body,
                    only_origins=only_origins,
                    only_target=only_target,
                )
                statement = approval_of(helds, wider if scoped else None, now_ns)
                entry = (await submit(session, house, signer, statement, reason=reason))["entry"]
                items = await outcome(session, entry)
                label = ", ".join(dict.fromkeys(held.claims.verb for held in helds))
                return {"id": ", ".join(map(str, entries)), "label": label, "type": "signal", "entry": entry, "items": items}

        return run(sign())


def approval_of(helds: Sequence[Held], wider: Wider | None, now_ns: int) -> SignalApprove:
    """The statement that lets exactly these go: its root is over the bytes that were proven here."""
    items = sorted((held.item for held in helds), key=lambda item: item.entry)
    return SignalApprove(
        root=approval_root(items),
        proposals=tuple(item.entry for item in items),
        expires_ns=now_ns + APPROVAL_LIFE_NS,
        scope=None if wider is None else scope_of(helds, wider),
    )


async def outcome(session: HouseSession, entry: int) -> list[dict[str, Any]]:
    """What became of the proposals of an approval; what is still under way after a while is shown so."""
    deadline = time.monotonic() + WAIT_S
    while True:
        items = (await session.get_json(f"/v1/approvals/{entry}", verb="house.inbox", kind=answers.Approved))["items"]
        if not any(item["state"] in _GOING for item in items) or time.monotonic() > deadline:
            return [{**item} for item in items]
        await asyncio.sleep(LOOK_S)


def deny(settings: Settings, *, proposal: str, reason: str, passphrase: Passphrase) -> dict[str, Any]:
    """Turn a pairing or a held signal away."""
    if at_the_house(settings) or not proposal.isdigit() or _is_pairing(settings, proposal):
        return pairs.deny(settings, proposal=proposal, reason=reason, passphrase=passphrase)
    with Machine.open(settings) as machine:
        house = the_house(machine, "")
        signer = open_human(machine, passphrase)

        async def sign() -> dict[str, Any]:
            async with await HouseSession.open(machine, house) as session:
                statement = SignalDeny(proposal=_entry(proposal), reason=reason)
                return {"id": proposal, "entry": (await submit(session, house, signer, statement))["entry"]}

        return run(sign())


def edit(settings: Settings, *, proposal: str, body: Path | None, target: str | None, sure: Sure, passphrase: Passphrase) -> dict[str, Any]:
    """Ask for something else in the place of a held signal: a signal of this human, which follows the old one. It waits like any other."""
    _not_at_the_house(settings)
    if body is None and target is None:
        raise Misuse("nothing is changed", "give --body FILE or --target 'METHOD /path'")
    content = None if body is None else read_file(body, MAX_EDITED_BYTES)
    with Machine.open(settings) as machine:
        house = the_house(machine, "")

        async def show() -> tuple[Held, bytes | None]:
            async with await HouseSession.open(machine, house) as session:
                waits = look_at(session, await session.get_json(f"/v1/proposals/{_entry(proposal)}", verb="house.inbox", kind=answers.Held))
                if waits.held is None:
                    raise Malformed(f"proposal {proposal} is not what it is shown as: {waits.problem}", "`tally deny` it")
                return waits.held, await _kept(session, waits.held)

        old, kept = run(show())
        # Two statements, and one question to the person: the key is opened once for each.
        key = human_key(machine)
        words = text_of(passphrase(describe(key)))
        signer, again = (machine.vault.human_signer(key.key_id, words) for _ in range(2))
        new = kept if content is None else content

        async def sign() -> dict[str, Any]:
            async with await HouseSession.open(machine, house) as session:
                raw, opening = _instead(signer, house, old, new, target, session.now_ns())
                taken = await session.post_json(
                    "/v1/signals", encode([1, raw, opening, new, []]), verb="signal.submit", kind=answers.SignalTaken
                )
                if taken["verdict"] == "refused":
                    raise Refused("the house refuses the signal that was to take its place", "`tally log` there tells why")
                await submit(session, house, again, SignalDeny(proposal=old.item.entry, reason="edited"))
                waits = taken.get("proposal")
                return {"id": proposal, "verdict": taken["verdict"], "entry": taken["entry"] or 0, "proposal": waits}

        return run(sign())


async def _kept(session: HouseSession, held: Held) -> bytes | None:
    if held.told["body_bytes"] is None:
        return None
    body = await (await session.request("GET", f"/v1/bodies/{held.item.entry}", verb="house.inbox")).read(MAX_BODY_BYTES)
    check_body(held, body)
    return body


def _instead(signer: Signer, house: PairRow, old: Held, body: bytes | None, target: str | None, now_ns: int) -> tuple[bytes, bytes]:
    """The human's own signal: verb and action of the old one, which is its predecessor."""
    method, path = old.method, old.path
    if target is not None:
        method, _, path = target.rpartition(" ")
        method = method or old.method
    opening = make_opening(
        secrets.token_bytes(2 * SALT_BYTES),
        target=Target(method=method, path=path) if path else None,
        body=UNSTATED if body is None else BodyDigest(length=len(body), sha256=sha256(body)),
    )
    commitments, _ = commitments_of(opening)
    reference = sha256(parse_signal(bytes.fromhex(old.told["signal"])).sign1.signature)
    claims = Signal(
        aud=bytes(house.house or b""),
        signal_class="human",
        action=old.claims.action,
        verb=old.claims.verb,
        commitments=commitments,
        issued_at_ns=now_ns,
        stream=secrets.token_bytes(STREAM_BYTES),
        n=0,
        prev=(reference,),
    )
    return sign1(signer, encode_signal(claims)), encode_opening(opening)


def _is_pairing(settings: Settings, wanted: str) -> bool:
    """Whether a pairing waits under this name of digits alone: its id has eight of them, or somebody is called so."""
    return any(wanted in (each["id"], each["label"]) for each in pairs.inbox(settings)["proposals"])


def _entry(text: str) -> int:
    if not text.isdigit() or not text.isascii() or len(text) > 18:
        raise Misuse(f"{text[:40]!r} is no proposal", "`tally inbox` shows the numbers of held signals")
    return int(text)


def _not_at_the_house(settings: Settings) -> None:
    if at_the_house(settings):
        raise Misuse("a held signal is decided by a human key, over an ADMIN pair", "give the command on a machine with an ADMIN pair")
