"""Leaves and a checkpoint that were written once must be readable for ever."""

import pytest

from tallystick.canonical import decode, encode
from tallystick.errors import TallyError, Unproven
from tallystick.ledger import entry
from tallystick.ledger.append import Tree
from tallystick.ledger.event import Kind
from tallystick.tlog.checkpoint import verify_checkpoint
from tallystick.tlog.cosignature import verifier
from tallystick.tlog.note import parse_verifier_key
from tallystick.tlog.tree import leaf_hash
from tests.support import PROJECT

FOLDER = PROJECT / "tests" / "fixtures" / "ledger"
LEAVES = sorted(FOLDER.glob("*.bin"))


@pytest.mark.parametrize("path", LEAVES, ids=lambda path: path.name)
def test_a_leaf_of_version_1_is_read_and_written_as_it_was(path: object) -> None:
    """Each kept leaf is an event of the kind its name says, and is written again byte for byte."""
    name = getattr(path, "name", "")
    leaf = (FOLDER / name).read_bytes()
    event = entry.decode(leaf)
    assert f"{int(event.kind):03d}-{event.kind.name.lower().replace('_', '-')}" == name.split(".")[0]
    assert entry.encode(event) == leaf == encode(decode(leaf))


def test_every_kind_has_a_fixture() -> None:
    """A new kind comes with its leaves: run tests/ledger/make_fixtures.py."""
    names = {path.name for path in LEAVES}
    for kind in Kind:
        stem = f"{int(kind):03d}-{kind.name.lower().replace('_', '-')}"
        assert {f"{stem}.bin", f"{stem}.min.bin"} <= names


def test_the_kept_checkpoint_verifies() -> None:
    """The signed checkpoint over the kept leaves holds under both kept log keys, and not with a leaf changed."""
    names = (FOLDER / "log.leaves").read_text().split()
    hashes = [leaf_hash((FOLDER / name).read_bytes()) for name in names]
    keys = [parse_verifier_key(line) for line in (FOLDER / "log.vkeys").read_text().splitlines()]
    data = (FOLDER / "log.checkpoint").read_bytes()
    signed = verify_checkpoint(data, log=[verifier(key) for key in keys])
    assert signed.checkpoint.size == len(names) and signed.checkpoint.root == Tree().append(hashes).root()
    assert [proven.time_s for proven in signed.note.proven] == [None, 1_750_000_000]
    assert Tree().append([hashes[1], *hashes[1:]]).root() != signed.checkpoint.root
    wrong = data.replace(b"\n%d\n" % len(names), b"\n%d\n" % (len(names) + 1))
    with pytest.raises(Unproven):
        verify_checkpoint(wrong, log=[verifier(key) for key in keys])
    for key in keys:
        with pytest.raises(TallyError):
            verify_checkpoint(data, log=[verifier(key)], origin="another/log")
