"""An ADMIN asks the house for its pairs; nobody else learns of them (docs/cli.md, `status --house`)."""

from pathlib import Path

from tallystick.errors import Refused
from tallystick.node import commands
from tests.e2e.support import Client, House, cheap_passphrases


def test_an_admin_sees_the_pairs_of_its_house_and_nobody_else_does(tmp_path: Path) -> None:
    """`status --house` and `whois --house` on an ADMIN's machine show what the house's own `status` shows; on every other machine the
    house in counts, and no name of another pair."""
    with cheap_passphrases(), House(tmp_path) as house:
        laptop, eye = house.machine("laptop"), house.machine("eye", "INTERFACE")
        laptop.ping()

        def shown(machine: Client) -> dict[str, object]:
            found: dict[str, object] = machine.json("status", "--house", "attic")
            return found

        rows = {row["name"]: row for row in house.pairs()}
        seen = shown(house.owner)
        assert (seen["house"], seen["type"], seen["pairs_standing"]) == ("attic", "ADMIN", 3)
        pairs = seen["pairs"]
        assert isinstance(pairs, list) and {row["name"] for row in pairs} == {"owner", "laptop", "eye"}
        for row in pairs:
            assert all(row[name] == rows[row["name"]][name] for name in ("pairing", "key", "type", "state", "role", "since_ns"))
        assert "laptop" in house.owner.cli("status", "--house", "attic").stdout
        assert {row["name"] for row in house.owner.pairs()} == {"attic"}  # without --house: this machine's own
        found = house.owner.json("whois", "laptop", "--house", "attic")
        assert (found["type"], found["kind"], found["key"]) == ("INPUT", "pair (client)", laptop.key)
        assert house.owner.json("whois", laptop.key, "--house", "attic")["name"] == "laptop"
        house.owner.fails(Refused, commands.whois, house.owner.settings(), who="nobody", house="attic")
        for other in (laptop, eye):
            seen = shown(other)
            assert seen["pairs"] == [] and seen["pairs_standing"] == 3
            assert "only an ADMIN" in other.fails(Refused, commands.whois, other.settings(), who="owner", house="attic").message
