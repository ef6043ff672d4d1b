"""A house with a human key and a few sources, for everything that is tested behind the gate."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tallystick.canonical import Value
from tallystick.gate.deterministic import Deterministic
from tallystick.gate.opening import UNSTATED, BodyDigest, Target, commitments_of, encode_opening, make_opening
from tallystick.gate.plan import Plan
from tallystick.gate.question import GateLayer, Layer
from tallystick.gate.signal import Reference, Signal, encode_signal
from tallystick.keys import KeyId, PublicKey, sign1
from tallystick.ledger.event import Event, Kind
from tallystick.node.effects import Effects, NoDoors
from tallystick.node.gatekeeper import Gatekeeper
from tallystick.node.machine import Machine
from tallystick.node.settings import load
from tallystick.pair.pairing import Role
from tallystick.primitives import sha256
from tests.gate.world import SALTS, Key

SECOND = 10**9


@dataclass
class Signed:
    """A signal as its sender hands it in."""

    raw: bytes
    opening: bytes
    claims: Signal

    @property
    def reference(self) -> bytes:
        return sha256(self.raw[-64:])


@dataclass
class GateScene:
    """One house on a disk, and what speaks to its gate."""

    machine: Machine
    human: Key
    now_ns: int
    keys: dict[str, Key] = field(default_factory=dict)
    _counter: Iterator[int] = field(default_factory=itertools.count)

    def clock(self) -> int:
        return self.now_ns

    def key(self, name: str) -> Key:
        """The key of this name; not introduced by asking for it."""
        if name not in self.keys:
            self.keys[name] = Key(name)
        return self.keys[name]

    def kid(self, name: str) -> KeyId:
        return self.key(name).public.key_id

    def record(self, *events: Event, openings: tuple[bytes, ...] = ()) -> int:
        """Put events into the ledger; the index of the first."""
        return self.machine.store.append(*events, openings=openings).result()[0].index

    def introduce(self, name: str, *classes: str, actions: tuple[str, ...] = (), **more: Any) -> KeyId:
        """The human signs a source key into existence."""
        return self.adopt(name, self.key(name).public, *classes, actions=actions, **more)

    def adopt(self, label: str, public: PublicKey, *classes: str, actions: tuple[str, ...] = (), **more: Any) -> KeyId:
        """The same for a key that lies elsewhere."""
        self.record(
            Event.of(
                Kind.KEY_INTRODUCED,
                self.now_ns,
                "pair",
                key=bytes(self.human.public.key_id),
                subject=bytes(public.key_id),
                key_kind="source",
                cose_key=public.cose_key(),
                classes=classes,
                actions=actions or None,
                label=label,
                **more,
            )
        )
        return public.key_id

    def revoke(self, name: str, how: str = "retired", since: int | None = None) -> int:
        return self.record(
            Event.of(
                Kind.KEY_REVOKED,
                self.now_ns,
                "local",
                subject=bytes(self.kid(name)),
                revocation=how,
                since=since,
            )
        )

    def end(self, proposal: int, reason: str) -> int:
        """A proposal is over."""
        return self.record(Event.of(Kind.PROPOSAL_ENDED, self.now_ns, entry=proposal, reason=reason))

    def sign(
        self,
        name: str,
        signal_class: str = "sensor",
        action: str = "propose",
        verb: str = "camera.frame",
        *,
        body: bytes | None = None,
        place: Value = None,
        target: Target | None = None,
        prev: tuple[Reference, ...] = (),
        by: Key | None = None,
        **change: Any,
    ) -> Signed:
        """A signal of a source, fresh unless told otherwise."""
        opening = make_opening(
            SALTS,
            target=target,
            place=place,
            body=UNSTATED if body is None else BodyDigest(length=len(body), sha256=sha256(body)),
        )
        commitments, _ = commitments_of(opening)
        claims = Signal(
            aud=bytes(self.machine.house_id),
            signal_class=signal_class,
            action=action,
            verb=verb,
            commitments=commitments,
            issued_at_ns=self.now_ns,
            stream=b"stream of tests.",
            n=next(self._counter),
            prev=prev,
        )
        claims = replace(claims, **change)
        return Signed(sign1(by or self.key(name), encode_signal(claims)), encode_opening(opening), claims)

    def keeper(
        self,
        plan: Plan | None = None,
        layers: dict[Layer, GateLayer] | None = None,
        clock: Callable[[], int] | None = None,
        rate: int = 0,
    ) -> Gatekeeper:
        """A gate of this house, as it is after a start."""
        effects = Effects(self.machine.store, self.machine.vault, NoDoors(), self.machine.reserve)
        machine = self.machine
        found = {Layer.DETERMINISTIC: Deterministic()} if layers is None else layers
        return Gatekeeper(
            machine.store,
            effects,
            house_id=machine.house_id,
            signer=machine.vault.machine.signing,
            origin=self.origin,
            clock=clock or self.clock,
            plan=plan,
            layers=found,
            rate=rate,
        )

    def origin(self) -> bytes:
        return sha256(self.machine.log_name.encode())

    def events(self, kind: Kind) -> list[Event]:
        return [row.event for row in self.machine.store.entries(kinds=(kind,), limit=10_000)]


@contextmanager
def gate_scene(path: Path) -> Iterator[GateScene]:
    """A fresh house whose first human key stands."""
    settings = load(home=path, env={"HOME": str(path.parent)})
    machine, _ = Machine.create(settings, Role.HOUSE)
    human = Key("a human")
    found = GateScene(machine, human, time.time_ns())
    with machine:
        found.record(
            Event.of(
                Kind.KEY_INTRODUCED,
                found.now_ns,
                "pair",
                subject=bytes(human.public.key_id),
                key_kind="human",
                cose_key=human.public.cose_key(),
                classes=("human",),
                actions=("metadata", "read", "egress", "propose", "write", "admin"),
                label="owner",
                genesis=True,
            )
        )
        yield found


def run(work: Any) -> Any:
    """Drive a coroutine to its end."""
    return asyncio.run(work)
