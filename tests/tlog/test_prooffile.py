"""Proof files: what is written is read as it was, what is swapped or cut is found, and the policy decides who must have seen it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import Malformed, Misuse, TallyError, Unproven
from tallystick.tlog.checkpoint import Checkpoint
from tallystick.tlog.policy import Policy, PolicyLog, read_policy
from tallystick.tlog.proof import inclusion_proof
from tallystick.tlog.prooffile import HEADER, MAX_EXTRA_BYTES, ProofFile, read_proof
from tallystick.tlog.tile import TileTree
from tests.tlog.trees import LOG_KEY, ORIGIN, PQ_KEY, Tree, Witness, signed

TREE = Tree(300)
TILES = TileTree(300, TREE.root(), TREE.fetch)
POINT = Checkpoint(origin=ORIGIN, size=300, root=TREE.root())
WITNESS = Witness("witness.test")
NOTE = signed(POINT, [WITNESS])
POLICY = read_policy(f"log {LOG_KEY}\nlog {PQ_KEY}\nwitness w {WITNESS.key}\nquorum w\n".encode())


def proof(index: int, note: bytes = NOTE, extra: bytes = b"") -> ProofFile:
    return ProofFile(index=index, hashes=inclusion_proof(index, 300, TILES.subtree), note=note, extra=extra)


GOOD = proof(123, extra=b"an entry").to_bytes()


def test_the_lines_of_a_proof() -> None:
    """Header, extra data, index, hashes from the leaf up, an empty line, the checkpoint as it is."""
    lines = GOOD.partition(b"\n\n")[0].decode().split("\n")
    assert lines[:3] == [HEADER, "extra YW4gZW50cnk=", "index 123"]
    assert len(lines) == 3 + len(proof(123).hashes)
    assert GOOD.endswith(b"\n\n" + NOTE)
    assert b"extra" not in proof(123).to_bytes()


@pytest.mark.parametrize("index", [0, 1, 123, 255, 256, 299])
def test_each_entry_has_its_proof_and_no_other(index: int) -> None:
    """It holds for its leaf; another leaf, another entry's hashes and another index are unproven or malformed."""
    file = read_proof(proof(index).to_bytes())
    assert file == proof(index)
    assert file.verify(TREE.leaves[index], POLICY).checkpoint == POINT
    with pytest.raises(Unproven):
        file.verify(TREE.leaves[(index + 1) % 300], POLICY)
    for other in (0, 1, 123, 255, 256, 299):
        if other != index:
            for swapped in (replace(file, index=other), replace(file, hashes=proof(other).hashes)):
                with pytest.raises((Unproven, Malformed)):
                    swapped.verify(TREE.leaves[index], POLICY)


def test_a_proof_of_a_log_of_one() -> None:
    """It has no hashes at all."""
    point = Checkpoint(origin=ORIGIN, size=1, root=TREE.root(1))
    file = ProofFile(index=0, hashes=(), note=signed(point, [WITNESS]))
    assert read_proof(file.to_bytes()) == file
    file.verify(TREE.leaves[0], POLICY)


@pytest.mark.parametrize("change", ["short", "long", "flipped", "swapped", "none"])
def test_other_hashes_are_refused(change: str) -> None:
    """Too few, too many, one bit, two of them exchanged."""
    file = proof(123)
    first, second, *rest = file.hashes
    hashes = {
        "short": file.hashes[:-1],
        "long": (*file.hashes, bytes(32)),
        "flipped": (bytes((first[0] ^ 1,)) + first[1:], second, *rest),
        "swapped": (second, first, *rest),
        "none": (),
    }[change]
    with pytest.raises((Malformed, Unproven)):
        replace(file, hashes=hashes).verify(TREE.leaves[123], POLICY)


def test_a_checkpoint_of_another_tree_or_log_or_without_quorum_is_unproven() -> None:
    """Whatever the hashes say, the checkpoint comes first."""
    for note, policy in (
        (signed(replace(POINT, root=bytes(32)), [WITNESS]), POLICY),
        (signed(replace(POINT, size=1000), [WITNESS]), POLICY),
        (signed(replace(POINT, origin="other.test/log"), [WITNESS]), POLICY),
        (signed(POINT), POLICY),
        (signed(POINT, [Witness("other.test")]), POLICY),
    ):
        with pytest.raises((Unproven, Malformed)):
            replace(proof(123), note=note).verify(TREE.leaves[123], policy)
    with pytest.raises(Misuse):
        proof(123).verify(TREE.leaves[123], Policy())
    proof(123, note=signed(POINT)).verify(TREE.leaves[123], Policy(logs=(PolicyLog(key=LOG_KEY),)))


def test_extra_data_is_carried_and_proves_nothing() -> None:
    """Changed, taken away or added, the proof holds as before; up to 64 KiB."""
    for extra in (b"", b"x", bytes(MAX_EXTRA_BYTES)):
        file = read_proof(proof(123, extra=extra).to_bytes())
        assert file.extra == extra
        file.verify(TREE.leaves[123], POLICY)


