"""Witnessing: the answer to each submission is the specification's, and a log takes only what its witness has signed."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.canonical import b64
from tallystick.errors import Malformed, Misuse, Refused, Unavailable, Unproven
from tallystick.primitives import Ed25519KeyPair, sha256
from tallystick.tlog.checkpoint import Checkpoint, read_checkpoint
from tallystick.tlog.cosignature import verifier
from tallystick.tlog.note import Signature, SignatureType, Verifier, VerifierKey, key_id, parse
from tallystick.tlog.proof import consistency_proof
from tallystick.tlog.tile import TileTree
from tallystick.tlog.tree import EMPTY_ROOT
from tallystick.tlog.witness import (
    MAX_ANSWER_BYTES,
    MAX_SUBMISSION_BYTES,
    SIZE_TYPE,
    TEXT_TYPE,
    Answer,
    Conflict,
    Cosign,
    Seen,
    Submission,
    accepted,
    after_conflict,
    decide,
    read_answer,
    read_submission,
    with_cosignatures,
)
from tests.tlog.trees import LOG, LOG_KEY, ORIGIN, PQ_KEY, TIME_S, Tree, Witness, signed

TREE = Tree(300)
TILES = {size: TileTree(size, TREE.root(size), Tree(size).fetch) for size in (1, 100, 257, 300)}
LOGS: Mapping[str, list[Verifier]] = {ORIGIN: [verifier(LOG_KEY), verifier(PQ_KEY)]}
WITNESS = Witness("witness.test")
SECOND = Witness("witness.test/pq", pq=True)


def point(size: int) -> Checkpoint:
    return Checkpoint(origin=ORIGIN, size=size, root=TREE.root(size))


@cache
def note(size: int) -> bytes:
    return signed(point(size))  # ML-DSA signatures are salted: each time another


def submission(old: int, size: int) -> Submission:
    proof = consistency_proof(old, size, TILES[size].subtree) if 0 < old < size else ()
    return Submission(old=old, proof=proof, note=note(size))


def seen(size: int) -> dict[str, Seen]:
    return {ORIGIN: Seen(size=size, root=TREE.root(size), note=note(size))}


def status(data: bytes | Submission, last: Mapping[str, Seen] | None = None) -> int:
    found = decide(data if isinstance(data, bytes) else data.to_bytes(), LOGS, last or {})
    return found.status if isinstance(found, Answer) else 200


# --- The witness's side --------------------------------------------------------------------------------------------------------


def test_the_lines_of_a_submission() -> None:
    """The old size, the proof, an empty line, the checkpoint."""
    sent = submission(100, 300)
    lines = sent.to_bytes().partition(b"\n\n")[0].decode().split("\n")
    assert lines == ["old 100", *map(b64, sent.proof)]
    assert sent.to_bytes().endswith(b"\n\n" + sent.note)
    assert read_submission(sent.to_bytes()) == sent


def test_a_log_grows_under_its_witness() -> None:
    """From nothing, further with a proof, the same again, each cosigned; what was cosigned last is the new state."""
    last: dict[str, Seen] = {}
    for old, size in ((0, 1), (1, 100), (100, 257), (257, 257), (257, 300)):
        found = decide(submission(old, size).to_bytes(), LOGS, last)
        assert isinstance(found, Cosign)
        assert found.checkpoint == point(size)
        assert (found.seen.size, found.seen.root) == (size, TREE.root(size))
        last[ORIGIN] = found.seen
        answer = accepted([WITNESS.cosign(found.checkpoint)])
        assert answer.status == 200
        assert read_answer(200, answer.kind, answer.body, text=found.checkpoint.text, witness=[verifier(WITNESS.key)])


def test_an_empty_log_is_cosigned_too() -> None:
    """Then anything continues it, without a proof."""
    empty = Checkpoint(origin=ORIGIN, size=0, root=EMPTY_ROOT)
    found = decide(Submission(old=0, proof=(), note=signed(empty)).to_bytes(), LOGS, {})
    assert isinstance(found, Cosign)
    assert status(submission(0, 100), {ORIGIN: found.seen}) == 200
    assert status(replace(submission(0, 100), proof=(bytes(32),)), {ORIGIN: found.seen}) == 422


def test_lines_nobody_checked_are_not_kept() -> None:
    """What a witness stores and shows carries the signatures that it verified, and no stranger's."""
    sent = replace(submission(0, 100), note=note(100) + Witness("stranger").cosign(point(100)).line().encode())
    found = decide(sent.to_bytes(), LOGS, {})
    assert isinstance(found, Cosign)
    assert [line.name for line in parse(found.seen.note).signatures] == [ORIGIN, ORIGIN]


