"""Checkpoints between the ends of a pair: one root for each size, nothing cosigned that does not continue what was seen."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.canonical import encode
from tallystick.errors import Malformed, TallyError, Unproven
from tallystick.ledger.event import Event, Kind
from tallystick.node.checkpoints import ForkError, Witness, fork_event, own_lines, size_of
from tallystick.node.checkpointwire import (
    MAX_ASKED_BYTES,
    MAX_LINKS,
    MAX_MESSAGE_BYTES,
    MAX_PROOF,
    Ask,
    Closed,
    Cosign,
    Follow,
    Message,
    Prove,
    Rotations,
    Show,
    Submit,
    Told,
    Why,
    read_message,
    write_message,
)
from tallystick.node.machine import Machine, log_name_of
from tallystick.node.publisher import Publisher
from tallystick.storage.rows import CheckpointRow
from tallystick.tlog.checkpoint import Checkpoint, read_checkpoint, verify_checkpoint
from tallystick.tlog.cosignature import sign_checkpoint, verifier
from tallystick.tlog.note import SignatureType, VerifierKey
from tallystick.tlog.tree import MAX_SIZE
from tests.node.estate import Estate, machine

NOW = 1_800_000_000 * 10**9


@pytest.fixture
def estate(tmp_path: Path) -> Iterator[Estate]:
    """A house, its owner, and a laptop that is paired."""
    made = Estate.at(tmp_path)
    made.pair("laptop")
    yield made
    made.close()


def grow(house: Machine, entries: int = 3) -> None:
    """More entries in the house's ledger."""
    house.store.append(*(Event.of(Kind.STOPPED, NOW, what="ordered") for _ in range(entries))).result()


def laptop(estate: Estate) -> Witness:
    """The laptop's side, as a fresh session has it."""
    return Witness(estate.machines["laptop"], estate.at_client("laptop"))


def asked(witness: Witness) -> int:
    message = read_message(witness.ask())
    assert isinstance(message, Ask)
    return size_of(message.note)


def meet(estate: Estate) -> CheckpointRow:
    """A session with an honest house: asked, shown, recorded, cosigned."""
    witness = laptop(estate)
    shown = Publisher(estate.house).show(asked(witness))
    assert isinstance(witness.take(shown, NOW), Cosign)
    newest = estate.house.store.latest_checkpoint()
    assert newest is not None
    return newest


def forged(house: Machine, size: int, root: bytes) -> bytes:
    """A checkpoint that the house's own keys signed, over whatever they were told."""
    keys = house.vault.log
    return sign_checkpoint(
        Checkpoint(origin=house.log_name, size=size, root=root),
        ed25519=(keys.ed25519.public.raw, keys.ed25519.sign),
        ml_dsa_44=(keys.ml_dsa_44.public.raw, keys.ml_dsa_44.sign),
        time_s=NOW // 10**9,
    )


# --- The messages ------------------------------------------------------------------------------------------------------------

GOOD: list[Message] = [
    Ask(b""),
    Ask(bytes(MAX_ASKED_BYTES), MAX_SIZE),
    Closed(Why.ROLLED_BACK, b""),
    Closed(Why.UNSIGNED, b"note", b"terms"),
    Follow((b"link",), b"note", (), (bytes(32),)),
    Follow((b"link",) * MAX_LINKS, b"note", (bytes(32),) * MAX_PROOF, (bytes(32),) * MAX_PROOF),
    Submit(b"bundle"),
    Told(7),
    Told(0, "refused", "because", "do this"),
    Prove(),
    Rotations(()),
    Rotations((b"x",) * 7),
    Show(b"note", ()),
    Show(b"", (bytes(32),) * MAX_PROOF),
    Cosign("line\n"),
    Cosign(""),
]


@pytest.mark.parametrize("message", GOOD, ids=repr)
def test_a_message_is_read_as_it_was_written(message: Message) -> None:
    """One form for each."""
    assert read_message(write_message(message)) == message


