"""The house's own rooms at the door: what each answer holds, and for whom."""

import json
import secrets
import time
from pathlib import Path
from typing import Any

import pytest

from tallystick.canonical import encode
from tallystick.keys import KeyKind, parse_cose_key, pinned
from tallystick.node.metrics import COUNTERS, GAUGES
from tallystick.node.rooms import inbox_view, key_class_of, pairs_view
from tallystick.pair.invite import invite_id
from tallystick.pair.pairing import PairType, Suite
from tallystick.pair.statement import EntryRef, InviteCreate, PairApprove, PairDowngrade, PairSever
from tallystick.rights.matrix import ordered_actions
from tallystick.tlog.checkpoint import verify_checkpoint
from tallystick.tlog.cosignature import verifier
from tallystick.tlog.note import SignatureType, VerifierKey
from tallystick.tlog.proof import verify_consistency
from tests.node.door_scene import NAME_OF, Scene, play, settled

WORDS = {"words": b"aardvark adroitness absurd adviser", "digits": b"123456-789012", "facts": b"name=pi\nkey_class=sealed"}


def test_a_ping_is_the_time(tmp_path: Path) -> None:
    """Pair time, for every type."""

    async def act(here: Scene) -> None:
        before = here.house.clock()
        for name in NAME_OF.values():
            said = (await here.visit(name).ask("GET", "/v1/ping", "pair.ping")).json
            assert before <= said["time_ns"] <= here.house.clock()
            assert said.keys() == {"time_ns"}

    play(tmp_path, act)


def test_status_is_counts_states_and_the_askers_own_pair(tmp_path: Path) -> None:
    """No type learns of another pair; what an invite names is told to ADMIN alone."""

    async def act(here: Scene) -> None:
        for kind, name in NAME_OF.items():
            said = (await here.visit(name).ask("GET", "/v1/status", "house.status")).json
            assert (said["type"], said["house"], said["name"]) == (kind.value, here.estate.house.house_id.hex(), "attic")
            assert {"static", "advertise"} <= said.keys() if kind is PairType.ADMIN else not {"static", "advertise"} & said.keys()
            others = {other for other in NAME_OF.values() if other != name}
            assert not others & set(json.dumps(said).replace('"', " ").split())
            assert said["entries"] > 0

    play(tmp_path, act)


def test_status_shows_the_type_of_now(tmp_path: Path) -> None:
    """After a downgrade the narrower one."""

    async def act(here: Scene) -> None:
        visit = here.visit("input")
        await here.house.statements.submit(
            encode([here.estate.signed(_downgrade(visit.ear.asker.pair)), None]), here.visit("owner").ear.asker
        )
        assert (await visit.ask("GET", "/v1/status", "house.status")).json["type"] == "USER"

    play(tmp_path, act)


def _downgrade(pairing: bytes) -> PairDowngrade:
    return PairDowngrade(pairing_id=pairing, pair_type=PairType.USER)


def test_a_checkpoint_continues_what_was_seen(tmp_path: Path) -> None:
    """Note and proof, checked as an auditor would."""

    async def act(here: Scene) -> None:
        visit, keys = here.visit("interface"), here.estate.house.vault.log
        log = [
            verifier(VerifierKey(name=here.estate.house.log_name, type=kind, public=public))
            for kind, public in ((SignatureType.ED25519, keys.ed25519.public.raw), (SignatureType.ML_DSA_44, keys.ml_dsa_44.public.raw))
        ]

        async def newest(old: int) -> Any:
            said = (await visit.ask("GET", f"/v1/checkpoint?old={old}", "house.checkpoint")).json
            return verify_checkpoint(said["checkpoint"].encode(), log=log).checkpoint, tuple(bytes.fromhex(each) for each in said["proof"])

        first, _ = await newest(0)
        await settled(here)
        here.house.publisher.newest(fresh=True)
        second, proof = await newest(first.size)
        assert second.size > first.size
        verify_consistency(old=first.size, new=second.size, old_root=first.root, new_root=second.root, proof=proof)

    play(tmp_path, act)


def test_an_inbox_is_what_waits(tmp_path: Path) -> None:
    """Words, digits, facts and type of each pairing that waits; nothing of what was decided."""

    async def act(here: Scene) -> None:
        visit = here.visit("owner")
        assert (await visit.ask("GET", "/v1/inbox", "house.inbox")).json == {"proposals": [], "held": [], "more": None, "suspended": []}
        row = here.estate.propose("camera", PairType.USER, ext=WORDS)
        (said,) = (await visit.ask("GET", "/v1/inbox", "house.inbox")).json["proposals"]
        assert (said["label"], said["type"], said["key_class"]) == ("camera", "USER", "sealed")
        assert (" ".join(said["words"]), said["digits"], said["id"]) == (WORDS["words"].decode(), "123456-789012", row.pairing.hex()[:8])
        assert key_class_of(here.house, row) == "sealed"
        here.estate.stand("camera")
        assert inbox_view(here.house) == []

    play(tmp_path, act)


