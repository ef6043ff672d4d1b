"""A house whose home lies on a small file system of its own, which others fill: run inside a mount namespace by test_full_disk.py.

python -m tests.attack.full_disk FOLDER     FOLDER/attic is an empty tmpfs of 48 MiB
"""

import os
import sys
from pathlib import Path

from tallystick.errors import Refused, Unavailable
from tallystick.node.reserve import FILE_BYTES, TIGHT_BYTES
from tests.e2e.support import Client, House, cheap_passphrases, until

RESERVE_MIB = 12


def free(home: Path) -> int:
    found = os.statvfs(home)
    return found.f_bavail * found.f_frsize


def fill(home: Path, leave: int) -> Path:
    """Somebody else's file takes the space, all but so many bytes."""
    hog = home / "hog"
    with hog.open("ab") as file:
        while (left := free(home) - leave) > 0:
            try:
                file.write(bytes(min(left, 1 << 20)))
                file.flush()
            except OSError:
                break
    return hog


def scene(folder: Path) -> None:
    # The files of the archive lie elsewhere: it keeps 256 MiB free on its own.
    made = House(folder).init()
    with (made.path / "tally.toml").open("a") as file:
        file.write(f'reserve_mib = {RESERVE_MIB}\nroot = "{folder / "files"}"\n')
    with made as house:
        home = house.path
        laptop, thief, spare = house.machine("laptop"), house.machine("thief"), house.machine("spare")
        laptop.put(b"content", "a")
        assert (home / "reserve").stat().st_blocks * 512 >= FILE_BYTES
        shown = house.json("status")
        assert shown["free_bytes"] > shown["least_bytes"] == RESERVE_MIB << 20

        # Nearly full: commands are not taken and cost no entry; what is held stays held.
        fill(home, (RESERVE_MIB << 20) - (1 << 20))
        until(lambda: refused(laptop), "commands are refused")
        before = len(house.log("signal"))
        for _ in range(3):
            assert "nearly full" in laptop.fails(Unavailable, laptop.put, b"more", "b").message
            assert "nearly full" in laptop.fails(Unavailable, laptop.get, "a").message
        assert len(house.log("signal")) == before and (home / "reserve").exists()
        assert "nearly full" in house.owner.fails(Unavailable, house.owner.invite).message
        assert "NO COMMANDS ARE TAKEN" in house.cli("status").stdout
        checks = {check["name"]: check for check in house.json("doctor", code=4)["checks"]}
        assert checks["space"]["state"] == "fail" and "still recorded" in checks["space"]["message"]

        # Full to the last block: a severance at the house, and one by the owner's statement from afar.
        fill(home, 0)
        assert free(home) < 65_536
        assert "NO COMMANDS ARE TAKEN" in house.cli("status").stdout
        assert house.json("sever", "thief")["entry"] > 0
        assert "reserve" not in os.listdir(home)
        assert {"laptop", "spare", "owner"} == {row["name"] for row in house.pairs() if row["state"] == "standing"}
        thief.fails(Unavailable, thief.ping, timeout_s=1)
        fill(home, TIGHT_BYTES - (64 << 10))
        assert "nearly full" in house.owner.fails(Unavailable, house.owner.sever, "spare").message  # the last is for the house itself
        os.truncate(home / "hog", (home / "hog").stat().st_size - 2 * TIGHT_BYTES)
        house.owner.sever("spare")
        spare.fails(Unavailable, spare.ping, timeout_s=1)
        assert house.row("thief")["state"] == house.row("spare")["state"] == "severed"
        secrets = " ".join(house.secrets())
        assert house.row("thief")["pairing"] not in secrets and house.row("spare")["pairing"] not in secrets
        assert house.stop() == 0
        assert house.kinds()[-1] == "stopped"

        # A house that starts on a full disk can still be told who is not to come in; with room it is as before.
        house.serve()
        assert house.json("sever", "laptop")["entry"] > 0
        (home / "hog").unlink()
        until(lambda: (home / "reserve").exists() and (home / "reserve").stat().st_blocks * 512 >= FILE_BYTES, "the room is held again")
        house.owner.put(b"content", "c")
        assert house.owner.get("a") == b"content"


def refused(laptop: Client) -> bool:
    try:
        laptop.ping()
    except (Unavailable, Refused) as error:
        return "nearly full" in error.message
    return False


if __name__ == "__main__":
    with cheap_passphrases():
        scene(Path(sys.argv[1]))