FORMS = ("0123", "+123", "1_23", " 123", "123 ", "-1", "", "١٢٣", "1e2", "300", "18446744073709551616")
BAD = {
    "nothing": b"",
    "another header": GOOD.replace(b"@v1", b"@v2"),
    "no header": GOOD[len(HEADER) + 1 :],
    "empty extra": GOOD.replace(b"extra YW4gZW50cnk=", b"extra "),
    "junk in extra": GOOD.replace(b"YW4gZW50cnk=", b"YW4gZW50cnl="),
    "extra without padding": GOOD.replace(b"YW4gZW50cnk=", b"YW4gZW50cnk"),
    "extra twice": GOOD.replace(b"extra YW4gZW50cnk=\n", b"extra YW4gZW50cnk=\nextra YW4gZW50cnk=\n"),
    "extra after the index": GOOD.replace(b"extra YW4gZW50cnk=\nindex 123\n", b"index 123\nextra YW4gZW50cnk=\n"),
    "extra too long": GOOD.replace(b"YW4gZW50cnk=", b"AAAA" * (MAX_EXTRA_BYTES // 3 + 1)),
    "no index": GOOD.replace(b"index 123\n", b""),
    "index twice": GOOD.replace(b"index 123\n", b"index 123\nindex 123\n"),
    **{f"index {form!r}": GOOD.replace(b"index 123", b"index " + form.encode()) for form in FORMS},
    "a tab": GOOD.replace(b"index 123", b"index\t123"),
    "no empty line": GOOD.replace(b"\n\nt", b"\nt"),
    "two empty lines": GOOD.replace(b"\n\nt", b"\n\n\nt"),
    "carriage returns": GOOD.replace(b"\n", b"\r\n"),
    "a hash of 31 bytes": GOOD.replace(b"\n\nt", b"\n" + b"A" * 40 + b"AA==\n\nt"),
    "a hash of 33 bytes": GOOD.replace(b"\n\nt", b"\n" + b"A" * 44 + b"\n\nt"),
    "a hash with junk": GOOD.replace(b"\n\nt", b"\n" + b"A" * 42 + b"B=\n\nt"),
    "an empty hash": GOOD.replace(b"index 123\n", b"index 123\n\n"),
    "64 hashes": GOOD.replace(b"\n\nt", (b"\n" + b"A" * 43 + b"=") * 64 + b"\n\nt"),
    "no checkpoint": GOOD[: GOOD.index(b"\n\n") + 2],
    "a checkpoint without signatures": GOOD[: GOOD.index("\n\n—".encode()) + 1],
    "a checkpoint of size 0123": GOOD.replace(b"\n300\n", b"\n0300\n"),
    "bytes after it": GOOD + b"\n",
    "no UTF-8": GOOD.replace(b"index", b"ind\xffex"),
}


@pytest.mark.parametrize("data", list(BAD.values()), ids=list(BAD))
def test_what_is_no_proof_is_malformed(data: bytes) -> None:
    """Lines missing, twice or in another order; numbers, base64 and hashes in other forms; checkpoints that are none."""
    assert data != GOOD
    with pytest.raises(Malformed):
        read_proof(data)


def test_every_cut_is_malformed() -> None:
    """No beginning of a proof is a proof, but where only whole signature lines are missing."""
    whole = {GOOD.index(line) + len(line) for line in GOOD[GOOD.index("\n\n—".encode()) + 2 :].splitlines(keepends=True)}
    for end in range(len(GOOD)):
        if end not in whole:
            with pytest.raises(Malformed):
                read_proof(GOOD[:end])


def test_every_flipped_byte_is_found() -> None:
    """But in the extra data, for which nobody vouches, and in lines by keys that the policy does not need."""
    lines = NOTE.splitlines(keepends=True)
    note = b"".join(lines[:5] + lines[6:])  # without the log's second signature
    good = proof(123, note=note, extra=b"an entry").to_bytes()
    read_proof(good).verify(TREE.leaves[123], POLICY)
    extra = range(good.index(b"extra"), good.index(b"index"))
    for at in (place for place in range(len(good)) if place not in extra):
        data = good[:at] + bytes((good[at] ^ 1,)) + good[at + 1 :]
        with pytest.raises(TallyError):
            read_proof(data).verify(TREE.leaves[123], POLICY)


@pytest.mark.parametrize(
    "change",
    [{"index": 300}, {"index": -1}, {"hashes": (b"short",)}, {"note": b"junk"}, {"extra": bytes(MAX_EXTRA_BYTES + 1)}],
)
def test_what_could_not_be_read_is_not_written(change: dict[str, object]) -> None:
    """An index beyond the checkpoint, hashes of another length, a note that is none."""
    with pytest.raises(Misuse):
        replace(proof(1), **change).to_bytes()  # type: ignore[arg-type]


@given(st.binary(max_size=120), st.integers(0, 400))
def test_any_bytes_are_a_proof_or_malformed(junk: bytes, at: int) -> None:
    """What is read is written as the same bytes."""
    for data in (junk, GOOD[:at] + junk + GOOD[at + len(junk) :], GOOD[:at] + junk + GOOD[at:]):
        try:
            file = read_proof(data)
        except Malformed:
            continue
        assert file.to_bytes() == data
