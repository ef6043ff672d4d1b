"""Human statements: a signal of class human around a body, in one bundle (docs/spec/statements.md, section 1).

What a body means belongs to other rooms (pair/statement.py); here it is bytes with a verb that a human key signed.
"""

from dataclasses import dataclass, field
from typing import Final

from tallystick.canonical import decode, encode
from tallystick.errors import Malformed, Misuse
from tallystick.gate.opening import BodyDigest, Opening, check_opening, commitments_of, encode_opening, make_opening, parse_opening
from tallystick.gate.signal import ProvenSignal, Reference, Signal, UnprovenSignal, encode_signal, parse_signal
from tallystick.keys import KeyId, PublicKey, Signer, sign1
from tallystick.primitives import sha256

BUNDLE_VERSION: Final = 1
MAX_BUNDLE_BYTES: Final = 49_152
MAX_BODY_BYTES: Final = 16_384
HUMAN: Final = "human"
ADMIN: Final = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenStatement:
    """A body that `signal`'s key signed. Made by `UnprovenStatement.prove`; the signal in it is proven by type."""

    signal: ProvenSignal
    opening: Opening = field(repr=False)
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class UnprovenStatement:
    """A bundle whose parts belong together, signed by nobody yet."""

    signal: UnprovenSignal
    opening: Opening = field(repr=False)
    body: bytes

    @property
    def kid(self) -> KeyId:
        """The key it claims to be signed by."""
        return self.signal.kid

    def prove(self, public: PublicKey) -> ProvenStatement:
        """Check the signature under a key that the caller trusts. Raises: Unproven when it does not hold."""
        return ProvenStatement(signal=self.signal.prove(public), opening=self.opening, body=self.body)


def sign_statement(
    signer: Signer,
    body: bytes,
    *,
    house_id: bytes,
    issued_at_ns: int,
    stream: bytes,
    n: int,
    salt: bytes,
    prev: tuple[Reference, ...] = (),
    ext: tuple[tuple[str, bytes], ...] = (),
) -> bytes:
    """Sign a body with a human key and make the bundle.

    Args: body: of `encode_statement`.  stream, n: of this process; salt: fresh entropy, 32 bytes.
        ext: beside the statement, as `reason` (docs/approvals.md).
    Raises: Misuse when a field is out of range; what the signer raises.
    """
    try:
        verb = _verb(body)
    except Malformed as error:
        raise Misuse(error.message) from None
    opening = make_opening(salt, body=BodyDigest(length=len(body), sha256=sha256(body)))
    commitments, _ = commitments_of(opening)
    payload = encode_signal(
        Signal(
            aud=house_id,
            signal_class=HUMAN,
            action=ADMIN,
            verb=verb,
            commitments=commitments,
            issued_at_ns=issued_at_ns,
            stream=stream,
            n=n,
            prev=prev,
            ext=ext,
        )
    )
    return encode([BUNDLE_VERSION, sign1(signer, payload), encode_opening(opening), body])


def parse_bundle(raw: bytes) -> UnprovenStatement:
    """Read a bundle and check that its parts belong together.

    Raises: Malformed for any other bytes, another class or action than a human's statement, or a verb that is not the
    body's; Unproven when opening and body are not what the signal commits to.
    """
    match decode(raw, max_bytes=MAX_BUNDLE_BYTES, max_depth=1, max_items=8):
        case [int(version), bytes(cose), bytes(opened), bytes(body)] if version is not True and version == BUNDLE_VERSION:
            pass
        case _:
            raise Malformed("statement: not a bundle of signal, opening and body")
    signal, opening = parse_signal(cose), parse_opening(opened)
    claims = signal.claims
    if claims.signal_class != HUMAN or claims.action != ADMIN or claims.verb != _verb(body):
        raise Malformed("statement: not a human's statement of this body")
    check_opening(claims, opening)
    if opening != Opening(body=opening.body) or opening.read_body() != BodyDigest(length=len(body), sha256=sha256(body)):
        raise Malformed("statement: the signal does not commit to this body and nothing else")
    return UnprovenStatement(signal=signal, opening=opening, body=body)


def _verb(body: bytes) -> str:
    fields = decode(body, max_bytes=MAX_BODY_BYTES, max_depth=8)
    verb = fields.get("verb") if isinstance(fields, dict) else None
    if not isinstance(verb, str):
        raise Malformed("statement: its body has no verb")
    return verb