FORMS = ("00", "042", "+42", "4_2", " 1", "1 ", "-1", "٤٢", "", "9223372036854775808")
HEAD = b"\n100\n" + b64(TREE.root(100)).encode()
BAD = {
    "nothing": b"",
    "no empty line": b"old 0\n" + note(100).replace(b"\n\n", b"\n"),
    "no old line": b"\n" + note(100),
    "old without size": b"old\n\n" + note(100),
    **{f"old {form!r}": f"old {form}\n\n".encode() + note(100) for form in FORMS},
    "Old": b"Old 0\n\n" + note(100),
    "old with a tab": b"old\t0\n\n" + note(100),
    "old twice": b"old 0\nold 0\n\n" + note(100),
    "a carriage return": b"old 0\r\n\r\n" + note(100),
    "a short hash": b"old 0\n" + b64(bytes(31)).encode() + b"\n\n" + note(100),
    "a long hash": b"old 0\n" + b64(bytes(33)).encode() + b"\n\n" + note(100),
    "a hash with junk": b"old 0\n" + b"A" * 42 + b"B=\n\n" + note(100),
    "a hash without padding": b"old 0\n" + b"A" * 43 + b"\n\n" + note(100),
    "64 hashes": b"old 0\n" + (b64(bytes(32)).encode() + b"\n") * 64 + b"\n" + note(100),
    "no checkpoint": b"old 0\n\n",
    "a checkpoint without signatures": b"old 0\n\n" + note(100).partition(b"\n\n")[0] + b"\n",
    "a size of 0100": b"old 0\n\n" + note(100).replace(b"\n100\n", b"\n0100\n"),
    "a short root": b"old 0\n\n" + note(100).replace(b64(TREE.root(100)).encode(), b64(bytes(31)).encode()),
    "an empty log with a short root": b"old 0\n\n" + note(100).replace(HEAD, b"\n0\n" + b64(bytes(31)).encode()),
    "an empty line among the extensions": b"old 0\n\n" + note(100).replace(b"\n\n", b"\n\nx\n\n", 1),
    "too long": b"old 0\n\n" + b"x" * MAX_SUBMISSION_BYTES,
}


@pytest.mark.parametrize("data", list(BAD.values()), ids=list(BAD))
def test_what_is_no_submission_gets_400(data: bytes) -> None:
    """Numbers, hashes and lines in other forms; checkpoints that are none. Whatever was cosigned last."""
    assert status(data) == 400
    assert status(data, seen(100)) == 400


def test_an_old_size_beyond_the_checkpoint_gets_400() -> None:
    """Also where it is what was cosigned last: a log does not shrink."""
    assert status(replace(submission(0, 100), old=101)) == 400
    assert status(replace(submission(0, 100), old=257), seen(257)) == 400


def test_an_unknown_log_gets_404() -> None:
    """Whatever it has signed with, and whatever else is wrong with its checkpoint."""
    other = replace(point(100), origin="other.test/log")
    assert status(Submission(old=0, proof=(), note=signed(other))) == 404
    assert status(b"old 5\n\n" + signed(other).replace(b"\n100\n", b"\n0100\n")) == 404


def test_signatures_that_do_not_hold_get_403() -> None:
    """None by a key we trust; a trusted key whose line does not hold, even beside one that does."""
    text, _, lines = note(100).partition(b"\n\n")
    stranger = Witness("stranger").cosign(point(100)).line().encode()
    assert status(b"old 0\n\n" + text + b"\n\n" + stranger) == 403
    first, second = lines.splitlines(keepends=True)
    assert status(b"old 0\n\n" + text + b"\n\n" + first) == 200
    assert status(b"old 0\n\n" + text + b"\n\n" + second) == 200
    broken = Signature(name=ORIGIN, key_id=LOG_KEY.key_id, signature=bytes(64)).line().encode()
    for wrong in (broken, broken + second, second + broken, second + stranger + broken):
        assert status(b"old 0\n\n" + text + b"\n\n" + wrong) == 403
    # The log's name and another key: not trusted.
    other = Ed25519KeyPair.from_private(sha256(b"another"))
    line = Signature(name=ORIGIN, key_id=key_id(ORIGIN, SignatureType.ED25519, other.public), signature=other.sign(text + b"\n"))
    assert status(b"old 0\n\n" + text + b"\n\n" + line.line().encode()) == 403
    # A signature of another text of ours.
    assert status(b"old 0\n\n" + note(257).partition(b"\n\n")[0] + b"\n\n" + lines) == 403


