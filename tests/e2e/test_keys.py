"""Keys as facts: a source key is signed in, shown, narrowed, revoked; what a compromised key signed falls with it (DESIGN 5.6, 7, 8)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tallystick.errors import Misuse, Refused, Unavailable, Unproven
from tallystick.node import commands
from tests.e2e.support import SILENCE_S, Client, Home, House, passphrase


def grant(client: Client, key: str, *classes: str, **more: Any) -> dict[str, Any]:
    """`tally grant` on a machine with an ADMIN pair."""
    given = {"actions": (), "targets": (), "schedule": "", "place": "", "expires_ns": None, "label": "", "house": "", **more}
    return client.do(commands.grant, client.settings(), key=key, classes=classes, passphrase=passphrase, **given)


def source(client: Client, label: str, *classes: str) -> dict[str, Any]:
    """A new source key of this machine, signed in."""
    commands.key_new(client.settings(), label=label, passphrase=passphrase, scripted=True, source=True)
    return grant(client, label, *(classes or ("sensor/camera",)))


def shown(client: Client, key: str) -> dict[str, Any]:
    """`tally key show`, over the pair."""
    return client.do(commands.key_show, client.settings(), key=key, house="")


def rows(client: Client) -> list[dict[str, Any]]:
    """`tally key ls --house`."""
    found: list[dict[str, Any]] = client.do(commands.key_ls_house, client.settings(), house="")["keys"]
    return found


def keys(client: Client) -> dict[str, dict[str, Any]]:
    """The same, by label."""
    return {row["label"]: row for row in rows(client)}


def verdict(client: Client, key: str, action: str, **query: str) -> str:
    """`tally rights why`: what would be said now."""
    word: str = client.do(commands.rights_why, client.settings(), query={"key": key, "action": action, **query}, house="")["verdict"]
    return word


def fact(client: Client, predicate: str, value: str, **more: Any) -> int:
    """`tally fact add`: its entry."""
    given = {"key": "", "personal": False, "since_ns": None, "until_ns": None, "house": "", **more}
    found = client.do(commands.fact_add, client.settings(), predicate=predicate, value=value, passphrase=passphrase, **given)
    return int(found["entry"])


def facts(client: Client, **query: Any) -> dict[str, Any]:
    """`tally fact ls`: values by predicate."""
    given = {"key": "", "predicate": "", "every": False, "house": "", **query}
    return {row["predicate"]: row["value"] for row in client.do(commands.fact_ls, client.settings(), **given)["facts"]}


def revoke(client: Client, key: str, since: int | None = None) -> dict[str, Any]:
    """`tally key revoke`."""
    return client.do(commands.key_revoke, client.settings(), key=key, since=since, house="", passphrase=passphrase)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One house for what neither stops it nor counts its keys."""
    with House(tmp_path_factory.mktemp("keys")) as house:
        yield house


def suspended(client: Client) -> list[dict[str, Any]]:
    """What `tally inbox` shows of a revocation."""
    found: list[dict[str, Any]] = client.do(commands.inbox, client.settings())["suspended"]
    return found


