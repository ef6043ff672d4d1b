"""What a client believes of a held signal: what it has proven itself, and nothing that a house says of it."""

import secrets
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.errors import Malformed, TallyError, Unproven
from tallystick.keys import KeyId
from tallystick.node.answers import Held as Shown
from tallystick.node.commands.decisions import approval_of
from tallystick.node.held import Held, Wider, check_body, effect_of, prove, scope_of
from tallystick.node.speaking import SignalSource, SignedSignal
from tallystick.primitives import sha256
from tallystick.rights.approval import Item, Waiting, approval_root, check_approval
from tests.gate.world import Key

HOUSE = KeyId(sha256(b"a house"))
AGENT, OTHER = Key("agent"), Key("other")
TEXT = b"one\ntwo\nthree\n"


def signed(
    verb: str = "archive.put", target: tuple[str, str] | None = ("PUT", "/v1/files/a.txt"), body: bytes | None = TEXT
) -> SignedSignal:
    return SignalSource(AGENT, HOUSE).sign("llm", "write", verb, target=target, body=body)


def shown(signal: SignedSignal, entry: int = 81, **change: Any) -> Shown:
    """As an honest house shows it."""
    row: dict[str, Any] = {
        "id": entry,
        "state": "held",
        "why": "",
        "reason": "rights",
        "rule": "",
        "facts": [],
        "time_ns": 1,
        "expires_ns": time.time_ns() + 10**12,
        "replaces": None,
        "signal_entry": entry - 1,
        "signal": signal.raw.hex(),
        "opening": signal.opening.hex(),
        "body_bytes": None if signal.body is None else len(signal.body),
        "key": AGENT.public.cose_key().hex(),
        "signer": {"key": AGENT.public.key_id.hex(), "number": 47, "label": "agent", "kind": "source", "state": "standing"},
        "chain": [{"key": OTHER.public.key_id.hex(), "number": 12, "label": "feed", "kind": "source", "state": "standing", "entry": 7}],
    }
    return row | change  # type: ignore[return-value]


def proven(signal: SignedSignal | None = None, **change: Any) -> Held:
    return prove(shown(signal or signed(), **change), bytes(HOUSE))


def test_what_is_shown_is_read_from_the_signals_own_bytes() -> None:
    """Verb, class, target, body and risk; and the hash that an approval signs is of those bytes."""
    signal = signed()
    held = proven(signal)
    assert (held.claims.verb, held.claims.signal_class, held.target, held.file) == ("archive.put", "llm", "PUT /v1/files/a.txt", "a.txt")
    assert (held.risk, held.key, held.item) == ("medium", AGENT.public.key_id, Item(81, sha256(signal.raw)))
    check_body(held, TEXT)


LIES: dict[str, dict[str, Any]] = {
    "another key": {"key": OTHER.public.cose_key().hex()},
    "no key": {"key": None},
    "junk for a key": {"key": "00" * 40},
    "another opening": {"opening": signed(target=("PUT", "/v1/files/other")).opening.hex()},
    "no opening": {"opening": ""},
    "an empty opening": {"opening": "a0"},
    "junk for a signal": {"signal": "00"},
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_house_that_shows_something_else(lie: dict[str, Any]) -> None:
    """Nothing of it is shown as proven, so nothing of it can be approved."""
    with pytest.raises((Malformed, Unproven)):
        prove(shown(signed()) | lie, bytes(HOUSE))  # type: ignore[arg-type]


def test_a_signal_for_another_house() -> None:
    """An approval here would be worth nothing there, and the other way round."""
    with pytest.raises(Unproven, match="another house"):
        prove(shown(signed()), sha256(b"another house"))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["signal", "opening", "key"]), st.integers(0, 10**6), st.integers(1, 255))
def test_one_byte_anywhere_is_found(name: str, at: int, flip: int) -> None:
    """In the signal, its opening or its key: refused with one of the five errors."""
    row: dict[str, Any] = dict(shown(signed()))
    raw = bytearray(bytes.fromhex(row[name]))
    raw[at % len(raw)] ^= flip
    with pytest.raises(TallyError):
        prove(row | {name: raw.hex()}, bytes(HOUSE))  # type: ignore[arg-type]


@pytest.mark.parametrize("body", [None, b"", TEXT[:-1], TEXT + b"x", b"x" * len(TEXT)])
def test_another_body_than_was_signed(body: bytes | None) -> None:
    """Shorter, longer, other bytes, none."""
    with pytest.raises(Unproven):
        check_body(proven(), body)
    with pytest.raises(Unproven):
        check_body(proven(signed(verb="archive.rm", target=("DELETE", "/v1/files/a.txt"), body=None)), b"x")


def test_what_was_proven_is_what_is_signed() -> None:
    """The root is over the bytes that were shown: a house that shows one signal and holds another gets an approval that is none."""
    first, second = signed(), signed(body=b"something else")
    held = [prove(shown(first, 81), bytes(HOUSE)), prove(shown(second, 90), bytes(HOUSE))]
    statement = approval_of(held, None, time.time_ns())
    assert statement.root == approval_root([Item(81, sha256(first.raw)), Item(90, sha256(second.raw))])
    waiting = {81: Waiting(state="held", signal_hash=sha256(first.raw), expires_ns=None)}
    waiting[90] = Waiting(state="held", signal_hash=sha256(signed().raw), expires_ns=None)
    with pytest.raises(Unproven):
        check_approval(statement, waiting=waiting, now_ns=time.time_ns())


