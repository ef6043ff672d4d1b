"""A village whose incidents can be told: a house, an owner, and sources whose signals stand in a real ledger with real signatures.

Everything is written as the gate writes it (passage/admission.py), by appending events to the house's own store. Keys and clock are
fixed, so a told story is the same text each time.
"""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tallystick.canonical import Value, encode
from tallystick.gate.opening import Opened, Opening, Target, commitments_of, encode_opening, make_opening, parse_opening
from tallystick.gate.signal import Commitments, EntryRef, Reference, Signal, encode_signal
from tallystick.gate.statement import parse_bundle, sign_statement
from tallystick.keys import Signer, sign1
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.said import context_root
from tallystick.node.machine import Machine
from tallystick.node.settings import load
from tallystick.pair.pairing import Role
from tallystick.primitives import sha256
from tallystick.rights.approval import Item, approval_root
from tallystick.rights.statement import KeyGrant, KeyRevoke, SignalApprove, SignalDeny, Statement, encode_statement
from tallystick.storage.sqlite import Store
from tests.gate.world import Key, seed

SECOND: Final = 10**9
START: Final = 1_795_000_000 * SECOND
SALTS: Final = b"".join(seed(f"story {i}") for i in range(20))
ALL: Final = ("metadata", "read", "egress", "propose", "write", "admin")


@dataclass(frozen=True)
class Sent:
    """A signal that was recorded."""

    entry: int
    reference: bytes
    raw: bytes
    proposal: int = -1