def test_a_camera_key_is_signed_in_shown_and_revoked(tmp_path: Path) -> None:
    """From the command line of a real owner: made, granted, listed, explained, given one more row, retired; nothing of it is forgotten."""
    with House(tmp_path) as house:
        owner = house.owner
        made = owner.json("key", "new", "--source", "--label", "front-door")
        assert (made["kind"], made["label"], made["number"]) == ("source", "front-door", None)
        place = "48.1374,11.5755,50"
        granted = owner.json("grant", "front-door", "--class", "sensor/camera", "--place", place, "--expires", "365d", secret=True)
        assert (granted["key"], granted["label"], granted["introduced"]) == (made["key"], "front-door", True)

        found = owner.json("key", "show", "front-door")
        assert (found["state"], found["classes"], found["actions"], found["place"]) == ("standing", ["sensor/camera"], [], place)
        assert (found["introduced"], found["introduced_by"], found["public"]) == (granted["entry"], f"#{_human(owner)}", made["public"])
        assert [change["kind"] for change in found["changes"]] == ["key-introduced"]
        # The house itself tells the same; the place is in no entry, only its commitment.
        at_home = commands.key_show(house.settings(), key="front-door", house="")
        assert {**at_home, "house": ""} == {**found, "house": ""}
        assert place.split(",")[0] not in str(house.log("key-introduced"))

        assert list(keys(owner))[-1] == "front-door"
        matrix = {row["label"]: row for row in commands.rights_ls(house.settings(), house="")["keys"]}
        cells = [matrix["front-door"][each] for each in ("metadata", "read", "egress", "propose", "write", "admin")]
        assert cells == ["yes", "yes", "ask", "yes", "ask", "ask"]
        assert verdict(owner, "front-door", "read") == "allow"
        assert verdict(owner, "front-door", "write") == "hold"

        row = grant(owner, "front-door", "sensor/camera", actions=("write",), targets=("PUT /v1/files/cam/*",))
        assert not row["introduced"]
        target = "PUT /v1/files/cam/1.jpg"
        assert verdict(owner, "front-door", "write", target=target) == "allow"
        assert verdict(owner, "front-door", "write", target="PUT /v1/files/other") == "hold"
        assert verdict(owner, "front-door", "write", target=target, **{"class": "feed"}) == "refuse"
        withdrawn = str(row["entry"])
        owner.do(commands.grant_withdraw, owner.settings(), grant=withdrawn, house="", passphrase=passphrase)
        assert verdict(owner, "front-door", "write", target=target) == "hold"

        gone = owner.json("key", "revoke", "front-door", secret=True)
        assert (gone["how"], gone["since"], gone["suspended"]) == ("retired", None, [])
        owner.fails(Refused, grant, owner, "front-door", "sensor/camera")
        assert verdict(owner, "front-door", "read") == "hold"
        house.restart()
        assert (shown(owner, "front-door")["state"], shown(owner, "#" + str(found["number"]))["changed"]) == ("retired", gone["entry"])
        house.stop()
        assert house.json("verify")["ok"]


def test_what_a_compromised_key_signed_falls_with_it(tmp_path: Path) -> None:
    """Since an entry: its later sources, rows and facts wait in the inbox, a pair it signed waits to be signed again; the earlier stay."""
    with House(tmp_path) as house:
        owner, second = house.owner, house.machine("second", "ADMIN")
        source(second, "before")
        since = source(second, "camera")["entry"]
        source(second, "cron", "cron")
        source(second, "feed", "feed")
        row = grant(second, "before", "sensor/camera", actions=("write",))["entry"]
        fact(second, "firmware", "1.4.2")
        mine = fact(owner, "attested", "true")
        laptop = house.client("laptop")
        assert laptop.pairing(second.invite(label="laptop", approve=True, ttl_s=60)).wait()["state"] == "standing"
        assert laptop.ping()["house"] == "attic"

        human = next(each["key"] for each in rows(owner) if each["kind"] == "human" and each["label"] == "second")
        fallen = revoke(owner, human, since)["suspended"]
        assert {(each["kind"], each["entry"]) for each in fallen if each["kind"] in ("key", "grant")} >= {("key", since), ("grant", row)}
        assert {each["kind"] for each in fallen} == {each["kind"] for each in suspended(owner)} == {"key", "grant", "fact", "pair"}
        states = {label: each["state"] for label, each in keys(owner).items() if each["kind"] == "source"}
        assert states == {"before": "standing", "camera": "suspended", "cron": "suspended", "feed": "suspended"}
        assert facts(owner) == {"attested": True}
        assert owner.do(commands.fact_ls, owner.settings(), key="", predicate="", every=False, house="")["facts"][0]["entry"] == mine
        # The key's own next word counts for nothing, whichever process it comes from.
        second.cli("fact", "add", "firmware", "2", code=3, secret=True)
        second.fails(Unproven, source, second, "late")
        laptop.fails(Refused, laptop.ping)

        resumed = owner.do(commands.key_resume, owner.settings(), key="camera", house="", passphrase=passphrase)
        assert shown(owner, "camera")["state"] == "standing"
        assert since not in {each["entry"] for each in suspended(owner)}
        house.restart()
        states = {label: each["state"] for label, each in keys(owner).items() if each["kind"] == "source"}
        assert states == {"before": "standing", "camera": "standing", "cron": "suspended", "feed": "suspended"}
        assert shown(owner, "camera")["changed"] == resumed["entry"]
        laptop.fails(Refused, laptop.ping)
        owner.do(commands.restore_pair, owner.settings(), house="", names=["laptop"], keys=[], passphrase=passphrase)
        assert laptop.ping()["house"] == "attic"
        house.stop()
        assert house.json("verify")["ok"]


