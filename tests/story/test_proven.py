"""What is called proven is in signed bytes, whatever a hostile house answers; and every story ends."""

from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.canonical import decode, encode
from tallystick.errors import Malformed, TallyError, Unproven
from tallystick.gate.signal import Commitments, EntryRef, Reference, Signal, encode_signal
from tallystick.keys import sign1
from tallystick.keys.cose import parse_sign1
from tallystick.ledger import said
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.said import context_root, read_said
from tallystick.ledger.story import MAX_BREADTH, Signature, explain
from tallystick.primitives import sha256
from tests.gate.world import HOUSE_ID, NOW_NS, Key, seed
from tests.story.memory import Entries

KEYS: Final = [Key(f"proven {n}") for n in range(3)]
PUBLIC: Final = {bytes(key.public.key_id): key.public for key in KEYS[:2]}
ORIGIN: Final = seed("origin")


def signal(key: Key, n: int, prev: tuple[Reference, ...] = (), signature: bytes | None = None) -> bytes:
    raw = sign1(
        key,
        encode_signal(
            Signal(
                aud=HOUSE_ID, signal_class="skill", action="propose", verb="agent.plan", commitments=Commitments(), issued_at_ns=NOW_NS,
                stream=bytes(16), n=n, prev=prev,
            )
        ),
    )  # fmt: skip
    return raw if signature is None else raw[:-64] + signature


def entry(raw: bytes, **more: Any) -> Event:
    return Event.of(Kind.SIGNAL, NOW_NS, "gate", signal=raw, verdict="allow", **more)


@st.composite
def ledgers(draw: st.DrawFn) -> tuple[Entries, int]:
    """Up to twelve signals after anything, some not signed by their key or by an unknown one, and a house that lies."""
    events: dict[int, Event] = {}
    references: list[bytes] = [seed("nothing")]
    for at in range(draw(st.integers(1, 12))):
        prev: list[Reference] = list(dict.fromkeys(draw(st.lists(st.sampled_from(references), max_size=4))))
        if draw(st.booleans()):
            prev.append(EntryRef(draw(st.sampled_from([ORIGIN, seed("other")])), draw(st.integers(0, 14))))
        wrong = draw(st.sampled_from([None, None, None, seed("a") + seed("b")]))
        raw = signal(draw(st.sampled_from(KEYS)), at, tuple(prev), wrong)
        context = (0, at, seed("root")) if draw(st.booleans()) else None
        events[at] = entry(raw, context=context)
        references.append(sha256(raw[-64:]))
    lies = draw(st.dictionaries(st.sampled_from(references), st.integers(0, 14), max_size=4))
    return Entries(events, PUBLIC, lies, frozenset((ORIGIN,)), tuple(references[:3])), draw(st.sampled_from(sorted(events)))


@settings(max_examples=60, deadline=None)
@given(ledgers())
def test_every_edge_called_proven_is_in_the_signed_bytes(case: tuple[Entries, int]) -> None:
    """The reference stands in `prev` under a signature that holds, it is the other signal's, and it stands before."""
    entries, first = case
    story = explain(entries, first)
    assert len({step.entry for step in story.steps}) == len(story.steps)
    for link in story.links:
        if not link.proven:
            continue
        sign1_ = parse_sign1(entries.events[link.later].blob("signal"))
        sign1_.verify(PUBLIC[bytes(sign1_.kid)])
        payload = decode(sign1_.payload)
        assert isinstance(payload, dict)
        written = link.reference if isinstance(link.reference, bytes) else list(link.reference)
        assert written in payload[10]  # type: ignore[operator]
        assert link.earlier is not None
        assert link.earlier < link.later
        if isinstance(link.reference, bytes):
            assert sha256(entries.events[link.earlier].blob("signal")[-64:]) == link.reference
        else:
            assert link.reference == (ORIGIN, link.earlier)
    for step in story.steps:
        if step.signature is Signature.HOLDS:
            raw = parse_sign1(step.event.blob("signal"))
            raw.verify(PUBLIC[bytes(raw.kid)])


