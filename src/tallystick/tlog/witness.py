"""Witnessing (C2SP tlog-witness): a log asks for a cosignature, a witness says yes only to what continues what it cosigned last.

    POST <prefix>/add-checkpoint                       200  cosignature lines
        old <size>                                     400  not a request, or old is larger than the checkpoint
        <base64 hash>       (0 to 63: from old on)     403  no signature of a key we trust, or one that does not hold
        <empty line>                                   404  no such log here
        <signed checkpoint>                            409  old is not what was cosigned last; the body says what is
                                                       422  the proof does not hold, or one size has two roots

The witness's side: `decide` is the whole of its rules, from a request and what it cosigned last to an answer or a `Cosign`. The shell
holds the log's lock from before it reads what was cosigned last until the new checkpoint is durable, and only then signs and says 200:
else two requests that both continue the same old tree could take it back. The log's side: `Submission.to_bytes`, `read_answer`,
`after_conflict`.
Sources: tlog-witness v1.0.0 and its rules of 2026-07 (an empty tree's root, one size with two roots: 422).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tallystick.canonical import b64, decimal, to_decimal, unb64
from tallystick.errors import Malformed, Misuse, Refused, Unavailable, Unproven
from tallystick.tlog.checkpoint import Checkpoint, parse_text
from tallystick.tlog.note import MAX_SIGNATURES, Note, Proven, Signature, Verifier, parse, parse_signature, write
from tallystick.tlog.proof import MAX_HASHES, verify_consistency
from tallystick.tlog.tree import EMPTY_ROOT, HASH_BYTES, MAX_SIZE

PATH: Final = "/add-checkpoint"
SIZE_TYPE: Final = "text/x.tlog.size"
TEXT_TYPE: Final = "text/plain; charset=utf-8"
MAX_SUBMISSION_BYTES: Final = 262_144
MAX_ANSWER_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """The body of add-checkpoint. `old`: the size that the witness is thought to have cosigned last, 0 for none."""

    old: int
    proof: tuple[bytes, ...]
    note: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        """The body. Raises: Misuse when a witness could not read it."""
        data = "\n".join([f"old {to_decimal(self.old)}", *map(b64, self.proof), "", ""]).encode() + self.note
        try:
            same = read_submission(data) == self
        except Malformed as error:
            raise Misuse(f"this cannot be submitted: {error}") from None
        if not same:
            raise Misuse("this would be read as another submission")
        return data


def read_submission(data: bytes) -> Submission:
    """Read the body of add-checkpoint; of the checkpoint nothing but that it is a note. Raises: Malformed."""
    if len(data) > MAX_SUBMISSION_BYTES:
        raise Malformed(f"a submission has at most {MAX_SUBMISSION_BYTES} bytes")
    head, empty, note = data.partition(b"\n\n")
    if not empty:
        raise Malformed("a submission has an empty line before its checkpoint")
    try:
        first, *hashes = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise Malformed("a submission is ASCII before its checkpoint") from None
    if not first.startswith("old "):
        raise Malformed("a submission begins with the old size")
    old = decimal(first.removeprefix("old "), maximum=MAX_SIZE)
    if len(hashes) > MAX_HASHES:
        raise Malformed(f"a consistency proof has at most {MAX_HASHES} lines")
    proof = tuple(unb64(line, max_bytes=HASH_BYTES) for line in hashes)
    if any(len(each) != HASH_BYTES for each in proof):
        raise Malformed(f"each hash of a consistency proof has {HASH_BYTES} bytes")
    parse(note)
    return Submission(old=old, proof=proof, note=note)


# --- The witness's side --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The checkpoint of a log that a witness cosigned last."""

    size: int
    root: bytes
    note: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the witness says. `suspect`: the two signed notes, where one size has two roots."""

    status: int
    body: bytes = b""
    kind: str = TEXT_TYPE
    suspect: tuple[bytes, bytes] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosign:
    """It continues what was cosigned last: make `seen` durable, sign `checkpoint`, then say 200."""

    checkpoint: Checkpoint
    seen: Seen


def decide(data: bytes, logs: Mapping[str, Sequence[Verifier]], last: Mapping[str, Seen]) -> Cosign | Answer:
    """Judge a submission.

    Args: logs: by origin, the keys of every log that this witness serves.  last: by origin, what it cosigned last, if anything.
    Raises: nothing. Whatever is sent has an answer.
    """
    try:
        submission = read_submission(data)
        unproven = parse(submission.note)
        origin = unproven.text.partition("\n")[0]
        if origin not in logs:
            # Before the checkpoint is read further: a log that is not served here gets one answer, whatever it sends.
            return _say(404, "this witness does not know this log")
        checkpoint = _checkpoint(unproven.text)
    except Malformed as error:
        return _say(400, error.message)
    if checkpoint is None:
        return _say(422, "an empty log has the root of the empty tree")
    try:
        note = unproven.verify(logs[origin])
    except Unproven as error:
        return _say(403, error.message)
    if submission.old > checkpoint.size:
        return _say(400, "the old size is larger than the checkpoint's")
    seen = last.get(origin)
    cosigned = 0 if seen is None else seen.size
    if submission.old != cosigned:
        return Answer(status=409, body=f"{to_decimal(cosigned)}\n".encode(), kind=SIZE_TYPE)
    return _continues(submission, checkpoint, note, seen)


def _continues(submission: Submission, checkpoint: Checkpoint, note: Note, seen: Seen | None) -> Cosign | Answer:
    if seen is not None and seen.size == checkpoint.size and seen.root != checkpoint.root:
        return _say(422, "one size, two roots", suspect=(seen.note, submission.note))
    if seen is None or seen.size == 0:
        if submission.proof:
            return _say(422, "from nothing there is no proof")
    else:
        try:
            verify_consistency(old=seen.size, new=checkpoint.size, old_root=seen.root, new_root=checkpoint.root, proof=submission.proof)
        except (Malformed, Unproven) as error:
            return _say(422, error.message)
    # Kept without the lines that nobody here can check.
    kept = write(note.text, [proven.signature for proven in note.proven])
    return Cosign(checkpoint=checkpoint, seen=Seen(size=checkpoint.size, root=checkpoint.root, note=kept))


def _checkpoint(text: str) -> Checkpoint | None:
    """A checkpoint; None for one that would be well-formed if its log were not empty. Raises: Malformed."""
    lines = text.split("\n")
    if lines[1:2] == ["0"] and len(lines) > 3:
        root = unb64(lines[2], max_bytes=HASH_BYTES)
        if len(root) == HASH_BYTES and root != EMPTY_ROOT:
            return None
    return parse_text(text)


def accepted(signatures: Sequence[Signature]) -> Answer:
    """The answer 200: the witness's cosignatures. Only once the checkpoint is durable."""
    if not signatures:
        raise AssertionError("a witness that accepts has cosigned")
    return Answer(status=200, body="".join(each.line() for each in signatures).encode("utf-8"))


