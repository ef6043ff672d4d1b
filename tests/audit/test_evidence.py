"""Evidence: what is exported proves itself to two verifiers that share no code, holds nothing erased, and bears no changed bit."""

import dataclasses
import importlib
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tallystick.errors import Malformed, Misuse, Refused, Unproven
from tallystick.ledger.evidence import README, audit_evidence, places, read_evidence
from tallystick.node.commands import auditing as verifying
from tallystick.node.commands import record
from tallystick.node.machine import Machine
from tallystick.node.settings import Settings, load
from tallystick.primitives import sha256
from tests.audit.scene import Scene
from tests.support import PROJECT

STANDALONE = PROJECT / "src" / "tallystick_verify.py"


@pytest.fixture
def house(scene: Scene, copy: Callable[[], Path]) -> Settings:
    """A copy of the house, to take evidence from."""
    return load({}, home=copy(), env={})


@pytest.fixture
def other() -> ModuleType:
    """The stand-alone verifier, as a module."""
    return importlib.import_module("tallystick_verify")


def export(house: Settings, target: Path, *, start: int = 0, stop: int | None = None, **query: Any) -> dict[str, Any]:
    return record.log_export(house, target=target, start=start, stop=stop, query=query)


def verify(house: Settings, path: Path, *keys: str) -> dict[str, Any]:
    return verifying.verify(
        house, target=path, keys=keys, witnesses=(), checkpoints=(), full=True, state=path.with_suffix(".state"), progress=lambda *_: None
    )