@pytest.mark.parametrize(("old", "last"), [(0, 100), (1, 100), (100, 0), (100, 257), (257, 100), (1, 0)])
def test_another_old_size_gets_409_and_the_size(old: int, last: int) -> None:
    """The body is what was cosigned last, 0 for nothing, as `text/x.tlog.size`."""
    found = decide(replace(submission(0, 300), old=old).to_bytes(), LOGS, seen(last) if last else {})
    assert found == Answer(status=409, body=b"%d\n" % last, kind=SIZE_TYPE)


@pytest.mark.parametrize("change", ["none", "short", "long", "flipped", "swapped", "of another"])
def test_a_proof_that_does_not_hold_gets_422(change: str) -> None:
    """Missing, too short, too long, one bit, two hashes exchanged, from another size."""
    good = submission(100, 300)
    first, second, *rest = good.proof
    proof = {
        "none": (),
        "short": good.proof[:-1],
        "long": (*good.proof, bytes(32)),
        "flipped": (bytes((first[0] ^ 1,)) + first[1:], second, *rest),
        "swapped": (second, first, *rest),
        "of another": submission(257, 300).proof,
    }[change]
    assert status(good, seen(100)) == 200
    assert status(replace(good, proof=proof), seen(100)) == 422


def test_a_proof_where_there_is_none_gets_422() -> None:
    """From nothing, and between equal sizes."""
    assert status(replace(submission(0, 100), proof=(bytes(32),))) == 422
    assert status(replace(submission(100, 100), proof=(bytes(32),)), seen(100)) == 422


def test_one_size_with_two_roots_gets_422_and_both_notes_are_evidence() -> None:
    """The log has signed two histories."""
    fork = signed(replace(point(100), root=sha256(b"another")))
    found = decide(Submission(old=100, proof=(), note=fork).to_bytes(), LOGS, seen(100))
    assert isinstance(found, Answer)
    assert found.status == 422
    assert found.suspect == (note(100), fork)


def test_an_empty_log_with_another_root_gets_422() -> None:
    """The root of nothing is SHA-256 of nothing."""
    text = f"{ORIGIN}\n0\n{b64(bytes(32))}\n"
    line = Signature(name=ORIGIN, key_id=LOG_KEY.key_id, signature=LOG.sign(text.encode())).line()
    assert status(b"old 0\n\n" + (text + "\n" + line).encode()) == 422


def test_a_rewritten_history_is_never_cosigned() -> None:
    """A longer log with another past, signed by the log itself, under every proof one can think of."""
    other = Tree(300)
    other.leaves[5] = sha256(b"rewritten")
    fork = signed(Checkpoint(origin=ORIGIN, size=300, root=other.root()))
    for proof in ((), submission(100, 300).proof, submission(257, 300).proof, (bytes(32),) * 5):
        assert status(Submission(old=100, proof=proof, note=fork), seen(100)) == 422


@settings(max_examples=60)
@given(st.binary(max_size=200), st.integers(0, 300))
def test_any_bytes_have_an_answer(junk: bytes, at: int) -> None:
    """Alone and in a good submission; what is read as one is written as the same bytes, and nothing changed is cosigned."""
    good = submission(100, 300).to_bytes()
    for data in (junk, good[:at] + junk + good[at + len(junk) :], good[:at] + junk + good[at:]):
        found = decide(data, LOGS, seen(100))
        if isinstance(found, Cosign):
            assert found.checkpoint == point(300)
        else:
            assert found.status in (400, 403, 404, 409, 422)
        try:
            sent = read_submission(data)
        except Malformed:
            continue
        assert sent.to_bytes() == data


# --- The log's side ------------------------------------------------------------------------------------------------------------

TEXT = point(300).text
KEYS: list[Verifier] = [verifier(WITNESS.key), verifier(SECOND.key)]


def body(*lines: Signature) -> bytes:
    return accepted(lines).body


