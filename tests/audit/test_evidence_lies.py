"""An evidence file made by somebody who lies: witnesses that saw nothing or are nobody, keys left out, openings hung onto entries."""

import dataclasses
import hashlib
import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tallystick.canonical import b64, encode
from tallystick.errors import Unproven
from tallystick.ledger import entry
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.evidence import Evidence, read_evidence
from tallystick.node.commands import auditing, record
from tallystick.node.commands.keys import key_rotate
from tallystick.node.settings import load
from tallystick.node.verifying import judge
from tallystick.primitives import ed25519_public, ed25519_sign
from tallystick.tlog.checkpoint import read_checkpoint
from tallystick.tlog.cosignature import cosign
from tallystick.tlog.note import SignatureType, VerifierKey
from tallystick.tlog.witness import with_cosignatures

SEED = bytes(range(32))


def witness(name: str) -> VerifierKey:
    """A key that its maker calls a witness."""
    return VerifierKey(name=name, type=SignatureType.COSIGNATURE, public=ed25519_public(SEED))


@pytest.fixture
def evidence(copy: Callable[[], Path], tmp_path: Path) -> Evidence:
    """What a house exports."""
    record.log_export(load({}, home=copy(), env={}), target=tmp_path / "honest.tar", start=0, stop=None, query={})
    return read_evidence((tmp_path / "honest.tar").read_bytes())


def flaws(evidence: Evidence, folder: Path, *named: VerifierKey, policy: Path | None = None) -> tuple[list[str], list[str], int | None]:
    """What `tally verify` and `tally-verify` have against it; up to which entry the policy's quorum has seen it."""
    path = folder / "lies.tar"
    path.write_bytes(evidence.to_bytes())
    ours = auditing.verify(
        load({}, home=folder, env={}),
        target=path,
        keys=[str(evidence.log[0])],
        witnesses=list(map(str, named)),
        checkpoints=(),
        policy=policy,
        full=True,
        state=folder / "state",
        progress=lambda *_: None,
    )
    other = importlib.import_module("tallystick_verify")
    theirs, _ = other.evidence(path.read_bytes(), [other.Key(str(evidence.log[0]))])
    return [each["meaning"] for each in ours["findings"]], theirs, ours["attested"]


def test_a_witness_that_signed_nothing_has_seen_nothing(evidence: Evidence, tmp_path: Path) -> None:
    """To write a witness's key into the file is not its cosignature: neither `--witness` nor a policy's quorum is met by it."""
    big = witness("example.org/w")
    lie = dataclasses.replace(evidence, witnesses=(*evidence.witnesses, big))
    ours, theirs, _ = flaws(lie, tmp_path, big)
    assert "the witness example.org/w has not signed this checkpoint" in ours and theirs
    policy = tmp_path / "policy"
    policy.write_text(f"log {evidence.log[0]}\nwitness big {big} https://example.org/\nquorum big\n")
    ours, _, attested = flaws(lie, tmp_path, policy=policy)
    assert not attested and any("quorum has witnessed nothing" in each for each in ours)


def test_a_pair_that_no_entry_names_is_nobody(evidence: Evidence, tmp_path: Path) -> None:
    """A house mints a key, calls it a pair's and cosigns with it: both verifiers look for the pairing among the entries."""
    ghost = witness("tallystick/" + "ab" * 32)
    line = cosign(
        read_checkpoint(evidence.checkpoint)[0],
        name=ghost.name,
        ed25519=(ghost.public, lambda message: ed25519_sign(SEED, message)),
        time_s=1,
    )
    lie = dataclasses.replace(evidence, witnesses=(*evidence.witnesses, ghost), checkpoint=with_cosignatures(evidence.checkpoint, (line,)))
    ours, theirs, _ = flaws(lie, tmp_path)
    assert any("no entry here names" in each for each in ours) and any("no entry here names" in each for each in theirs)


