"""The statement that a pairing stands, at the client: signed by the own human key for ADMIN, checked when the house shows it."""

import asyncio
import secrets
from collections.abc import Callable
from typing import Final

from tallystick.errors import Unproven
from tallystick.gate.statement import parse_bundle, sign_statement
from tallystick.keys import PublicKey, Signer
from tallystick.node.machine import Machine
from tallystick.pair.ceremony import ClientCeremony
from tallystick.pair.message import Reason, Standing
from tallystick.pair.statement import EntryRef, PairApprove, encode_statement
from tallystick.passage.pairing import Shown, Signed
from tallystick.rights.matrix import ordered_actions

Human = Callable[[], Signer]
"""Opens the human key for one signature; called twice, first before anything leaves this machine."""

WORDS: Final = {
    Reason.MALFORMED: "the two ends do not speak the same version",
    Reason.OUT_OF_ORDER: "the two ends do not speak the same version",
    Reason.BAD_KEY: "a key that must not be pinned, or another house than the invite's",
    Reason.WRONG_TYPE: "the house offered another type or suite than the invite's",
    Reason.BAD_COMMITMENT: "somebody is in between: the words were not committed to",
    Reason.BAD_CONFIRMATION: "somebody is in between: a proof does not hold",
    Reason.BAD_STATEMENT: "the statement of approval is not one of this pairing",
    Reason.OTHER_KEY: "the invite is for another machine",
    Reason.CANCELLED: "somebody said that the words differ, or gave up",
    Reason.DENIED: "it was denied at the house",
    Reason.EXPIRED: "it took too long",
    Reason.ATTESTATION: "the house asks for an attestation that this machine cannot give",
    Reason.UNAVAILABLE: "one of the two ends cannot pair at the moment",
    Reason.UNSPECIFIED: "no reason was given",
}
"""Why a ceremony ended without a pair, for the one who reads it at night."""


async def sign_approval(ceremony: ClientCeremony, proposal: int, human: Human, now_ns: int) -> bytes:
    """The bundle in which the own human key lets entry `proposal` of the house stand. Raises: what the signer raises."""
    hello, welcome, secret = ceremony.hello, ceremony.welcome_message, ceremony.secrets
    if hello is None or welcome is None or secret is None:
        raise AssertionError("a ceremony in this state has a hello, a welcome and its secrets")
    body = encode_statement(
        PairApprove(
            pairing_id=secret.pairing_id,
            proposal=EntryRef(origin=welcome.origin_hash, index=proposal),
            static=ceremony.client_static,
            signing=hello.signing,
            witness=hello.witness,
            human=hello.human,
            pair_type=ceremony.pair_type,
            suite=welcome.suite,
            label=hello.label,
            actions=ordered_actions(ceremony.pair_type),
        )
    )

    def sign() -> bytes:
        return sign_statement(
            human(),
            body,
            house_id=welcome.house_id,
            issued_at_ns=now_ns,
            stream=secrets.token_bytes(16),
            n=0,
            salt=secrets.token_bytes(32),
        )

    return await asyncio.to_thread(sign)


def read_standing(machine: Machine, ceremony: ClientCeremony, standing: Standing, own: PublicKey | None, session: bytes) -> Signed | Shown:
    """The statement behind a pair, as it goes into our own ledger.

    That it is about this pairing the ceremony has seen. Its signature is proven where it is by a human key that this machine knows. A
    human key of the house is not known here: then the statement is only shown. The pair stands by the word
    of the house, whose session is proven, and what was shown is kept for whoever knows the key; this machine believes nothing of it.

    Raises: Malformed, Unproven.
    """
    unproven = parse_bundle(standing.bundle)
    if ceremony.welcome_message is None or unproven.signal.claims.aud != ceremony.welcome_message.house_id:
        raise Unproven("its statement is for another house")
    known = machine.store.key(unproven.kid)
    key = own if own is not None and own.key_id == unproven.kid else known.public if known is not None and known.kind == "human" else None
    if key is None:
        return Shown(bundle=standing.bundle, session=session)
    unproven.prove(key)
    if unproven.opening.body is None:
        raise AssertionError("a bundle that was read has its body")
    return Signed(
        key=bytes(unproven.kid),
        signal=unproven.signal.sign1.raw,
        statement=unproven.body,
        salt=unproven.opening.body.salt,
        session=session,
    )