def test_cosignatures_that_hold_are_taken() -> None:
    """All lines of keys we know, each with its time; strangers' are passed over. They join the note, one for each key."""
    stranger = Witness("stranger").cosign(point(300))
    lines = WITNESS.cosign(point(300)), SECOND.cosign(point(300))
    found = read_answer(200, TEXT_TYPE, body(stranger, *lines), text=TEXT, witness=KEYS)
    assert not isinstance(found, Conflict)
    assert [(proven.key, proven.time_s) for proven in found] == [(WITNESS.key, TIME_S), (SECOND.key, TIME_S)]
    joined = with_cosignatures(note(300), [proven.signature for proven in found])
    assert joined == note(300) + "".join(line.line() for line in lines).encode()
    later = WITNESS.cosign(point(300), TIME_S + 9)
    _, unproven = read_checkpoint(with_cosignatures(joined, [later]))
    assert [line for line in unproven.signatures if line.name == WITNESS.name] == [later]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", Malformed),
        (b"\n", Malformed),
        (b"hello\n", Malformed),
        (b"\xff\n", Malformed),
        (body(WITNESS.cosign(point(300)))[:-1], Malformed),
        (body(WITNESS.cosign(point(300))) + b"\n", Malformed),
        (b"\n" + body(WITNESS.cosign(point(300))), Malformed),
        (body(*[WITNESS.cosign(point(300))] * 101), Malformed),
        (b"x" * (MAX_ANSWER_BYTES + 1), Malformed),
        (body(WITNESS.cosign(point(257))), Unproven),
        (body(SECOND.cosign(point(300)), WITNESS.cosign(point(257))), Unproven),
        (body(Witness("stranger").cosign(point(300))), Unproven),
        (body(WITNESS.cosign(point(300), time_s=0)), Unproven),
        (signed(point(300)), Malformed),
    ],
)
def test_other_answers_than_the_witness_signed_are_refused(data: bytes, error: type[Exception]) -> None:
    """No lines, other lines, too many; cosignatures of another checkpoint, by strangers alone, or without a time."""
    with pytest.raises(error):
        read_answer(200, TEXT_TYPE, data, text=TEXT, witness=KEYS)


def test_a_conflict_says_from_where_to_go_on() -> None:
    """A smaller size is where to begin the next proof; a larger one means that we are behind ourselves."""
    found = read_answer(409, SIZE_TYPE + "; charset=utf-8", b"100\n", text=TEXT, witness=KEYS)
    assert found == Conflict(size=100)
    assert after_conflict(Conflict(size=100), 300) == 100
    assert after_conflict(Conflict(size=300), 300) == 300
    with pytest.raises(Refused, match="seen 301"):
        after_conflict(Conflict(size=301), 300)
    # And so it ends: the second submission is taken.
    first = decide(submission(0, 300).to_bytes(), LOGS, seen(100))
    assert isinstance(first, Answer)
    again = read_answer(first.status, first.kind, first.body, text=TEXT, witness=KEYS)
    assert isinstance(again, Conflict)
    assert status(submission(after_conflict(again, 300), 300), seen(100)) == 200


@pytest.mark.parametrize(
    "data", [b"", b"100", b"100\n\n", b"0100\n", b"+1\n", b"\xd9\xa1\n", b"1e3\n", b"9223372036854775808\n", b"1" * 80 + b"\n"]
)
def test_a_conflict_has_one_form(data: bytes) -> None:
    """A decimal size and a newline."""
    with pytest.raises(Malformed):
        read_answer(409, SIZE_TYPE, data, text=TEXT, witness=KEYS)


@pytest.mark.parametrize("code", [400, 403, 404, 409, 422])
def test_a_refusal_is_told_in_words(code: int) -> None:
    """With what the witness says, made harmless."""
    with pytest.raises(Refused, match=str(code)) as caught:
        read_answer(code, TEXT_TYPE, b"no\x1b[31m \xff thanks\nand more", text=TEXT, witness=KEYS)
    assert caught.value.hint.isprintable()
    assert "thanks" in caught.value.hint
    assert "more" not in caught.value.hint


@pytest.mark.parametrize("code", [100, 204, 301, 429, 500, 503])
def test_anything_else_is_unavailable(code: int) -> None:
    """The witness could not answer."""
    with pytest.raises(Unavailable):
        read_answer(code, TEXT_TYPE, b"", text=TEXT, witness=KEYS)


@pytest.mark.parametrize("change", [{"old": -1}, {"old": 2**63}, {"proof": (b"short",)}, {"proof": (bytes(32),) * 64}, {"note": b"junk"}])
def test_what_could_not_be_read_is_not_submitted(change: dict[str, object]) -> None:
    """A size, a hash or a note of another form."""
    with pytest.raises(Misuse):
        replace(submission(0, 100), **change).to_bytes()  # type: ignore[arg-type]


@given(st.sampled_from([200, 409]), st.binary(max_size=200))
def test_any_answer_raises_declared_errors_only(code: int, data: bytes) -> None:
    """And junk is never taken for a cosignature."""
    try:
        found = read_answer(code, SIZE_TYPE, data, text=TEXT, witness=KEYS)
    except (Malformed, Unproven):
        return
    assert isinstance(found, Conflict)
    assert data == b"%d\n" % found.size


def test_a_key_of_another_type_does_not_stand_in() -> None:
    """The witness's key as a log's key (0x01) has another id: its line is a stranger's."""
    wrong = verifier(VerifierKey(name=WITNESS.name, type=SignatureType.ED25519, public=WITNESS.key.public))
    with pytest.raises(Unproven):
        read_answer(200, TEXT_TYPE, body(WITNESS.cosign(point(300))), text=TEXT, witness=[wrong])