BAD: list[tuple[str, bytes]] = [
    ("empty", b""),
    ("not CBOR", b"\xff"),
    ("a map", encode({1: 1})),
    ("empty array", encode([])),
    ("kind 0", encode([0, 1])),
    ("kind 10", encode([10, 1])),
    ("told without words", encode([7, 1])),
    ("told an unknown kind", encode([7, 1, "x", "", ""])),
    ("told too much", encode([7, 1, "refused", "x" * 501, ""])),
    ("prove with more", encode([8, 1])),
    ("too many rotations", encode([9, [b"x"] * 8])),
    ("an empty rotation", encode([9, [b""]])),
    ("kind true", encode([True, b"", 0])),
    ("kind as text", encode(["1", b"", 0])),
    ("ask of the first version", encode([1, 2])),
    ("ask without after", encode([1, b""])),
    ("ask with more", encode([1, b"", 0, 0])),
    ("ask -1", encode([1, b"", -1])),
    ("ask too much", encode([1, b"", MAX_SIZE + 1])),
    ("ask true", encode([1, b"", True])),
    ("ask text", encode([1, "", 0])),
    ("ask with a long note", encode([1, bytes(MAX_ASKED_BYTES + 1), 0])),
    ("closed without why", encode([4, b"", None])),
    ("closed true", encode([4, True, b"", None])),
    ("closed 0", encode([4, 0, b"", None])),
    ("closed 5", encode([4, 5, b"", None])),
    ("closed with empty terms", encode([4, 1, b"", b""])),
    ("closed with long terms", encode([4, 1, b"", bytes(8_193)])),
    ("closed with other terms", encode([4, 1, b"", 0])),
    ("follow nothing", encode([5, [], b"", [], []])),
    ("follow an empty link", encode([5, [b""], b"", [], []])),
    ("follow text", encode([5, ["x"], b"", [], []])),
    ("follow too many", encode([5, [b"x"] * (MAX_LINKS + 1), b"", [], []])),
    ("follow with a short hash", encode([5, [b"x"], b"", [bytes(31)], []])),
    ("follow with too long a proof", encode([5, [b"x"], b"", [], [bytes(32)] * (MAX_PROOF + 1)])),
    ("submit nothing", encode([6, b""])),
    ("submit too much", encode([6, bytes(49_153)])),
    ("submit text", encode([6, "bundle"])),
    ("show without proof", encode([2, b"note"])),
    ("show text", encode([2, "note", []])),
    ("show a short hash", encode([2, b"note", [bytes(31)]])),
    ("show a long hash", encode([2, b"note", [bytes(33)]])),
    ("show text as a hash", encode([2, b"note", ["x" * 32]])),
    ("show a nested proof", encode([2, b"note", [[bytes(32)]]])),
    ("show too long a proof", encode([2, b"note", [bytes(32)] * (MAX_PROOF + 1)])),
    ("cosign bytes", encode([3, b"line"])),
    ("cosign with more", encode([3, "line", 1])),
    ("too long", encode([2, bytes(MAX_MESSAGE_BYTES), []])),
    ("rest", encode([1, 1]) + b"\x00"),
    ("a longer number than needed", b"\x82\x01\x18\x01"),
    ("an indefinite array", b"\x9f\x01\x01\xff"),
]


@pytest.mark.parametrize("raw", [row[1] for row in BAD], ids=[row[0] for row in BAD])
def test_every_other_message_is_malformed(raw: bytes) -> None:
    """Refused before anything in it is looked at."""
    with pytest.raises(Malformed):
        read_message(raw)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_of_one_form_or_malformed(raw: bytes) -> None:
    """What is read is written as the same bytes."""
    try:
        message = read_message(raw)
    except Malformed:
        return
    assert write_message(message) == raw


# --- The house ---------------------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_the_ledgers_and_signed_twice(estate: Estate) -> None:
    """Size and root of the ledger, under the log's Ed25519 and ML-DSA-44 keys; kept before anybody sees it."""
    newest = Publisher(estate.house).newest()
    size, root = estate.house.store.head()
    assert (newest.size, newest.root) == (size, root)
    keys = estate.house.vault.log
    log = [
        verifier(VerifierKey(name=estate.house.log_name, type=kind, public=public))
        for kind, public in ((SignatureType.ED25519, keys.ed25519.public.raw), (SignatureType.ML_DSA_44, keys.ml_dsa_44.public.raw))
    ]
    assert verify_checkpoint(newest.note, log=log).checkpoint.root == root
    assert estate.house.store.latest_checkpoint() == newest