@dataclass
class Village:
    """One house on a disk."""

    machine: Machine
    now_ns: int = START
    keys: dict[str, Key] = field(default_factory=dict)
    _n: Iterator[int] = field(default_factory=itertools.count)

    @property
    def store(self) -> Store:
        return self.machine.store

    def key(self, name: str) -> Key:
        if name not in self.keys:
            self.keys[name] = Key("story " + name)
        return self.keys[name]

    def kid(self, name: str) -> bytes:
        return bytes(self.key(name).public.key_id)

    def record(self, *events: Event, openings: Sequence[bytes] = ()) -> int:
        """Append together, a second later than the last time; the index of the first."""
        self.now_ns += SECOND
        return self.store.append(*events, openings=openings).result()[0].index

    def event(self, kind: Kind, actor: str = "gate", **fields: Any) -> Event:
        return Event.of(kind, self.now_ns, actor, **fields)

    # --- People ----------------------------------------------------------------------------------------------------------

    def owner(self, name: str = "owner") -> None:
        """The first human key."""
        public = self.key(name).public
        self.record(
            self.event(
                Kind.KEY_INTRODUCED, "invite", subject=bytes(public.key_id), key_kind="human", cose_key=public.cose_key(),
                classes=("human",), actions=ALL, label=name, genesis=True,
            )
        )  # fmt: skip

    def stated(self, statement: Statement, by: str = "owner", words: str = "") -> dict[str, Any]:
        """The fields of an event that a human's statement brings about. `words`: why, as the human says."""
        salt = seed(f"salt {next(self._n)}")
        bundle = sign_statement(
            self.key(by), encode_statement(statement), house_id=bytes(self.machine.house_id), issued_at_ns=self.now_ns,
            stream=seed(f"stream {next(self._n)}")[:16], n=0, salt=salt, ext=(("reason", words.encode()),) if words else (),
        )  # fmt: skip
        found = parse_bundle(bundle)
        return {"key": self.kid(by), "signal": found.signal.sign1.raw, "statement": found.body, "statement_salt": salt}

    def introduce(self, name: str, *classes: str, actions: tuple[str, ...] = (), label: str | None = None) -> int:
        """The owner signs a source key into existence. `label`: one that no statement may hold, as a hostile house would write it."""
        public = self.key(name).public
        grant = KeyGrant(key=public, classes=tuple(sorted(classes)), actions=actions, label=name)
        signed = self.stated(grant) if label is None else {"key": self.kid("owner")}
        return self.record(
            self.event(
                Kind.KEY_INTRODUCED, "pair", subject=bytes(public.key_id), key_kind="source", cose_key=public.cose_key(),
                classes=grant.classes, actions=actions, targets=(), label=name if label is None else label, **signed,
            )
        )  # fmt: skip

    def revoke(self, name: str, how: str = "retired", since: int | None = None) -> int:
        statement = KeyRevoke(key=self.key(name).public.key_id, how=how, since=since)
        return self.record(
            self.event(Kind.KEY_REVOKED, "pair", subject=self.kid(name), revocation=how, since=since, **self.stated(statement))
        )

    # --- Signals ---------------------------------------------------------------------------------------------------------

    def signed(
        self, name: str, signal_class: str, action: str, verb: str, *, target: str | None = None, says: tuple[Value, ...] = (),
        place: Value = None, prev: tuple[Reference, ...] = (), by: Signer | None = None,
    ) -> tuple[bytes, Opening]:  # fmt: skip
        """A signal as its sender hands it in."""
        opening = make_opening(SALTS, target=None if target is None else Target(method="POST", path=target), place=place, observations=says)
        commitments, _ = commitments_of(opening)
        claims = Signal(
            aud=bytes(self.machine.house_id), signal_class=signal_class, action=action, verb=verb, commitments=commitments,
            issued_at_ns=self.now_ns, stream=b"a stream of tale", n=next(self._n), prev=prev,
        )  # fmt: skip
        return sign1(by or self.key(name), encode_signal(claims)), opening

    def say(
        self, name: str, signal_class: str, action: str, verb: str, *, verdict: str = "allow", reason: str | None = None,
        findings: Sequence[dict[str, Any]] = (), risk: str = "high", body: bytes = b"", beside: Sequence[Event] = (),
        context: tuple[int, int, bytes] | None = None, deliver_to: Sequence[str] = (), signers: tuple[bytes, ...] = (), **more: Any,
    ) -> Sent:  # fmt: skip
        """A signal that the gate recorded: with its findings, its sighting, its deliveries and, where it was held, its proposal."""
        raw, opening = self.signed(name, signal_class, action, verb, **more)
        reference = sha256(raw[-64:])
        bad = next((each for each in findings if each["outcome"] == "reject"), {})
        events = [
            self.event(
                Kind.SIGNAL, signal=raw, verdict=verdict, key=self.kid(name), reason=reason, context=context,
                rule=bad.get("rule"), facts=bad.get("facts"), signers=signers or None,
            )
        ]  # fmt: skip
        written = encode_opening(opening)
        openings = [b"" if written == b"\xa0" else written]
        for each in findings:
            events.append(self.finding(reference, **each))
            openings.append(b"")
        if opening.place is not None and not bad:
            events.append(
                self.event(
                    Kind.SIGHTING, subject=self.kid(name), observed=self.now_ns, signal_hash=reference,
                    commitment=commitments_of(opening)[0].place,
                )
            )  # fmt: skip
            openings.append(encode_opening(Opening(place=opening.place)))
        for other in deliver_to if verdict == "allow" else ():
            events.append(self.event(Kind.DELIVERED, subject=self.kid(other), signal_hash=reference))
            openings.append(b"")
        for event in beside:
            events.append(event)
            openings.append(b"")
        if verdict == "hold":
            events.append(
                self.event(
                    Kind.PROPOSAL, signal_hash=sha256(raw), key=self.kid(name), risk=risk, expires=self.now_ns + 3_600 * SECOND,
                    body=sha256(body) if body else None, what=reason,
                )
            )  # fmt: skip
            openings.append(body)
        first = self.record(*events, openings=openings)
        return Sent(first, reference, raw, first + len(events) - 1 if verdict == "hold" else -1)

    def finding(self, of: bytes, **fields: Any) -> Event:
        """The house's own signal about another."""
        claims = Signal(
            aud=bytes(self.machine.house_id), signal_class="finding", action="metadata", verb="gate.finding", commitments=Commitments(),
            issued_at_ns=self.now_ns, stream=b"the house's own.", n=next(self._n), prev=(of,),
        )  # fmt: skip
        return self.event(Kind.FINDING, signal_hash=of, signal=sign1(self.machine.vault.machine.signing, encode_signal(claims)), **fields)

    def begin_context(self, name: str) -> int:
        return self.record(self.event(Kind.CONTEXT_BEGUN, subject=self.kid(name)))

    def context(self, begun: int, last: int, *references: bytes) -> tuple[int, int, bytes]:
        """As the house completes a signal of this key."""
        return begun, last, context_root(references)

    # --- What becomes of them --------------------------------------------------------------------------------------------

    def approve(self, *held: Sent, by: str = "owner", words: str = "", **more: Any) -> int:
        items = [Item(each.proposal, sha256(each.raw)) for each in held]
        statement = SignalApprove(
            root=approval_root(items), proposals=tuple(item.entry for item in items), expires_ns=self.now_ns + 600 * SECOND
        )
        return self.record(
            self.event(
                Kind.APPROVAL, "pair", items=tuple((item.entry, item.signal_hash) for item in items),
                expires=statement.expires_ns, **(self.stated(statement, by, words) | more),
            )
        )  # fmt: skip

    def renew(self, held: Sent) -> Sent:
        """Something changed before the release: the proposal is over, and its signal waits again."""
        ended = self.event(Kind.PROPOSAL_ENDED, "house", entry=held.proposal, reason="changed")
        again = self.event(
            Kind.PROPOSAL, signal_hash=sha256(held.raw), cause=held.entry, replaces=held.proposal, risk="high", what="rights",
            expires=self.now_ns + 3_600 * SECOND,
        )  # fmt: skip
        return Sent(held.entry, held.reference, held.raw, self.record(ended, again) + 1)

    def deny(self, held: Sent, reason: str = "no") -> int:
        statement = SignalDeny(proposal=held.proposal, reason=reason)
        return self.record(self.event(Kind.PROPOSAL_DENIED, "pair", entry=held.proposal, reason=reason, **self.stated(statement)))

    def done(self, sent: Sent, effect: str, *, failed: str = "") -> int:
        """The effect of a signal, from its beginning to its end; the entry of the end."""
        begun = self.record(
            self.event(Kind.EFFECT_BEGUN, "house", effect=effect, signal_hash=sent.reference, entry=max(sent.entry, sent.proposal))
        )
        end = Kind.EFFECT_FAILED if failed else Kind.EFFECT_DONE
        found = self.record(self.event(end, "house", entry=begun, reason=failed or None))
        if sent.proposal >= 0:
            self.record(self.event(Kind.PROPOSAL_ENDED, "house", entry=sent.proposal, reason="released"))
        return found

    def fact(self, predicate: str, value: Value, about: str | None = None) -> int:
        return self.record(
            self.event(
                Kind.FACT_ADDED, "house", predicate=predicate, value=encode(value), subject=None if about is None else self.kid(about)
            )
        )

    def withdraw(self, fact: int) -> int:
        return self.record(self.event(Kind.FACT_WITHDRAWN, "house", entry=fact))

    def erase(self, entry: int) -> int:
        return self.record(self.event(Kind.BODY_ERASED, "local", entry=entry, reason="asked"))

    def entry_ref(self, entry: int) -> EntryRef:
        return EntryRef(sha256(self.store.house().first_name.encode()), entry)


