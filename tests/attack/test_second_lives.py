"""One backup, brought back twice; and the first of the two lives, served once more when the second one stands."""

import shutil
import subprocess
import sys
from pathlib import Path

from tallystick.errors import Refused
from tests.e2e.support import House
from tests.e2e.test_comeback import owner_key, refused
from tests.support import PROJECT


def proven(house: House, state: Path) -> None:
    """The house's files, rows and evidence are proven. `state`: of an auditor who has seen no other life."""
    assert house.json("verify", "--state", str(state))["findings"] == []
    house.json("log", "export", f"{state}.tar")
    alone = [sys.executable, "-I", str(PROJECT / "src" / "tallystick_verify.py"), f"{state}.tar"]
    done = subprocess.run(alone, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_a_backup_that_is_used_twice(tmp_path: Path) -> None:
    """Each life has a later name than any that a pair has seen, and is proven like any other ledger; what was lost between stays closed."""
    with House(tmp_path) as house:
        laptop = house.machine("laptop", "INPUT")
        house.json("backup", str(tmp_path / "backup"), secret=True)
        key = owner_key(house)
        for life in (1, 2):
            laptop.put(b"content", f"{life}.txt")
            house.stop()
            if life == 2:
                shutil.copytree(house.path, tmp_path / "first", ignore=shutil.ignore_patterns("*.sock"))
            shutil.rmtree(house.path)
            house.json("restore", str(tmp_path / "backup"), "--owner", key, secret=True)
            house.serve()
            refused(laptop)
            refused(house.owner)
            signed = house.owner.json("restore", "--sign", secret=True)
            assert signed["log"].endswith(f"/{life}")
            house.owner.cli("restore", "--pair", "laptop", secret=True)
            laptop.ping()
            house.stop()
            proven(house, tmp_path / f"seen{life}")
            house.serve()
        house.stop()
        shutil.rmtree(house.path)
        shutil.copytree(tmp_path / "first", house.path)
        house.serve()
        house.owner.fails(Refused, house.owner.ping, 20)
        assert "rolled back" in house.json("status")["closed"]
