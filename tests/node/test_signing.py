"""What a client signs is what the house accepts, for every request that can be sent (docs/spec/signal.md)."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import Misuse
from tallystick.gate.opening import BodyDigest
from tallystick.gate.stream import StreamBook, machine_stream
from tallystick.keys import KeyKind
from tallystick.node.signing import sign_request
from tallystick.pair.pairing import PairType
from tallystick.passage.signal import Asker, read_command
from tallystick.primitives import Ed25519KeyPair, sha256
from tallystick.rights.verb import VERBS
from tallystick.vault.signers import FileSigner

SIGNER: Final = FileSigner(KeyKind.ED25519, Ed25519KeyPair.from_private(bytes(range(32))))
HOUSE: Final = bytes(range(32, 64))
SESSION: Final = bytes(32)
NOW: Final = 1_790_000_000 * 10**9
ASKER: Final = Asker(house=HOUSE, pair=bytes(32), cap=PairType.ADMIN, key=SIGNER.public, session=SESSION)

VISIBLE = "".join(chr(code) for code in range(0x21, 0x7F))
paths = st.text(VISIBLE, max_size=200).map(lambda text: "/" + text)
names = st.sampled_from(["accept", "range", "content-type", "x-one", "x-two", "cookie"])
values = st.text("".join(chr(code) for code in range(0x20, 0x7F)), max_size=40).map(str.strip)
headers = st.lists(st.tuples(names, values), max_size=6)
bodies = st.none() | st.binary(max_size=300)


@given(st.sampled_from(sorted(VERBS)), st.sampled_from(["GET", "PUT", "POST", "DELETE"]), paths, headers, bodies, st.integers(0, 5))
def test_what_is_signed_is_accepted(verb: str, method: str, target: str, more: list[tuple[str, str]], body: bytes | None, n: int) -> None:
    """Every verb, target, header and body: the house reads the very command back, and takes its number."""
    fields = [*more, ("host", "house")]
    digest = None if body is None else BodyDigest(length=len(body), sha256=sha256(body))
    stream = machine_stream(SESSION)
    signed = sign_request(
        SIGNER, house=HOUSE, stream=stream, n=n, now_ns=NOW, verb=verb, method=method, target=target, headers=fields, body=digest
    )
    raw = [(name.encode(), value.encode()) for name, value in [*fields, *signed.headers, ("content-length", "0")]]
    book = StreamBook(machine=bytes(SIGNER.public.key_id), stream=stream, next_n=n)
    command, after = read_command(ASKER, book, method=method.encode(), target=target.encode(), headers=raw, now_ns=NOW)
    assert (command.verb, command.target.method, command.target.path) == (verb, method, target)
    assert command.body == digest and after.next_n == n + 1
    assert command.signal.reference == signed.reference
    assert sorted(command.headers) == sorted(fields)


def sign(**changed: object) -> object:
    arguments: dict[str, object] = {
        "house": HOUSE,
        "stream": bytes(16),
        "n": 0,
        "now_ns": NOW,
        "verb": "pair.ping",
        "method": "GET",
        "target": "/v1/ping",
        "headers": [("host", "house")],
        "body": None,
    }
    return sign_request(SIGNER, **(arguments | changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changed",
    [
        {"verb": "no.verb"},
        {"method": "get"},
        {"target": "v1"},
        {"target": "/ space"},
        {"headers": [("host", "h\u00e9")]},
        {"headers": [("x", "y")] * 129},
        {"headers": [("x", "y" * 9000)]},
        {"headers": [("x", "a\nb")]},
        {"n": -1},
        {"now_ns": 2**63},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_cannot_be_signed_is_misuse(changed: dict[str, object]) -> None:
    """An unknown verb, a target or header that has no form, too many or too long: our caller's fault, and nothing is signed."""
    with pytest.raises(Misuse):
        sign(**changed)


def test_two_signatures_of_one_request_differ() -> None:
    """Fresh salts: nothing can be guessed from a commitment."""
    assert sign() != sign()