def test_it_is_at_most_a_second_old_or_of_now(estate: Estate) -> None:
    """Asked again at once it is the same; `fresh` signs what came meanwhile; unchanged it is never signed anew."""
    publisher = Publisher(estate.house)
    first = publisher.newest()
    grow(estate.house)
    assert publisher.newest() == first
    fresh = publisher.newest(fresh=True)
    assert fresh.size == first.size + 3
    assert publisher.newest(fresh=True) == fresh


def test_one_size_has_one_root(estate: Estate) -> None:
    """Many threads ask while the ledger grows, through two publishers: no two notes name one size and different roots."""
    publishers = (Publisher(estate.house), Publisher(estate.house))
    seen: list[CheckpointRow] = []

    def ask(publisher: Publisher) -> None:
        for _ in range(12):
            grow(estate.house, 1)
            seen.append(publisher.newest(fresh=True))

    threads = [threading.Thread(target=ask, args=(publisher,)) for publisher in publishers * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 48
    roots: dict[int, bytes] = {}
    for row in seen:
        checkpoint, _ = read_checkpoint(row.note)
        assert (checkpoint.size, checkpoint.root) == (row.size, row.root)
        assert roots.setdefault(row.size, row.root) == row.root
        assert estate.house.store.root_at(row.size) == row.root


def test_a_house_does_not_sign_what_is_not_its_ledger(estate: Estate) -> None:
    """Another root, or more than there is, is not kept, and what is not kept is not shown."""
    size, root = estate.house.store.head()
    for at, of in ((size, bytes(32)), (size + 1, root), (0, root)):
        with pytest.raises(TallyError):
            estate.house.store.put_checkpoint(at, of, b"note", NOW)
    assert estate.house.store.latest_checkpoint() is None


def test_a_question_beyond_the_ledger_is_answered_with_what_there_is(estate: Estate) -> None:
    """The client saw more than we have: it gets our newest, signed, and can prove with it that somebody was rolled back."""
    newest = Publisher(estate.house).newest()
    shown = Publisher(estate.house).show(newest.size + 100)
    assert (shown.note, shown.proof) == (newest.note, ())


# --- The client --------------------------------------------------------------------------------------------------------------


def test_each_session_continues_the_one_before(estate: Estate) -> None:
    """First anything of this log; then only what is proven to continue it. Each is recorded with its note before it is cosigned."""
    for _ in range(3):
        newest = meet(estate)
        seen = estate.at_client("laptop").seen
        assert seen is not None
        assert (seen.size, seen.root, seen.note) == (newest.size, newest.root, newest.note)
        grow(estate.house)
        Publisher(estate.house).newest(fresh=True)
    kinds = [row.event.kind for row in estate.machines["laptop"].store.entries()]
    assert kinds.count(Kind.CHECKPOINT_COSIGNED) == 3


def test_the_same_again_is_cosigned_and_not_recorded_again(estate: Estate) -> None:
    """A house where nothing happened gets its cosignature; this machine's ledger does not grow."""
    meet(estate)
    before = estate.machines["laptop"].store.size()
    meet(estate)
    assert estate.machines["laptop"].store.size() == before


def refused(estate: Estate, show: Show, why: type[TallyError] = ForkError) -> None:
    """Neither recorded as seen nor cosigned."""
    before = estate.at_client("laptop").seen
    with pytest.raises(why) as caught:
        laptop(estate).take(show, NOW)
    assert estate.at_client("laptop").seen == before
    if isinstance(caught.value, ForkError):
        assert before is not None
        assert (caught.value.first, caught.value.second) == (before.note, show.note)
        pair, there = estate.at_client("laptop"), estate.machines["laptop"]
        event = fork_event(pair, caught.value, NOW)
        there.store.append(event).result()
        assert (event.blob("checkpoint"), event.blob("other_checkpoint")) == (before.note, show.note)


def test_a_roll_back_is_refused_with_both_notes(estate: Estate) -> None:
    """Fewer entries than we saw, honestly signed at their time: both notes are kept."""
    old = Publisher(estate.house).newest()
    grow(estate.house)
    Publisher(estate.house).newest(fresh=True)
    meet(estate)
    refused(estate, Show(old.note, ()))


def test_two_histories_of_one_size_are_refused(estate: Estate) -> None:
    """The same size and another root."""
    newest = meet(estate)
    refused(estate, Show(forged(estate.house, newest.size, bytes(32)), ()))


@pytest.mark.parametrize("change", ["none", "short", "long", "flipped", "of another", "all zero"])
def test_a_longer_history_needs_its_proof(estate: Estate, change: str) -> None:
    """More entries, signed, without the proof that they continue ours."""
    seen = meet(estate)
    grow(estate.house, 40)
    newest = Publisher(estate.house).newest(fresh=True)
    proof = Publisher(estate.house).show(seen.size).proof
    assert len(proof) > 2
    changed = {
        "none": (),
        "short": proof[:-1],
        "long": (*proof, bytes(32)),
        "flipped": (bytes((proof[0][0] ^ 1,)) + proof[0][1:], *proof[1:]),
        "of another": estate.house.store.consistency(seen.size - 1, newest.size),
        "all zero": (bytes(32),) * len(proof),
    }[change]
    refused(estate, Show(newest.note, changed))
    assert isinstance(laptop(estate).take(Show(newest.note, proof), NOW), Cosign)


def test_a_proof_that_proves_a_rewritten_history_is_refused(estate: Estate) -> None:
    """A house that rewrote its past and signs a longer ledger cannot prove that it continues what we saw."""
    meet(estate)
    refused(estate, Show(forged(estate.house, 10_000, bytes(32)), (bytes(32),) * 14))


def test_a_note_by_other_keys_proves_nothing(estate: Estate, tmp_path: Path) -> None:
    """Another house's keys under this house's name: Unproven, and no fork, for our house did not sign it."""
    meet(estate)
    other = machine(tmp_path / "elsewhere", "other", estate.house.role)
    try:
        keys = other.vault.log
        size, root = estate.house.store.head()
        note = sign_checkpoint(
            Checkpoint(origin=estate.house.log_name, size=size, root=root),
            ed25519=(keys.ed25519.public.raw, keys.ed25519.sign),
            ml_dsa_44=(keys.ml_dsa_44.public.raw, keys.ml_dsa_44.sign),
            time_s=1,
        )
        refused(estate, Show(note, ()), Unproven)
        refused(estate, Show(Publisher(other).newest().note, ()), Malformed)  # honest, and of another log
    finally:
        other.close()


@pytest.mark.parametrize("which", [0, 1])
def test_both_keys_of_the_log_must_have_signed(estate: Estate, which: int) -> None:
    """One signature less is no checkpoint of this log."""
    note = Publisher(estate.house).newest().note
    head, _, signatures = note.partition(b"\n\n")
    lines = signatures.splitlines(keepends=True)
    assert len(lines) == 2
    del lines[which]
    refused(estate, Show(head + b"\n\n" + b"".join(lines), ()), Unproven)


@given(note=st.binary(max_size=200))
def test_junk_is_no_checkpoint(estate_of_all: Estate, note: bytes) -> None:
    """Any bytes for a note are Malformed or Unproven."""
    with pytest.raises((Malformed, Unproven)):
        laptop(estate_of_all).judge(Show(note, ()), NOW)


@pytest.fixture(scope="module")
def estate_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """One that only answers questions."""
    made = Estate.at(tmp_path_factory.mktemp("estate"))
    made.pair("laptop")
    yield made
    made.close()


def test_two_sessions_witness_one_after_the_other(estate: Estate) -> None:
    """A house shows each of two sessions of one machine another future of what both saw: only one is recorded and cosigned.

    The other session asks again, from what was seen now; the second future is then a fork, and proven as one.
    """
    meet(estate)
    first, second = laptop(estate), laptop(estate)
    grow(estate.house)
    honest = Publisher(estate.house).newest(fresh=True)
    seen = estate.at_client("laptop").seen
    assert seen is not None
    proof = estate.house.store.consistency(seen.size, honest.size)
    assert isinstance(first.take(Show(honest.note, proof), NOW), Cosign)
    other = Show(forged(estate.house, honest.size, bytes(32)), proof)
    assert second.take(other, NOW) == Ask(own_lines(honest.note))
    with pytest.raises(ForkError):
        second.take(other, NOW)
    grow(estate.house)
    newer = Publisher(estate.house).newest(fresh=True)
    assert isinstance(second.take(Publisher(estate.house).show(asked(second)), NOW), Cosign)
    assert newer.size == asked(second)


def test_side_by_side_every_cosigned_history_is_one(estate: Estate) -> None:
    """Threads of one machine, shown two futures at random: all that was cosigned lies on one of them."""
    start = meet(estate)
    grow(estate.house, 1)
    honest = Publisher(estate.house).newest(fresh=True)
    proof = estate.house.store.consistency(start.size, honest.size)
    futures = [Show(honest.note, proof), Show(forged(estate.house, start.size, bytes(32)), ())]
    barrier, cosigned = threading.Barrier(8), []

    def session(number: int) -> None:
        witness = laptop(estate)
        barrier.wait()
        try:
            if isinstance(witness.take(futures[number % 2], NOW), Cosign):
                cosigned.append(number % 2)
        except ForkError:
            pass

    threads = [threading.Thread(target=session, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(cosigned) == {0}


# --- The cosignature at the house ----------------------------------------------------------------------------------------------


def cosignature(estate: Estate, name: str = "laptop") -> tuple[bytes, str]:
    """What the house showed, and this machine's line for it."""
    witness = Witness(estate.machines[name], estate.at_client(name))
    shown = Publisher(estate.house).show(asked(witness))
    answer = witness.take(shown, NOW)
    assert isinstance(answer, Cosign)
    return shown.note, answer.line


def test_a_cosignature_is_kept_as_it_came(estate: Estate) -> None:
    """Size, root, cosigner, and the line itself: an auditor checks it with the pair's witness key."""
    shown, line = cosignature(estate)
    row = estate.at_house("laptop")
    event = Publisher(estate.house).cosigned(row, shown, line, NOW)
    estate.house.store.append(event).result()
    newest = estate.house.store.latest_checkpoint()
    assert newest is not None
    assert (event.number("size"), event.blob("root"), event.text("cosigner")) == (newest.size, newest.root, log_name_of(row.subject))
    assert event.get("ext") == {"cosignature": line.encode()}
    assert estate.at_house("laptop").cosigned_size == newest.size


def test_it_is_checked_against_what_its_session_was_shown(estate: Estate) -> None:
    """The house may have signed a newer one meanwhile: that is no reason to doubt the client."""
    shown, line = cosignature(estate)
    grow(estate.house)
    newer = Publisher(estate.house).newest(fresh=True)
    assert Publisher(estate.house).cosigned(estate.at_house("laptop"), shown, line, NOW).number("size") < newer.size
    with pytest.raises(Unproven):
        Publisher(estate.house).cosigned(estate.at_house("laptop"), newer.note, line, NOW)


def test_only_the_pairs_own_witness_key_counts(estate: Estate) -> None:
    """Another paired machine's honest line is not this pair's."""
    shown, line = cosignature(estate, "owner")
    with pytest.raises(Unproven):
        Publisher(estate.house).cosigned(estate.at_house("laptop"), shown, line, NOW)


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line[:-1],
        lambda line: line + "\n",
        lambda line: line + line,
        lambda line: " " + line,
        lambda line: line.replace("—", "-"),
        lambda line: line.replace(" ", "  "),
        lambda line: line[:-10] + "\n",
        lambda line: line.replace("tallystick/", "tallystick/0"),
        lambda line: line[:90] + ("A" if line[90] != "A" else "B") + line[91:],
        lambda line: line[:-6] + ("A" if line[-6] != "A" else "B") + line[-5:],
        lambda line: "",
        lambda line: "\n",
        lambda line: "— a AAAAAAAA\n",
        lambda line: "x" * 20_000,
    ],
)
def test_any_other_line_is_refused(estate: Estate, change: object) -> None:
    """Malformed or Unproven, and nothing is recorded."""
    shown, line = cosignature(estate)
    with pytest.raises((Malformed, Unproven)):
        Publisher(estate.house).cosigned(estate.at_house("laptop"), shown, change(line), NOW)  # type: ignore[operator]
