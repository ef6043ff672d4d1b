"""What a client adds to each request: the signal that its machine's key signs, and its opening (docs/spec/signal.md)."""

import secrets
from dataclasses import dataclass
from typing import Final

from tallystick.errors import Malformed, Misuse
from tallystick.gate.headers import encode_headers, end_to_end
from tallystick.gate.opening import SALT_BYTES, BodyDigest, Target, open_request
from tallystick.gate.signal import Signal, encode_signal
from tallystick.gate.stream import MACHINE
from tallystick.keys import Signer, sign1
from tallystick.primitives import sha256
from tallystick.rights.action import ActionClass
from tallystick.rights.verb import VERBS, is_named

_SIGNATURE_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """The two headers, and the reference of the signal in them: SHA-256 of its signature."""

    headers: tuple[tuple[str, str], ...]
    reference: bytes


def sign_request(
    signer: Signer,
    *,
    house: bytes,
    stream: bytes,
    n: int,
    now_ns: int,
    verb: str,
    method: str,
    target: str,
    headers: list[tuple[str, str]],
    body: BodyDigest | None,
    action: str | None = None,
) -> SignedRequest:
    """Sign one request of a session.

    Args: house: its id.  n: the next number of this connection.  now_ns: the house's pair time.  target: raw path with query.
        headers: everything that will be sent, `host` included.  body: None when there is none or it is an upload.
        action: the class that the house gave a named program; all other verbs have theirs.
    Raises: Misuse: an unknown verb, or what cannot be signed.
    """
    known = ActionClass(action) if action is not None and is_named(verb) else VERBS.get(verb)
    if known is None:
        raise Misuse(f"no verb is called {verb[:64]!r}", "the verbs are listed in docs/spec/signal.md, section 6")
    try:
        committed = end_to_end([(name.encode("ascii"), value.encode("ascii")) for name, value in headers])
    except UnicodeEncodeError:
        raise Misuse("a header is not ASCII", "encode its value (RFC 8187)") from None
    except Malformed as error:
        raise Misuse(error.message, error.hint) from None
    salts = secrets.token_bytes(3 * SALT_BYTES)
    opened, commitments = open_request(salts, target=Target(method=method, path=target), headers=committed, body=body)
    cose = sign1(
        signer,
        encode_signal(
            Signal(
                aud=house,
                signal_class=MACHINE,
                action=known.value,
                verb=verb,
                commitments=commitments,
                issued_at_ns=now_ns,
                stream=stream,
                n=n,
            )
        ),
    )
    carried = tuple((name.decode("ascii"), value.decode("ascii")) for name, value in encode_headers(cose, opened))
    # The signature is the last element of a COSE_Sign1, and both algorithms have signatures of 64 bytes.
    return SignedRequest(carried, sha256(cose[-_SIGNATURE_BYTES:]))
