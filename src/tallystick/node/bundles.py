"""Statements as they stand in entries, and back: the fields of an event, and the bundle that anybody can check."""

from tallystick.canonical import encode
from tallystick.gate.opening import BodyDigest, Opened, Opening, encode_opening
from tallystick.gate.statement import BUNDLE_VERSION, ProvenStatement
from tallystick.ledger.event import Event
from tallystick.passage.pairing import Signed
from tallystick.passage.signal import Asker
from tallystick.primitives import sha256


def signed_of(proven: ProvenStatement, carried: Asker | None) -> Signed:
    """The fields of a proven statement as they go into its entry."""
    body = proven.opening.body
    if body is None:
        raise AssertionError("a statement's opening has its body")
    return Signed(
        key=bytes(proven.signal.kid),
        signal=proven.signal.raw,
        statement=proven.body,
        salt=body.salt,
        pairing=None if carried is None else carried.pair,
        session=None if carried is None else carried.session,
    )


def bundle_of(event: Event) -> bytes:
    """The bundle that an event's statement came in: what the other side of a pair is shown as proof."""
    body = event.blob("statement")
    digest = BodyDigest(length=len(body), sha256=sha256(body))
    opening = Opening(body=Opened(salt=event.blob("statement_salt"), value=[digest.length, digest.sha256]))
    return encode([BUNDLE_VERSION, event.blob("signal"), encode_opening(opening), body])
