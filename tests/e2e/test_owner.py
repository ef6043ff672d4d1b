"""An owner who lost every machine, or the key itself, finds the way back; nobody else does (DESIGN 5.1, 5.4, 5.6)."""

from pathlib import Path

from tallystick.errors import Misuse, Refused, Unavailable, Unproven
from tallystick.node import commands
from tallystick.vault import new_recovery
from tests.e2e.support import SILENCE_S, Client, House, passphrase, until


def test_an_owner_who_lost_every_admin_pair_pairs_anew_with_the_own_key(tmp_path: Path) -> None:
    """The house makes an ADMIN invite while no ADMIN pair stands; the human key that has admin already is all the approval it takes."""
    with House(tmp_path) as house:
        house.fails(Misuse, house.invite)
        house.sever("owner")
        under_way = house.owner.pairing(house.invite())
        assert under_way.wait()["state"] == "standing"
        assert house.owner.ping()["house"] == "attic"
        # The key was not introduced twice, and genesis was not repeated.
        assert len(house.log("key-introduced")) == 1
        assert [entry["fields"].get("genesis") for entry in house.log("pairing-approved")] == [True, None]
        assert house.owner.invite("USER")


def test_the_recovery_key_names_a_new_owner_and_ends_the_old_one(tmp_path: Path) -> None:
    """With the paper from `tally init` another human key gets admin at the house; the old key pairs no machine any more."""
    with House(tmp_path) as house:
        house.sever("owner")
        heir = Client(tmp_path, "heir")
        public = commands.key_new(heir.settings(), label="heir", passphrase=passphrase, scripted=True)["public"]
        stranger = new_recovery().paper_text()
        house.fails(Unproven, commands.key_replace_admins, house.settings(), recovery=stranger, admins=[public])
        replaced = commands.key_replace_admins(house.settings(), recovery=house.recovery, admins=[public])
        assert [entry["index"] for entry in house.log("admins-replaced")] == [replaced["entry"]]

        assert heir.pairing(house.invite()).wait()["state"] == "standing"
        assert heir.ping()["house"] == "attic"

        # The old owner's machine may ask; its own key approves nothing, and the new owner sees it wait.
        asking = house.owner.pairing(heir.invite("ADMIN"))
        until(heir.inbox, "the old owner waits")
        assert not asking.over
        heir.deny("owner")
        heir.fails(Refused, asking.wait)
        assert [row["state"] for row in house.pairs() if row["label"] == "owner" and row["state"] in ("standing", "waiting")] == []


def test_an_admin_severs_another_machine_by_statement(tmp_path: Path) -> None:
    """`tally sever NAME` on the owner's machine, of a pair of the house: signed by the human key, and the machine meets silence."""
    with House(tmp_path) as house:
        laptop = house.machine("laptop", "INPUT")
        assert laptop.ping()["house"] == "attic"
        ended = house.owner.sever("laptop")
        assert [entry["fields"]["by"] for entry in house.log("severed")] == ["statement"]
        assert ended["entry"] == house.log("severed")[0]["index"]
        laptop.fails(Unavailable, laptop.ping, timeout_s=SILENCE_S)