def test_a_finder_that_lies_is_not_believed() -> None:
    """A reference that leads to another signal proves nothing, nor one that leads to itself or forwards."""
    first, other = signal(KEYS[0], 0), signal(KEYS[0], 1)
    last = signal(KEYS[1], 2, (sha256(first[-64:]),))
    for found in (1, 2, 3, 99):
        entries = Entries({0: entry(first), 1: entry(other), 2: entry(last), 3: entry(other)}, PUBLIC, {sha256(first[-64:]): found})
        assert [link.proven for link in explain(entries, 2).links] == [False]
    assert [link.proven for link in explain(Entries({0: entry(first), 2: entry(last)}, PUBLIC), 2).links] == [True]


def test_a_context_whose_root_is_another_is_said() -> None:
    """The house gives other deliveries than those it once recorded the root of."""
    feed = signal(KEYS[0], 0)
    true, lie = context_root([sha256(feed[-64:])]), context_root([])
    for root, words in ((true, "their root is the one in the entry"), (lie, "their root is not the one in the entry")):
        entries = Entries({0: entry(feed), 1: entry(signal(KEYS[1], 1), context=(0, 0, root))}, PUBLIC, deliveries=(sha256(feed[-64:]),))
        assert words in explain(entries, 1).steps[0].context


def test_a_context_that_is_too_long_is_cut() -> None:
    """More than 4,096 deliveries: the story has the first, counts the rest, and calls none of it proven."""
    many = [sha256(n.to_bytes(4, "big")) for n in range(MAX_BREADTH + 1)]
    entries = Entries({9: entry(signal(KEYS[1], 1), context=(0, 8, seed("root")))}, PUBLIC, deliveries=many)
    story = explain(entries, 9)
    assert (len(story.links), story.left_out) == (MAX_BREADTH, 1)
    assert story.steps[0].context == f"more than {MAX_BREADTH} signals were delivered in this context"


def test_bytes_that_are_no_signal_are_a_step_without_words() -> None:
    """An entry whose signal cannot be read: its signature counts as one that does not hold."""
    raw = signal(KEYS[1], 1, (EntryRef(ORIGIN, 0),))
    story = explain(Entries({0: entry(b"\x00"), 1: entry(raw)}, PUBLIC, origins=frozenset((ORIGIN,))), 1)
    assert story.steps[1].said is None
    assert story.steps[1].signature is Signature.FAILS


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_the_quick_reader_reads_what_the_full_one_reads(data: st.DataObject) -> None:
    """Both ways to read a payload agree, on good payloads and on those with a byte changed; other bytes are Malformed."""
    commitments = Commitments(
        target=data.draw(st.sampled_from([None, seed("t")])), body=data.draw(st.sampled_from([None, seed("b")])),
        place=data.draw(st.sampled_from([None, seed("p")])), observations=(seed("o"),) * data.draw(st.integers(0, 3)),
    )  # fmt: skip
    payload = bytearray(
        encode_signal(
            Signal(
                aud=HOUSE_ID, signal_class="sensor/camera", action="read", verb="camera.frame", commitments=commitments,
                issued_at_ns=NOW_NS, stream=bytes(16), n=data.draw(st.integers(0, 2**33)),
                prev=tuple(seed(str(n)) for n in range(data.draw(st.integers(0, 25)))),
            )
        )
    )  # fmt: skip
    if data.draw(st.booleans()):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    quick = said._read_plain(bytes(payload))
    try:
        full = said._read_any(bytes(payload))
    except Malformed:
        full = None
    assert quick is None or full is None or quick == full
    if full is None:
        assert quick is None


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_foreign_bytes_are_malformed(raw: bytes) -> None:
    """Nothing else is ever raised."""
    for cose in (raw, sign1(KEYS[0], raw), sign1(KEYS[0], encode({3: "a", 4: "b", 5: "c", 6: {}, 7: 1, 10: [raw]}))):
        try:
            read_said(cose)
        except (Malformed, Unproven):
            continue
        except TallyError as error:
            raise AssertionError(error) from error