def test_pairs_name_what_an_approval_must_name(tmp_path: Path) -> None:
    """An owner who knows the house by its door alone signs an approval from `details`, and it holds."""

    async def act(here: Scene) -> None:
        visit = here.visit("owner")
        row = here.estate.propose("camera", PairType.USER)
        said = (await visit.ask("GET", "/v1/pairs", "house.pairs")).json
        shown = next(pair for pair in said["pairs"] if pair["label"] == "camera")
        assert (shown["state"], shown["type"]) == ("waiting", "USER")
        details = said["details"][shown["pairing"]]
        statement = PairApprove(
            pairing_id=bytes.fromhex(shown["pairing"]),
            proposal=EntryRef(origin=bytes.fromhex(details["origin"]), index=details["proposal"]),
            static=bytes.fromhex(details["static"]),
            signing=parse_cose_key(bytes.fromhex(details["signing"])),
            witness=pinned(KeyKind.ED25519, bytes.fromhex(details["witness"])),
            human=None,
            pair_type=PairType(details["signed_type"]),
            suite=Suite(shown["suite"]),
            label="camera",
            actions=ordered_actions(PairType.USER),
        )
        await settled(here)
        before = here.estate.house.store.size()
        answer = await visit.ask("POST", "/v1/statements", "statement.submit", encode([here.estate.signed(statement), None]))
        assert answer.json["verb"] == "pair.approve"
        assert here.estate.at_house("camera").stands
        await settled(here)
        assert here.kinds(before) == ["SIGNAL", "PAIRING_APPROVED", "ANSWER", "STOPPED"]
        assert answer.json["entry"] == before + 1
        assert row.pairing in here.house._step
        assert {pair["label"] for pair in pairs_view(here.house)} == {"owner", "camera"}

    play(tmp_path, act)


def test_a_statement_over_the_door_is_heard_at_once(tmp_path: Path) -> None:
    """An invite signed by the owner is expected by the doorstep when the answer comes, and the pair that is severed no more."""

    async def act(here: Scene) -> None:
        owner, user = here.visit("owner"), here.visit("user")
        secret = secrets.token_bytes(16)
        invite = InviteCreate(invite_id=invite_id(secret), pair_type=PairType.INPUT, for_key=None, yes=False, ttl_s=60, label=None)
        said = await owner.ask("POST", "/v1/statements", "statement.submit", encode([here.estate.signed(invite), secret]))
        assert said.json["verb"] == "invite.create"
        here.house._sessions[user.ear.asker.pair] = {user.ear}  # type: ignore[arg-type]
        sever = PairSever(pairing_id=user.ear.asker.pair, reason="lost")
        await owner.ask("POST", "/v1/statements", "statement.submit", encode([here.estate.signed(sever), None]))
        assert user.ear.cuts == ["severed"]
        here.house._sessions.clear()

    play(tmp_path, act)


@pytest.mark.parametrize("body", [b"", b"junk", encode([b"x", None]), encode([])])
def test_a_statement_that_is_none_is_malformed(body: bytes, tmp_path: Path) -> None:
    """Told, recorded as a failed answer, and the session goes on: the request itself was good."""

    async def act(here: Scene) -> None:
        visit = here.visit("owner")
        assert (await visit.ask("POST", "/v1/statements", "statement.submit", body)).error == (400, "malformed")
        assert visit.ear.cuts == []

    play(tmp_path, act)


def test_the_figures_are_those_of_the_metrics_page(tmp_path: Path) -> None:
    """Counted while it happens: commands allowed and refused, entries, pairs, what waits."""

    async def act(here: Scene) -> None:
        owner, user = here.visit("owner"), here.visit("user")
        here.estate.propose("camera")
        await owner.ask("GET", "/v1/ping", "pair.ping")
        await user.ask("GET", "/v1/inbox", "house.inbox")
        figures = here.house.figures()
        assert figures.keys() == GAUGES.keys() | COUNTERS.keys()
        assert (figures["signals_allowed"], figures["signals_refused"], figures["proposals_open"]) == (1, 1, 1)
        assert figures["ledger_entries"] == here.estate.house.store.size()
        assert 0 <= figures["uptime_seconds"] < 60
        assert here.house.healthy()
        assert time.time_ns() >= here.house.started_ns

    play(tmp_path, act)
