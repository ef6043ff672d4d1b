"""pair, inbox, approve, deny, ping, downgrade, sever: the life of a pair, from either end."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tallystick.errors import Malformed, Misuse, Refused, Unavailable
from tallystick.keys import KeyKind, Signer, parse_cose_key, pinned
from tallystick.node import answers
from tallystick.node.asking import redeem
from tallystick.node.client import HouseSession
from tallystick.node.commands.here import ask_house, at_the_house, is_running, run
from tallystick.node.commands.where import Passphrase, describe, human_key, open_human, submit, text_of, the_house
from tallystick.node.dialling import forget_pair
from tallystick.node.halves import effects_of
from tallystick.node.machine import Machine
from tallystick.node.settings import Settings
from tallystick.pair.invite import parse_invite
from tallystick.pair.pairing import PairType, Role, Suite
from tallystick.pair.statement import EntryRef, PairApprove, PairDeny, PairDowngrade, PairSever
from tallystick.passage import pairing
from tallystick.rights.matrix import ordered_actions

WAIT_S = 600.0


def pair(
    settings: Settings,
    *,
    invite: str,
    label: str,
    show_words: Callable[[Sequence[str], str], None],
    passphrase: Passphrase,
    scripted: bool,
    wait_s: float = WAIT_S,
) -> dict[str, Any]:
    """Redeem an invite; returns when the pair stands, or when nobody has approved it within `wait_s`."""
    parsed = parse_invite(invite)
    with Machine.open_or_create(settings, Role.CLIENT) as machine:
        human = _human(machine, label or settings.name, passphrase, scripted) if parsed.pair_type is PairType.ADMIN else None
        redeemed = run(redeem(machine, parsed, label=label or settings.name, human=human, show_words=show_words, wait_s=wait_s))
        return {
            "name": redeemed.house_label,
            "house": redeemed.house.hex(),
            "type": redeemed.pair_type.value,
            "state": redeemed.state,
            "pairing": redeemed.pairing_id.hex(),
            "words": list(redeemed.words),
            "digits": redeemed.digits,
        }


def _human(machine: Machine, label: str, passphrase: Passphrase, scripted: bool) -> Callable[[], Signer]:
    """Opens the human key of this machine for one signature at a time; makes one where there is none. One question to the person."""
    if machine.vault.humans():
        key = human_key(machine)
        words = text_of(passphrase(describe(key)))
    else:
        words = text_of(passphrase("a new human key, for the owner of the house"))
        key = machine.vault.new_human(label, words, scripted=scripted)
    return lambda: machine.vault.human_signer(key.key_id, words)


def inbox(settings: Settings) -> dict[str, Any]:
    """The open proposals: of this house, or of the house this machine is an ADMIN of."""
    if at_the_house(settings):
        return {"proposals": ask_house(settings, "inbox")["proposals"]}
    with Machine.open(settings) as machine:

        async def ask() -> dict[str, Any]:
            async with await HouseSession.open(machine, the_house(machine, "")) as session:
                return {**await session.get_json("/v1/inbox", verb="house.inbox", kind=answers.Inbox)}

        return run(ask())


def _chosen(proposals: Sequence[Mapping[str, Any]], wanted: str) -> Mapping[str, Any]:
    found = [each for each in proposals if each["id"] == wanted.lower() or each["label"] == wanted]
    if len(found) != 1:
        raise Refused(f"{'no' if not found else 'more than one'} proposal is called {wanted[:40]}", "`tally inbox` lists them")
    return found[0]


def approve(
    settings: Settings, *, proposal: str, confirm: Callable[[Mapping[str, Any]], bool], passphrase: Passphrase, scripted: bool
) -> dict[str, Any]:
    """Confirm the first ADMIN at the house, or sign a pairing with a human key on an ADMIN machine.

    Raises: Refused: the words differ (the proposal is denied then), or nobody waits under that name.
    """
    if at_the_house(settings):
        chosen = _chosen(ask_house(settings, "inbox")["proposals"], proposal)
        if not confirm(chosen):
            ask_house(settings, "deny", proposal=chosen["id"], reason="wrong-words")
            raise Refused("the words differ: the pairing is denied and its invite burnt", "somebody may sit in the middle; invite again")
        answer = ask_house(settings, "confirm", proposal=chosen["id"])
        if not answer["stands"]:
            answer = _wait_until_stands(settings, chosen["id"])
        return {"id": chosen["id"], "label": chosen["label"], "type": chosen["type"], "entry": answer["entry"]}
    with Machine.open(settings) as machine:
        house = the_house(machine, "")

        async def look() -> tuple[Mapping[str, Any], PairApprove]:
            async with await HouseSession.open(machine, house) as session:
                waiting = await session.get_json("/v1/inbox", verb="house.inbox", kind=answers.Inbox)
                pairs = await session.get_json("/v1/pairs", verb="house.pairs", kind=answers.Pairs)
                chosen = _chosen(waiting["proposals"], proposal)
                return chosen, _approval(chosen, *_detail(chosen, pairs))

        chosen, statement = run(look())
        # The person is asked between two sessions: nothing stays open while somebody compares words.
        if not confirm(chosen):
            deny(settings, proposal=chosen["id"], reason="wrong-words", passphrase=passphrase)
            raise Refused("the words differ: the pairing is denied and its invite burnt", "somebody may sit in the middle; invite again")
        signer = open_human(machine, passphrase)

        async def sign() -> answers.Submitted:
            async with await HouseSession.open(machine, house) as session:
                return await submit(session, house, signer, statement)

        return {"id": chosen["id"], "label": chosen["label"], "type": statement.pair_type.value, "entry": run(sign())["entry"]}


def _detail(chosen: Mapping[str, Any], pairs: answers.Pairs) -> tuple[bytes, str, answers.PairDetail]:
    """Pairing id, suite and what an approval must name. Raises: Malformed: the house shows no such pairing, or not in one way."""
    ids = [each for each in pairs["details"] if each.startswith(chosen["id"])]
    suites = [each["suite"] for each in pairs["pairs"] if [each["pairing"]] == ids]
    if len(ids) != 1 or len(suites) != 1:
        raise Malformed("the house does not show the pairing of this proposal", "look at `tally inbox` again")
    return bytes.fromhex(ids[0]), suites[0], pairs["details"][ids[0]]


def _approval(chosen: Mapping[str, Any], pairing_id: bytes, suite: str, detail: answers.PairDetail) -> PairApprove:
    """The statement to sign: what the person is shown of it is what it says.

    Raises: Refused: the house shows one pairing in its inbox and would have another one signed.  Malformed.
    """
    signing = parse_cose_key(bytes.fromhex(detail["signing"]))
    kind = detail["signed_type"]
    human = None if detail["human"] is None else parse_cose_key(bytes.fromhex(detail["human"]))
    if (str(signing.key_id), kind) != (chosen["key"], chosen["type"]) or (human is not None) != (kind is PairType.ADMIN):
        raise Refused("the house shows another machine or type than the one in the inbox", "look at `tally inbox` again")
    if suite not in tuple(Suite):
        raise Malformed(f"the house shows a pairing of the suite {suite[:60]!r}", "is this program older than the house's?")
    return PairApprove(
        pairing_id=pairing_id,
        proposal=EntryRef(origin=bytes.fromhex(detail["origin"]), index=detail["proposal"]),
        static=bytes.fromhex(detail["static"]),
        signing=signing,
        witness=pinned(KeyKind.ED25519, bytes.fromhex(detail["witness"])),
        human=human,
        pair_type=kind,
        suite=Suite(suite),
        label=chosen["label"],
        actions=ordered_actions(kind),
    )


def _wait_until_stands(settings: Settings, proposal: str, wait_s: float = 300.0) -> dict[str, Any]:
    """The words were confirmed before the owner signed on the other machine: wait for that signature."""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        row = next((each for each in ask_house(settings, "status")["pairs"] if each["pairing"].startswith(proposal)), None)
        if row is None or row["state"] not in ("waiting", "standing"):
            raise Refused(f"the pairing is {'over' if row is None else row['state']}", "make a new invite")
        if row["state"] == "standing":
            entries = ask_house(settings, "log", kind="pairing-approved", pair=row["name"], limit=1)["entries"]
            return {"entry": entries[-1]["index"] if entries else 0}
        time.sleep(0.2)
    raise Unavailable("the owner has not signed on the other machine yet", "finish `tally pair` there; this confirmation stays good")


def deny(settings: Settings, *, proposal: str, reason: str, passphrase: Passphrase) -> dict[str, Any]:
    """Turn a proposal away: at the house before genesis, otherwise signed by a human key."""
    if at_the_house(settings):
        chosen = _chosen(ask_house(settings, "inbox")["proposals"], proposal)
        answer = ask_house(settings, "deny", proposal=chosen["id"], reason=reason)
        return {"id": chosen["id"], "entry": answer["entry"]}
    with Machine.open(settings) as machine:
        house = the_house(machine, "")
        signer = open_human(machine, passphrase)

        async def ask() -> dict[str, Any]:
            async with await HouseSession.open(machine, house) as session:
                waiting = await session.get_json("/v1/inbox", verb="house.inbox", kind=answers.Inbox)
                pairs = await session.get_json("/v1/pairs", verb="house.pairs", kind=answers.Pairs)
                chosen = _chosen(waiting["proposals"], proposal)
                pairing_id, _, detail = _detail(chosen, pairs)
                proposed = EntryRef(origin=bytes.fromhex(detail["origin"]), index=detail["proposal"])
                statement = PairDeny(pairing_id=pairing_id, proposal=proposed, reason=reason)
                answer = await submit(session, house, signer, statement)
                return {"id": chosen["id"], "entry": answer["entry"]}

        return run(ask())


def ping(settings: Settings, *, house: str, count: int) -> dict[str, Any]:
    """Knock, connect and exchange `count` small messages."""
    with Machine.open(settings) as machine:

        async def ask() -> dict[str, Any]:
            pongs = []
            row = the_house(machine, house)
            began = time.monotonic()
            async with await HouseSession.open(machine, row) as session:
                for number in range(1, count + 1):
                    try:
                        async with asyncio.timeout(settings.timeout_s):
                            await session.get_json("/v1/ping", verb="pair.ping", kind=answers.Pong)
                    except TimeoutError:
                        hint = "it is there and busy, or it does not mean to answer: see its log"
                        raise Unavailable(f"{row.label} did not answer within {settings.timeout_s} s", hint) from None
                    pongs.append({"number": number, "ms": (time.monotonic() - began) * 1e3})
                    began = time.monotonic()
                return {
                    "house": row.label,
                    "address": str(session.dialled.remote),
                    "mode": session.dialled.mode.value,
                    "visibility": session.dialled.visibility,
                    "answers": pongs,
                }

        return run(ask())


def downgrade(settings: Settings, *, name: str, pair_type: str, passphrase: Passphrase, scripted: bool) -> dict[str, Any]:
    """Narrow the type of a pair, signed by a human key on an ADMIN machine."""
    if at_the_house(settings):
        raise Misuse("a downgrade is signed by a human key", "give the command on a machine with an ADMIN pair")
    with Machine.open(settings) as machine:
        house = the_house(machine, "")
        signer = open_human(machine, passphrase)

        async def ask() -> dict[str, Any]:
            async with await HouseSession.open(machine, house) as session:
                rows = (await session.get_json("/v1/pairs", verb="house.pairs", kind=answers.Pairs))["pairs"]
                row = named(rows, name)
                statement = PairDowngrade(pairing_id=bytes.fromhex(row["pairing"]), pair_type=PairType(pair_type))
                answer = await submit(session, house, signer, statement)
                return {"name": row["name"], "before": row["type"], "type": pair_type, "entry": answer["entry"]}

        return run(ask())


def named(rows: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    """The standing pair of this name. Raises: Refused."""
    found = [row for row in rows if name in (row["name"], row["pairing"]) or (len(name) >= 8 and row["pairing"].startswith(name.lower()))]
    standing = [row for row in found if row["state"] == "standing"] or found
    if len(standing) != 1:
        raise Refused(f"{'no' if not standing else 'more than one'} pair is called {name[:60]}", "`tally status` lists them")
    return standing[0]


def sever(settings: Settings, *, name: str, reason: str, passphrase: Passphrase) -> dict[str, Any]:
    """End a pair at this end, and tell the other if it can be reached. A name that is no house of this machine means a pair of the
    house: that is a statement of a human key.
    """
    if at_the_house(settings) and is_running(settings):
        answer: dict[str, Any] = ask_house(settings, "sever", name=name, reason=reason)
        return answer
    with Machine.open(settings) as machine:
        try:
            row = machine.store.pair_by_name(name)
        except Refused:
            if machine.role is Role.HOUSE:
                raise
            return _sever_at_the_house(machine, name, reason, passphrase)
        if row.state not in ("standing", "pending", "broken"):
            raise Refused(f"the pair with {name} is {row.state} already", "see `tally status`")

        async def end() -> dict[str, Any]:
            told = False
            if row.role is Role.CLIENT and row.state == "standing":
                try:
                    async with await HouseSession.open(machine, row) as session:
                        told = await session.tell_severed()
                except (Unavailable, Refused):
                    told = False  # silence: it is off, or has severed us before
            walk = pairing.severed(
                pair=row.pairing, by="local", signed=None, reason=reason, tell=False, now_ns=time.time_ns(), actor="local"
            )
            receipt = await effects_of(machine).run(walk)
            forget_pair(machine, row.pairing)
            return {
                "name": row.label or name,
                "pairing": row.pairing.hex(),
                "sessions_cut": int(told),
                "told": told,
                "entry": receipt.index,
            }

        if machine.role is Role.HOUSE:
            with machine.home.lock():
                return run(end())
        return run(end())


def _sever_at_the_house(machine: Machine, name: str, reason: str, passphrase: Passphrase) -> dict[str, Any]:
    house = the_house(machine, "")

    async def look() -> Mapping[str, Any]:
        async with await HouseSession.open(machine, house) as session:
            return named((await session.get_json("/v1/pairs", verb="house.pairs", kind=answers.Pairs))["pairs"], name)

    row = run(look())
    signer = open_human(machine, passphrase)

    async def sign() -> answers.Submitted:
        async with await HouseSession.open(machine, house) as session:
            statement = PairSever(pairing_id=bytes.fromhex(row["pairing"]), reason=reason)
            return await submit(session, house, signer, statement)

    entry = run(sign())["entry"]
    cut = int(row["sessions"])
    return {"name": row["name"], "pairing": row["pairing"], "sessions_cut": cut, "told": cut > 0, "entry": entry}