# --- What exactly would be done -----------------------------------------------------------------------------------------------------


def effect(verb: str, target: tuple[str, str] | None, body: bytes | None, current: bytes | str | None = None, **more: Any) -> list[str]:
    return effect_of(proven(signed(verb, target, body)), body, current, **more)


def test_a_change_of_text_line_by_line() -> None:
    """As `diff -u` says it; a new file is all new; what changes nothing says so."""
    put = ("archive.put", ("PUT", "/v1/files/a.txt"))
    assert effect(*put, TEXT, b"one\n2\nthree\n")[1:] == [
        "--- a.txt (now)",
        "+++ a.txt (then)",
        "@@ -1,3 +1,3 @@",
        " one",
        "-2",
        "+two",
        " three",
    ]
    assert effect(*put, b"new\n")[1:] == ["--- (no such file)", "+++ a.txt (then)", "@@ -0,0 +1 @@", "+new"]
    assert effect(*put, TEXT, TEXT)[1:] == ["and changes nothing in it"]
    assert effect(*put, b"a\r\n", b"a\n")[1:] == ["and changes only how its lines end"]


@pytest.mark.parametrize("content", [b"\0binary", b"\xff\xfe", b"x" * 1_000_001])
def test_a_change_that_is_no_text(content: bytes) -> None:
    """Sizes and hashes, of both."""
    for old, new in ((TEXT, content), (content, TEXT)):
        lines = effect("archive.put", ("PUT", "/v1/files/a.bin"), new, old)
        assert lines[1:] == [f"now : {len(old)} bytes, SHA-256 {sha256(old).hex()}", f"then: {len(new)} bytes, SHA-256 {sha256(new).hex()}"]
    assert effect("archive.put", ("PUT", "/v1/files/a"), TEXT, "48 bytes")[1] == "now : 48 bytes"


def test_a_long_change_says_how_long_it_is() -> None:
    """Its beginning, and how much more there is."""
    lines = effect("archive.put", ("PUT", "/v1/files/a"), b"".join(b"%d\n" % n for n in range(9_000)))
    assert len(lines) < 2_010
    assert any("more lines" in line for line in lines)


def test_other_effects() -> None:
    """A removal, a rename, a program, and what belongs to an application."""
    assert effect("archive.rm", ("DELETE", "/v1/files/a.txt"), None, TEXT) == [
        "removes a.txt",
        f"now: {len(TEXT)} bytes, SHA-256 {sha256(TEXT).hex()}",
    ]
    assert effect("archive.rm", ("DELETE", "/v1/files/a.txt"), None)[1] == "there is no such file now"
    move = b'{"from":"a","to":"b","overwrite":true}'
    assert effect("archive.mv", ("POST", "/v1/move"), move) == ["renames a", "     to b", "and replaces what is there"]
    assert effect("verb.reboot", ("POST", "/v1/verbs/reboot"), None, argv=["/bin/x", "a b"]) == ['runs "/bin/x" "a b"']
    assert effect("verb.reboot", ("POST", "/v1/verbs/reboot"), None)[0] == "runs a program that the house no longer names"
    assert effect("mail.send", ("POST", "/mail"), b"dear all") == ["mail.send POST /mail", "  dear all"]
    for junk in (b"", b"[]", b"{", b'{"from": 1}', b"\xff"):
        assert effect("archive.mv", ("POST", "/v1/move"), junk)[0]


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(["archive.put", "archive.rm", "archive.mv", "verb.x", "mail.send"]),
    st.sampled_from(["/v1/files/a", "/v1/files/..%2Fx", "/v1/files/", "/v1/move", "/x", "/v1/files/%00"]),
    st.binary(max_size=60),
    st.none() | st.binary(max_size=60) | st.text(max_size=5),
)
def test_whatever_is_asked_can_be_shown(verb: str, path: str, body: bytes, current: bytes | str | None) -> None:
    """Lines of text; a path that is none is no file."""
    lines = effect(verb, ("PUT", path), body, current)
    assert lines
    assert all("\n" not in line for line in lines)


# --- More like it ---------------------------------------------------------------------------------------------------------------------


def test_a_scope_is_what_the_options_say() -> None:
    """Nothing but the verb and the time, unless it is narrowed."""
    held = proven()
    wide = scope_of([held], Wider(times=None, until_ns=9))
    assert (wide.verb, wide.targets, wide.body, wide.origins, wide.uses, wide.until_ns) == ("archive.put", (), None, None, None, 9)
    narrow = scope_of([held], Wider(times=3, until_ns=9, only_body=True, only_origins=True, only_target=True))
    assert (narrow.targets, narrow.body, narrow.uses) == (("PUT /v1/files/a.txt",), sha256(TEXT), 3)
    assert narrow.origins == (OTHER.public.key_id,)


def test_a_scope_that_cannot_be() -> None:
    """Of several verbs, of no one content, of no target."""
    with pytest.raises(Malformed):
        scope_of([proven(), proven(signed("archive.rm", ("DELETE", "/v1/files/a"), None))], Wider(times=1, until_ns=9))
    with pytest.raises(Malformed):
        scope_of([proven(), proven(signed(body=secrets.token_bytes(4)))], Wider(times=1, until_ns=9, only_body=True))
    with pytest.raises(Malformed):
        scope_of([proven(signed("mail.send", None, None))], Wider(times=1, until_ns=9, only_target=True))