def test_a_revoked_machine_key_ends_its_pair(shared: House) -> None:
    """Without its key a pair is none: its session is cut, its secret destroyed, and its next knock meets silence."""
    house = shared
    laptop = house.machine("laptop", "INPUT")
    assert keys(house.owner)["laptop"]["key"] == laptop.key
    revoke(house.owner, "laptop")
    assert [(entry["fields"]["by"], entry["fields"]["reason"]) for entry in house.log("severed")] == [("policy", "retired")]
    laptop.fails(Unavailable, laptop.ping, timeout_s=SILENCE_S)
    assert len([name for name in house.secrets() if name.startswith("pair/")]) == 1
    with house.open() as machine:
        own = str(machine.vault.machine.signing.public.key_id)
    assert "own key" in house.owner.fails(Refused, revoke, house.owner, own).message


def test_a_personal_fact_is_forgotten_and_its_entry_stays(shared: House) -> None:
    """Its value is in no entry, is shown to the owner, and after an erasure to nobody; facts end and are withdrawn."""
    house = shared
    owner = house.owner
    source(owner, "watch", "sensor")
    entry = fact(owner, "carried-by", "Ada", key="watch", personal=True)
    clear = fact(owner, "firmware", "7", key="watch")
    assert facts(owner, key="watch") == {"carried-by": "Ada", "firmware": 7}
    assert "Ada" not in str(house.log("fact-added"))
    spans = [(entry, entry)]
    erased = owner.do(
        *(commands.erase, owner.settings()),
        spans=spans, pair=None, key=None, before_ns=None, house="attic", reason="asked", sure=lambda _: True, passphrase=passphrase,
    )  # fmt: skip
    assert erased["erased"] == 1
    assert facts(owner, key="watch") == {"carried-by": None, "firmware": 7}
    owner.do(commands.fact_withdraw, owner.settings(), fact=str(clear), house="", passphrase=passphrase)
    assert facts(owner) == {"carried-by": None}
    assert facts(owner, every=True)["firmware"] == 7
    owner.fails(Refused, fact, owner, "late", "1", until_ns=1)
    house.restart()
    assert facts(owner) == {"carried-by": None}


def test_only_a_signature_weakens_the_plan(shared: House) -> None:
    """`tally plan set` is a signed entry; the plan is shown with its reasons, at the house and over the pair, and in `tally config`."""
    house = shared
    owner = house.owner
    assert layers(owner)["default"] == ["crypto", "deterministic"]
    source(owner, "nightly", "cron")
    with pytest.raises(Misuse):
        owner.do(commands.plan_set, owner.settings(), changes=["cron=deterministic"], house="", passphrase=passphrase)
    signed = owner.json("plan", "set", "cron=crypto", secret=True)
    assert signed["weakened"] == ["cron"]
    assert layers(owner)["cron"] == layers(house)["cron"] == ["crypto"]
    assert {"class": "cron", "layers": ["crypto"], "why": f"entry {signed['entry']}"} in house.json("config")["plan"]
    house.restart()
    assert layers(owner)["cron"] == ["crypto"]


def layers(home: Home) -> dict[str, list[str]]:
    """`tally plan`: over the pair, or at the house itself."""
    return {row["class"]: row["layers"] for row in home.do(commands.plan, home.settings(), house="")["classes"]}


def _human(client: Client) -> int:
    return next(int(row["number"]) for row in rows(client) if row["kind"] == "human")
