"""A house that was lost and comes back, one that moves, and one with new keys: by the commands that people type, on real houses."""

import json
import shutil
from pathlib import Path

from tallystick.errors import Misuse, Refused, Unavailable
from tallystick.node import commands
from tests.e2e.support import SILENCE_S, Client, House, until


def owner_key(house: House) -> str:
    """The owner's human key."""
    key: str = house.owner.json("key", "ls")["keys"][0]["key"]
    return key


def refused(machine: Client) -> str:
    """What a person reads whose house takes no commands: sooner or later in a session, never later than its second."""
    for _ in range(200):
        try:
            machine.ping(20)
        except Refused as error:
            return error.message
    raise AssertionError("it was never refused")


def test_a_lost_house_comes_back_from_its_backup(tmp_path: Path) -> None:
    """Backed up while it runs, lost, restored, opened by its owner; who was severed meanwhile stays outside, whatever state it kept."""
    with House(tmp_path) as house:
        laptop, thief = house.machine("laptop", "INPUT"), house.machine("thief", "INPUT")
        laptop.put(b"content", "a.txt")
        told = house.json("backup", str(tmp_path / "backup"), secret=True)
        assert house.log("backed-up")[0]["fields"]["digest"] == told["sha256"]
        house.cli("backup", str(tmp_path / "backup"), secret=True, code=1)
        house.sever("thief")
        laptop.ping()
        shutil.copytree(tmp_path / "thief", tmp_path / "kept")
        house.stop()
        shutil.rmtree(house.path)

        key = owner_key(house)
        house.cli("restore", str(tmp_path / "backup"), secret=True, code=2)  # nobody named
        back = house.json("restore", str(tmp_path / "backup"), "--owner", key, secret=True)
        assert (back["role"], back["entries"]) == ("house", told["entries"])
        house.serve()
        assert "restored from a backup" in house.json("status")["closed"]
        assert "restored from a backup" in refused(laptop)
        assert "restored from a backup" in refused(thief)
        shown = house.json("restore", "--show")
        assert {row["name"] for row in shown["pairs"]} == {"owner", "laptop", "thief"} and shown["log"].endswith("/1")
        assert "is closed: restoring" in house.cli("restore", "--show").stdout
        house.fails(Misuse, house.invite)

        signed = house.owner.json("restore", "--sign", secret=True)
        assert signed["log"] == shown["log"]
        waiting = {row["name"]: row["state"] for row in house.owner.json("restore", "--show")["pairs"]}
        assert waiting == {"owner": "standing", "laptop": "restored", "thief": "restored"}
        assert "nobody has signed" in refused(thief)
        house.owner.cli("restore", "--pair", "laptop", secret=True)
        assert laptop.ping()["house"] == "attic"
        assert house.json("status")["closed"] is None
        house.sever("thief")
        thief.fails(Unavailable, thief.ping, timeout_s=SILENCE_S)
        laptop.put(b"after", "b.txt")
        assert laptop.get("b.txt") == b"after"
        assert {entry["fields"]["owner"] for entry in house.log("closed")} and house.log("restored")


def test_a_house_moves_by_the_commands_that_people_type(tmp_path: Path) -> None:
    """Ticket, owner's signature, copy, arrival: the machines find it at its new place by themselves."""
    with House(tmp_path) as house:
        laptop = house.machine("laptop", "INPUT")
        cellar = House(tmp_path, "cellar", owned=False)
        port = house.facts["port"] + 1 if house.facts["port"] < 65_000 else 40_000
        made = cellar.json("migrate", "ticket", str(tmp_path / "ticket"), "--advertise", f"127.0.0.1:{port}")
        moved = house.owner.json("migrate", "to", str(tmp_path / "ticket"), secret=True)
        assert moved["key"] == made["key"]
        assert "moved" in house.json("status")["closed"]
        house.cli("migrate", "send", str(tmp_path / "copy"))
        cellar.cli("migrate", "receive", str(tmp_path / "copy"))
        cellar.cli("migrate", "receive", str(tmp_path / "copy"), code=1)
        cellar.facts = {"port": port}
        cellar.serve()
        try:
            assert "moved" in refused(laptop)
            until(lambda: laptop.ping()["house"] == "attic", "the laptop has followed")
            laptop.put(b"there", "a.txt")
            assert laptop.get("a.txt") == b"there"
            assert "archive" in str(cellar.log("signal")[-1]["fields"]["signal"]["verb"])
            house.fails(Refused, commands.restore_owner, house.settings(), owner=owner_key(house))
            assert [entry["kind"] for entry in house.log()][-1] == "migrated"
        finally:
            cellar.stop()
            cellar.close()


def test_new_keys_are_followed_by_everybody(tmp_path: Path) -> None:
    """`tally key rotate` for each use of a house that is stopped; a machine that was away knows nothing of it, and is answered."""
    with House(tmp_path) as house:
        laptop = house.machine("laptop", "INPUT")
        house.cli("key", "rotate", "log", code=4)  # it runs
        for use in ("log", "machine", "witness"):
            house.stop()
            rotated = house.json("key", "rotate", use)
            assert rotated["failure"] is None
            assert rotated["published"] > rotated["entry"]
            if use == "log":
                # A disk that dies now takes nothing: what is published names the new keys.
                copy = shutil.copytree(house.path, tmp_path / "copy", ignore=shutil.ignore_patterns("house.sqlite*", "*.sock"))
                made = json.loads(house.cli("--home", str(copy), "rebuild", "--from-tiles", "--json").stdout)
                assert made["entries"] >= rotated["published"]
            house.serve()
            assert laptop.ping(3)["house"] == "attic"
        house.stop()
        house.serve()
        assert house.owner.ping(3)["house"] == "attic"
        assert [entry["fields"]["use"] for entry in house.log("key-rotated")] == ["log", "signing", "witness"]