def alone(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the file by itself: isolated, so that the package cannot be imported, as its own test shows."""
    return subprocess.run(
        [sys.executable, "-I", str(STANDALONE), *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


def test_an_export_is_proven_by_both(house: Settings, tmp_path: Path) -> None:
    """The entries, the keys that signed them, the pair's cosignature and the openings: both verifiers say so."""
    target = tmp_path / "evidence.tar"
    made = export(house, target, kind="signal")
    assert made["entries"] == 80 + 11 and made["openings"] == 80 + 11 - 2 + 2  # two were erased; two keys come with their places
    assert made["witnesses"] and len(made["vkeys"]) == 2
    ours = verify(house, target, *made["vkeys"])
    assert ours["ok"] and ours["counts"]["openings"] == 91
    theirs = alone(target, "--key", made["vkeys"][0], "--key", made["vkeys"][1])
    assert theirs.returncode == 0 and "91 openings" in theirs.stdout and "seen by 1 pairs" in theirs.stdout


def test_that_evidence_was_taken_is_an_entry(house: Settings, tmp_path: Path) -> None:
    """`exported` names the first entry, how many, and the file's SHA-256."""
    made = export(house, tmp_path / "evidence.tar", start=3, stop=9)
    with Machine.open(house) as machine:
        row = machine.store.entry(made["entry"])
        assert row is not None and row.event.fields["first"] == 3 and row.event.fields["count"] == 7
        assert row.event.blob("digest").hex() == made["sha256"]
    with pytest.raises(Refused):
        export(house, tmp_path / "evidence.tar")
    with pytest.raises(Misuse):
        export(house, tmp_path / "none.tar", kind="context-begun", start=10**6)


def test_what_was_erased_is_in_no_export(house: Settings, scene: Scene, tmp_path: Path) -> None:
    """Of an erased opening neither words nor salts are in the file; the entry is."""
    erased = scene.bodies[3]
    export(house, tmp_path / "one.tar", start=erased, stop=erased)
    data = (tmp_path / "one.tar").read_bytes()
    assert erased in read_evidence(data).leaves and read_evidence(data).openings == {}
    assert scene.planted.encode() not in data
    export(house, tmp_path / "two.tar", start=scene.bodies[4], stop=scene.bodies[4])
    assert scene.planted.encode() in (tmp_path / "two.tar").read_bytes()


def test_a_thousand_flips_are_found_by_both(house: Settings, other: ModuleType, tmp_path: Path) -> None:
    """Whatever bit of a file is flipped, each verifier finds it by itself."""
    target = tmp_path / "evidence.tar"
    made = export(house, target, start=10, stop=14)
    data = target.read_bytes()
    keys = [other.Key(text) for text in made["vkeys"]]
    assert audit_evidence("e", data)[1] == [] and other.evidence(data, keys)[0] == []
    dice = random.Random(20_261_122)
    spots = places(data)
    leaves = range(spots["leaves"][0], sum(spots["leaves"]))
    for number in range(1_000):
        at = dice.choice(leaves) if number % 3 == 0 else dice.randrange(len(data))
        flipped = bytearray(data)
        flipped[at] ^= 1 << dice.randrange(8)
        assert audit_evidence("e", bytes(flipped))[1], at
        assert not proven(other, bytes(flipped), keys), at


def proven(other: ModuleType, data: bytes, keys: list[Any]) -> bool:
    """What the program's `main` makes of it."""
    try:
        return not other.evidence(data, keys)[0]
    except (other.Wrong, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return False


def test_the_key_from_outside_decides(house: Settings, scene: Scene, tmp_path: Path) -> None:
    """Evidence of a whole other house agrees with itself; the key that was named says that it is another."""
    made = export(house, tmp_path / "ours.tar", stop=5)
    foreign = Scene.at(tmp_path / "foreign", commands=8)
    other = export(load({}, home=foreign.home, env={}), tmp_path / "theirs.tar", stop=5)
    assert verify(house, tmp_path / "theirs.tar")["ok"] and alone(tmp_path / "theirs.tar").returncode == 0
    assert not verify(house, tmp_path / "theirs.tar", made["vkeys"][0])["ok"]
    assert alone(tmp_path / "theirs.tar", "--key", made["vkeys"][0]).returncode == 3
    assert alone(tmp_path / "theirs.tar", "--key", other["vkeys"][1]).returncode == 0


def test_leaves_cannot_be_left_out_or_put_in(house: Settings, other: ModuleType, tmp_path: Path) -> None:
    """A file made again without one of its entries, or with a foreign one, is no evidence, though its form and sums are right."""
    export(house, tmp_path / "e.tar", start=20, stop=30)
    evidence = read_evidence((tmp_path / "e.tar").read_bytes())
    fewer = dict(evidence.leaves)
    del fewer[25]
    more = dict(evidence.leaves) | {33: evidence.leaves[25]}
    for leaves in (fewer, more):
        hashes = tuple(evidence.hashes[0] for _ in leaves)
        forged = dataclasses.replace(evidence, leaves=leaves, hashes=hashes).to_bytes()
        assert audit_evidence("e", forged)[1] and not proven(other, forged, [])


def test_the_words_for_people_are_fixed(house: Settings, other: ModuleType, tmp_path: Path) -> None:
    """Nobody gives other advice in an evidence file, though its sums are right."""
    export(house, tmp_path / "e.tar", start=20, stop=22)
    data = (tmp_path / "e.tar").read_bytes()
    old = data[512 : 512 + len(README)]
    new = old.replace(b"tally-verify FILE", b"rm -rf / # FILE  ")
    forged = data.replace(old, new).replace(sha256(old).hex().encode(), sha256(new).hex().encode())
    assert len(forged) == len(data) and forged != data
    assert audit_evidence("e", forged)[1] and not proven(other, forged, [])


def test_a_proof_file_is_checked_with_key_and_leaf_from_outside(house: Settings, tmp_path: Path) -> None:
    """`tally log prove` and `tally log check`."""
    target = tmp_path / "p.tlog-proof"
    made = record.log_prove(house, index=42, target=target)
    keys = export(house, tmp_path / "e.tar", stop=2)["vkeys"]
    assert record.log_check(house, source=target, keys=(), leaf=None)["entry"] == 42
    assert record.log_check(house, source=target, keys=keys, leaf=made["leaf_hash"])["ok"]
    with pytest.raises(Unproven):
        record.log_check(house, source=target, keys=keys, leaf="00" * 32)
    with pytest.raises(Misuse):
        record.log_prove(house, index=10**9, target=tmp_path / "q")
    target.write_bytes(target.read_bytes()[:100])
    with pytest.raises(Malformed):
        record.log_check(house, source=target, keys=keys, leaf=None)


def test_the_stand_alone_verifier_imports_nothing_of_ours(tmp_path: Path) -> None:
    """One file, standard library and `cryptography`: it runs where the package is not."""
    code = f"""
import json, runpy, sys
sys.argv = ["tally-verify", "--help"]
try:
    runpy.run_path({str(STANDALONE)!r}, run_name="__main__")
except SystemExit:
    pass
print(json.dumps([name for name in sys.modules if name.split(".")[0] == "tallystick"]))
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []
    assert "tallystick" not in "".join(line for line in STANDALONE.read_text().splitlines() if line.startswith(("import", "from")))
