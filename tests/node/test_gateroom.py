"""POST /v1/signals: a machine hands in what the sources behind it have signed; its pair is the cap, its own key is not behind it."""

import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from tallystick.canonical import encode
from tallystick.ledger.event import Event, Kind
from tallystick.node.gateframe import Admit, BeginContext, write_request
from tallystick.node.speaking import SignalSource
from tallystick.pair.pairing import PairType
from tests.gate.world import Key
from tests.node.door_scene import NAME_OF, Scene, Visit, play

FEED = Key("a feed behind a machine")


def introduced(here: Scene, **more: Any) -> SignalSource:
    """A feed's key that the owner has signed in, and what signs with it."""
    store = here.house.machine.store
    owner = next(row for row in map(store.key, range(1, 9)) if row is not None and row.kind == "human")
    store.append(
        Event.of(
            Kind.KEY_INTRODUCED,
            here.house.clock(),
            "pair",
            key=bytes(owner.key_id),
            subject=bytes(FEED.public.key_id),
            key_kind="source",
            cose_key=FEED.public.cose_key(),
            classes=("feed",),
            actions=("metadata", "read", "propose", "write", "admin"),
            **more,
        )
    ).result()
    return SignalSource(FEED, here.house.machine.house_id, clock=here.house.clock)


async def hand_in(visit: Visit, source: SignalSource, action: str, verb: str, **more: Any) -> Any:
    signed = source.sign("feed", action, verb, **more)
    frame = write_request(Admit(signal=signed.raw, opening=signed.opening, body=signed.body))
    return await visit.ask("POST", "/v1/signals", "signal.submit", frame)


def test_a_machine_carries_a_signal(tmp_path: Path) -> None:
    """Two entries, the machine's command and the feed's signal; the second names key and pair."""

    async def act(here: Scene) -> None:
        source, visit = introduced(here), here.visit("input")
        said = (await hand_in(visit, source, "read", "feed.item", body=b"news")).json
        assert said["verdict"] == "allowed" and said["status"] is None
        event = here.event(said["entry"])
        assert (event.kind, event.actor, event.blob("key")) == (Kind.SIGNAL, "pair", FEED.public.key_id)
        assert event.blob("pairing") == visit.ear.asker.pair and event.get("signers") is None

    play(tmp_path, act)


def test_the_pair_is_the_cap(tmp_path: Path) -> None:
    """What the key may and the pair may not is refused; with an ADMIN pair it waits for a human's own word."""

    async def act(here: Scene) -> None:
        source = introduced(here)
        said = (await hand_in(here.visit("input"), source, "admin", "feed.reset")).json
        assert said["verdict"] == "refused"
        said = (await hand_in(here.visit("owner"), source, "admin", "feed.reset")).json
        assert said["verdict"] == "held" and said["proposal"] == said["entry"] + 1
        assert (await hand_in(here.visit(NAME_OF[PairType.USER]), source, "read", "feed.item")).error[0] == 403

    play(tmp_path, act)


def test_what_the_house_does_itself_is_done_before_the_answer(tmp_path: Path) -> None:
    async def act(here: Scene) -> None:
        source, visit = introduced(here), here.visit("input")
        said = (await hand_in(visit, source, "write", "archive.put", target=("PUT", "/v1/files/feed.txt"), body=b"news")).json
        assert (said["verdict"], said["status"]) == ("allowed", 200)
        assert (here.house.machine.settings.root / "feed.txt").read_bytes() == b"news"
        kinds = here.kinds(said["entry"])
        assert kinds.index("SIGNAL") < kinds.index("EFFECT_BEGUN") < kinds.index("EFFECT_DONE")
        said = (await hand_in(visit, source, "read", "archive.rm", target=("DELETE", "/v1/files/feed.txt"))).json
        assert said["verdict"] == "refused"  # a removal that calls itself a read
        assert (here.house.machine.settings.root / "feed.txt").exists()

    play(tmp_path, act)


@pytest.mark.parametrize("kind", ["junk", "context", "deliver"])
def test_a_pair_hands_in_signals_and_nothing_else(kind: str, tmp_path: Path) -> None:
    async def act(here: Scene) -> None:
        source, visit = introduced(here), here.visit("input")
        signed = source.sign("feed", "read", "feed.item")
        frame = {
            "junk": encode([secrets.token_bytes(4)]),
            "context": write_request(BeginContext(key=bytes(source.key_id))),
            "deliver": write_request(Admit(signal=signed.raw, opening=signed.opening, deliver_to=(bytes(source.key_id),))),
        }[kind]
        answer = await visit.ask("POST", "/v1/signals", "signal.submit", frame)
        assert answer.error == ((403, "refused") if kind == "deliver" else (400, "malformed"))
        assert visit.ear.cuts == [] and json.dumps(here.kinds(0)).count("CONTEXT") == 0

    play(tmp_path, act)