def _say(status: int, text: str, *, suspect: tuple[bytes, bytes] | None = None) -> Answer:
    return Answer(status=status, body=(text + "\n").encode("utf-8", "replace"), suspect=suspect)


# --- The log's side ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """The witness cosigned this size last: submit again from there (`after_conflict`)."""

    size: int


_REFUSALS: Final[Mapping[int, str]] = {
    400: "it cannot read what we sent",
    403: "it does not trust our log's key",
    404: "it does not know our log",
    422: "it says that our checkpoint does not continue the one it cosigned",
}


def read_answer(status: int, kind: str, body: bytes, *, text: str, witness: Sequence[Verifier]) -> tuple[Proven, ...] | Conflict:
    """Read what a witness answered.

    Args: kind: the Content-Type.  text: of the checkpoint that was submitted.  witness: the keys we know of this witness.
    Returns: the cosignatures that hold, each with a time; or the size from which to try again.
    Raises: Malformed, Unproven: no answer of this witness.  Refused: it said no.  Unavailable: it could not answer.
    """
    if status == 409 and kind.partition(";")[0].strip().lower() == SIZE_TYPE:
        return Conflict(size=_size(body))
    if status in _REFUSALS or status == 409:
        raise Refused(f"the witness says {status}: {_REFUSALS.get(status, 'it has seen another checkpoint')}", _words(body))
    if status != 200:
        raise Unavailable(f"the witness says {status}")
    if len(body) > MAX_ANSWER_BYTES:
        raise Malformed(f"a witness's answer has at most {MAX_ANSWER_BYTES} bytes")
    try:
        lines = body.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise Malformed("a witness's answer is UTF-8") from None
    if lines.pop() or not 1 <= len(lines) <= MAX_SIGNATURES:
        raise Malformed(f"a witness's answer is 1 to {MAX_SIGNATURES} lines")
    note = parse(write_lines(text, tuple(map(parse_signature, lines)))).verify(witness)
    found = tuple(proven for proven in note.proven if proven.time_s)
    if not found:
        raise Unproven("a cosignature says when it was made")
    return found


def after_conflict(conflict: Conflict, size: int) -> int:
    """The old size to submit again with, of a checkpoint with `size` entries. Raises: Refused: the witness has seen more than that."""
    if conflict.size > size:
        raise Refused(
            f"the witness has seen {conflict.size} entries of this log, and we have {size}",
            "Either a newer checkpoint is under way, or this log was rolled back.",
        )
    return conflict.size


def write_lines(text: str, signatures: Sequence[Signature]) -> bytes:
    """A note of these lines. Raises: Malformed: it would be none."""
    try:
        return write(text, signatures)
    except Misuse as error:
        raise Malformed(error.message) from None


def with_cosignatures(note: bytes, found: Sequence[Signature]) -> bytes:
    """A signed note with more lines; of two lines by one key the later one stays. Raises: Malformed; Misuse: too many lines."""
    unproven = parse(note)
    lines = {(line.name, line.key_id): line for line in (*unproven.signatures, *found)}
    return write(unproven.text, list(lines.values()))


def _size(body: bytes) -> int:
    try:
        text = body[:64].decode("ascii")
    except UnicodeDecodeError:
        text = ""
    if not text.endswith("\n") or len(body) > 64:
        raise Malformed("a conflict says a size and ends its line")
    return decimal(text[:-1], maximum=MAX_SIZE)


def _words(body: bytes) -> str:
    """What a witness says besides, as a hint: one line of plain characters."""
    line = body[:200].decode("utf-8", "replace").partition("\n")[0]
    return "".join(character for character in line if character.isprintable()).strip()