def test_keys_of_the_log_are_all_there_and_once(evidence: Evidence, tmp_path: Path) -> None:
    """Without its second signature a log is half proven, and a key that is named twice proves nothing more."""
    log = evidence.log
    lies = (log[:1], log + log[:1], (*log[:1], VerifierKey(name=log[1].name, type=log[0].type, public=ed25519_public(SEED))))
    for keys in lies:
        ours, theirs, _ = flaws(dataclasses.replace(evidence, log=keys), tmp_path)
        assert ours and theirs
    ours, theirs, _ = flaws(dataclasses.replace(evidence, witnesses=log[:1]), tmp_path)
    assert "it names a key twice" in ours and theirs
    assert flaws(evidence, tmp_path)[:2] == ([], [])


def test_a_key_that_is_named_twice_on_the_command_line(evidence: Evidence, tmp_path: Path) -> None:
    """It counts once, also where a log's key is called a witness's."""
    assert flaws(evidence, tmp_path, *evidence.witnesses, *evidence.witnesses)[0] == []
    assert flaws(evidence, tmp_path, evidence.log[0])[0] == [f"{evidence.log[0].name} has not seen this checkpoint"]


def test_an_opening_belongs_to_what_commits_to_it(evidence: Evidence, tmp_path: Path) -> None:
    """An opening hung onto an entry that commits to nothing, and another filter for a question to the ledger, are found by both."""
    kinds = {index: entry.decode(leaf).kind for index, leaf in evidence.leaves.items()}
    bare = next(index for index, kind in kinds.items() if kind is Kind.STARTED)
    some = next(iter(evidence.openings.values()))
    for index, opening in ((bare, some), (bare, encode([bytes(32), {"kind": "severed"}]))):
        ours, theirs, _ = flaws(dataclasses.replace(evidence, openings={**evidence.openings, index: opening}), tmp_path)
        assert any("commits to nothing" in each for each in ours) and any("its opening is not" in each for each in theirs)


def test_the_filter_of_a_question_is_the_one_that_was_asked(evidence: Evidence, tmp_path: Path) -> None:
    """Its salt and text make the digest that the entry holds; anything else is a finding, and the right one is none."""
    asked = encode([bytes(32), {"kind": "severed"}])
    digest = hashlib.sha256(b"tally query v1" + bytes(32) + encode({"kind": "severed"})).digest()
    event = Event.of(Kind.QUERY, 1, "local", digest=digest, what="log", count=0)
    assert judge(event, asked) == ""
    for wrong in (encode([bytes(32), {"kind": "signal"}]), encode([1, {}]), encode([bytes(32)]), encode({}), b"", b"\x82", b"\xff"):
        assert judge(event, wrong)


def test_a_line_that_nobody_checked_is_no_signature(copy: Callable[[], Path], tmp_path: Path) -> None:
    """Anybody can write a line with a famous name into a proof: it is told as unchecked, and as nothing else."""
    house = load({}, home=copy(), env={})
    target = tmp_path / "p.tlog-proof"
    record.log_prove(house, index=42, target=target)
    key = VerifierKey(name="example.org/famous", type=SignatureType.COSIGNATURE, public=ed25519_public(SEED))
    target.write_text(target.read_text() + f"— {key.name} {b64(key.key_id + bytes(72))}\n")
    told = record.log_check(house, source=target, keys=(), leaf=None)
    assert told["unchecked"][-1] == "example.org/famous"
    with pytest.raises(Unproven, match="does not hold"):
        record.log_check(house, source=target, keys=[str(key)], leaf=None)


def test_what_the_old_keys_signed_stays_good(copy: Callable[[], Path], tmp_path: Path) -> None:
    """After new keys of the log both verifiers prove its evidence, and a proof that was made before holds."""
    house = load({}, home=copy(), env={})
    before = tmp_path / "before.tlog-proof"
    record.log_prove(house, index=42, target=before)
    key_rotate(house, use="log")
    assert record.log_check(house, source=before, keys=(), leaf=None)["entry"] == 42
    record.log_export(house, target=tmp_path / "e.tar", start=0, stop=None, query={})
    evidence = read_evidence((tmp_path / "e.tar").read_bytes())
    assert Kind.KEY_ROTATED in {entry.decode(leaf).kind for leaf in evidence.leaves.values()}
    assert flaws(evidence, tmp_path)[:2] == ([], [])