@contextmanager
def village(path: Path) -> Iterator[Village]:
    """A house with its owner."""
    machine, _ = Machine.create(load(home=path, env={"HOME": str(path.parent)}), Role.HOUSE)
    with machine:
        found = Village(machine)
        found.owner()
        yield found


def incident(place: Village) -> Sent:
    """The incident of the design: a deletion, because a skill trusted a camera that was not where it said it was.

    Returns: the deletion.
    """
    place.introduce("camera-feed", "sensor/camera")
    place.introduce("vision-skill", "skill")
    place.introduce("cleaner", "llm")
    here = place.say("camera-feed", "sensor/camera", "metadata", "camera.frame", place=[525_200_000, 134_050_000, 50])
    frame = place.say(
        "camera-feed", "sensor/camera", "metadata", "camera.frame", target="/rooms/attic", says=("empty",),
        place=[486_856_000, 23_522_000, 50], verdict="refuse", reason="layer",
        findings=(
            {"layer": "sensory", "outcome": "noted", "matches": (("liveness", "mismatch", 400_000, 800_000, 900_000),)},
            {"layer": "deterministic", "outcome": "reject", "rule": "impossible-transit", "facts": (here.entry + 1,)},
        ),
    )  # fmt: skip
    verdict = place.say(
        "vision-skill", "skill", "propose", "vision.classify", target="/v1/files/backup/old", says=("stale",), prev=(frame.reference,)
    )
    deletion = place.say(
        "cleaner", "llm", "write", "archive.rm", target="/v1/files/backup/old", prev=(verdict.reference,), verdict="hold", reason="rights"
    )
    place.approve(deletion, reason="looked-at-it")
    place.done(deletion, "archive.rm")
    place.revoke("camera-feed", "compromised", since=here.entry)
    return deletion


__all__ = ["Opened", "Sent", "Village", "incident", "parse_opening", "village"]
