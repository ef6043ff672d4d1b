"""The gate's part of the scene: keys with places, rows, facts, sightings, a context, scopes, approvals and a plan, all really signed."""

import itertools
from typing import Any, Final, Protocol

from tallystick.canonical import Value, encode
from tallystick.gate.opening import TAGS, commit, commitments_of, encode_opening, make_opening
from tallystick.gate.signal import Signal, encode_signal
from tallystick.keys import sign1
from tallystick.ledger.event import Event, Kind
from tallystick.node.machine import Machine
from tallystick.primitives import sha256
from tallystick.rights.scope import Terms
from tallystick.rights.statement import (
    ContextBegin,
    FactAdd,
    GatePlan,
    GrantWithdraw,
    KeyGrant,
    ScopeGrant,
    SignalApprove,
    SignalDeny,
    Statement,
    encode_statement,
)
from tallystick.tlog.tree import leaf_hash, root_of
from tests.storage.house import Key

LATER: Final = 3_600 * 10**9


class Scene(Protocol):
    """What of the scene is needed here (tests/audit/scene.py)."""

    house: Machine
    now: int

    def add(self, *events: Event, openings: tuple[bytes, ...] = ()) -> int: ...
    def event(self, kind: Kind, actor: str = "house", **fields: Any) -> Event: ...
    def said(self, body: bytes) -> dict[str, Any]: ...


class GateScene:
    """Everything that the gate keeps, in an order in which it can happen."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._salts = (sha256(b"%d" % n) for n in itertools.count())
        self._n = itertools.count()
        self.camera, self.agent = Key.named("audit source camera"), Key.named("audit source agent")

    def live(self) -> None:
        scene = self._scene
        self._rows()
        self._facts()
        layers = (("default", ("crypto", "deterministic")), ("sensor", ("crypto", "sensory", "deterministic")))
        scene.add(scene.event(Kind.PLAN, "pair", plan=dict(layers), **self._said(GatePlan(plan=layers))))
        begun = ContextBegin(key=self.agent.id)
        scene.add(scene.event(Kind.CONTEXT_BEGUN, "pair", subject=bytes(self.agent.id), **self._said(begun)))
        for n in range(6):
            self._seen(f"place {n}", deliver=n % 2 == 0)
        self._scopes()
        self._held()

    def _said(self, statement: Statement) -> dict[str, Any]:
        return self._scene.said(encode_statement(statement))

    def _place(self, value: Value) -> tuple[bytes, bytes]:
        salt = next(self._salts)
        return commit(TAGS[4], salt, value), encode({4: [salt, value]})

    def _rows(self) -> None:
        scene = self._scene
        for key, known, classes in (
            (self.camera, False, ("sensor/camera",)),
            (self.agent, False, ("llm",)),
            (self.camera, True, ("sensor",)),
        ):
            commitment, opening = self._place([473_000_000, 85_000_000, 30])
            row: dict[str, Any] = {"classes": classes, "actions": ("read", "propose"), "targets": ("/a*",), "schedule": "0 8 * * *"}
            statement = KeyGrant(key=key.public, place=commitment, expires_ns=scene.now + LATER, label=None if known else "porch", **row)
            row |= {"subject": bytes(key.id), "place": commitment, "expires": statement.expires_ns}
            if not known:
                row |= {"key_kind": "source", "cose_key": key.public.cose_key(), "label": "porch"}
            kind = Kind.GRANT if known else Kind.KEY_INTRODUCED
            scene.add(scene.event(kind, "pair", **row, **self._said(statement)), openings=(opening,))
        statement = KeyGrant(key=self.agent.public, classes=("llm",), actions=("write",), targets=())
        about: dict[str, Any] = {"subject": bytes(self.agent.id), "classes": ("llm",), "actions": ("write",), "targets": ()}
        at = scene.add(scene.event(Kind.GRANT, "pair", **about, **self._said(statement)))
        gone = self._said(GrantWithdraw(grant=at))
        scene.add(scene.event(Kind.GRANT_WITHDRAWN, "pair", entry=at, subject=bytes(self.agent.id), **gone))

    def _facts(self) -> None:
        scene = self._scene
        said = FactAdd(predicate="speed-limit", subject=None, value=b"\x18\x32", until_ns=scene.now + LATER)
        scene.add(
            scene.event(Kind.FACT_ADDED, "pair", predicate="speed-limit", value=b"\x18\x32", until=said.until_ns, **self._said(said)),
            scene.event(Kind.FACT_ADDED, "gate", predicate="liveness", subject=bytes(self.camera.id), value=b"\x62ok"),
        )
        for word in ("asleep", "away"):
            salt = next(self._salts)
            commitment = commit(TAGS[5], salt, word)
            said = FactAdd(predicate="state", subject=self.agent.id, commitment=commitment)
            about = {"predicate": "state", "subject": bytes(self.agent.id), "commitment": commitment}
            scene.add(scene.event(Kind.FACT_ADDED, "pair", **about, **self._said(said)), openings=(encode({5: [[salt, word]]}),))

    def _signal(self, key: Key, signal_class: str, action: str, *, place: Value = None) -> tuple[bytes, bytes]:
        """A signal of a source, and its opening."""
        opening = make_opening(next(self._salts), place=place)
        commitments, _ = commitments_of(opening)
        claims = Signal(
            aud=bytes(self._scene.house.house_id),
            signal_class=signal_class,
            action=action,
            verb="camera.frame",
            commitments=commitments,
            issued_at_ns=self._scene.now,
            stream=b"stream of source",
            n=next(self._n),
        )
        return sign1(key, encode_signal(claims)), encode_opening(opening)

    def _judged(self, key: Key, raw: bytes, verdict: str = "allow", **more: Any) -> Event:
        return self._scene.event(Kind.SIGNAL, "gate", signal=raw, verdict=verdict, key=bytes(key.id), **{"depth": 0, **more})

    def _seen(self, place: str, *, deliver: bool) -> None:
        scene = self._scene
        raw, opening = self._signal(self.camera, "sensor/camera", "read", place=place)
        reference, commitment = sha256(raw[-64:]), make_place(opening)
        events = [
            self._judged(self.camera, raw),
            scene.event(
                Kind.SIGHTING, "gate", subject=bytes(self.camera.id), observed=scene.now, signal_hash=reference, commitment=commitment
            ),
        ]
        if deliver:
            events.append(scene.event(Kind.DELIVERED, "gate", subject=bytes(self.agent.id), signal_hash=reference))
        scene.add(*events, openings=(opening, opening, b"")[: len(events)])

    def _scopes(self) -> None:
        scene = self._scene
        terms = Terms(
            verb="camera.frame", targets=("/a*",), uses=3, until_ns=scene.now + LATER, origins=(self.agent.id,), body=sha256(b"b")
        )
        said = self._said(ScopeGrant(subject=self.camera.id, terms=terms))
        scope = sha256(said["statement"])
        about: dict[str, Any] = {"scope": scope, "targets": terms.targets, "uses": 3, "expires": terms.until_ns}
        scene.add(scene.event(Kind.SCOPE, "pair", subject=bytes(self.camera.id), **about, **said))
        raw, opening = self._signal(self.camera, "sensor/camera", "write")
        scene.add(self._judged(self.camera, raw, scope=scope), openings=(opening,))

    def _held(self) -> None:
        scene = self._scene
        items = []
        for n in range(4):
            raw, opening = self._signal(self.agent, "llm", "write")
            body = b"a body that waits %d" % n
            context = scene.house.store.gate.context(self.agent.id)
            signal = self._judged(self.agent, raw, "hold", reason="rights", context=context.field if context else None, depth=1)
            more: dict[str, Any] = {
                "preconditions": sha256(b"version"),
                "body": sha256(body),
                "risk": "medium",
                "expires": scene.now + LATER,
            }
            proposal = scene.event(Kind.PROPOSAL, "gate", signal_hash=sha256(raw), **more)
            items.append((scene.add(signal, proposal, openings=(opening, body)) + 1, sha256(raw)))
        terms = Terms(verb="camera.frame", until_ns=scene.now + LATER)
        root = root_of([leaf_hash(encode(list(item))) for item in items[:2]])
        statement = SignalApprove(root=root, proposals=(items[0][0], items[1][0]), expires_ns=scene.now + LATER, scope=terms)
        said = self._said(statement)
        about = {"scope": sha256(said["statement"]), "subject": bytes(self.agent.id), "expires": terms.until_ns}
        scene.add(
            scene.event(Kind.APPROVAL, "pair", items=tuple(items[:2]), expires=statement.expires_ns, **said),
            scene.event(Kind.SCOPE, "pair", **about),
        )
        at = items[2][0]
        denied = self._said(SignalDeny(proposal=at, reason="unwanted"))
        scene.add(scene.event(Kind.PROPOSAL_DENIED, "pair", entry=at, reason="unwanted", **denied))
        scene.add(scene.event(Kind.EFFECT_BEGUN, effect="archive.put", entry=items[0][0]))


def make_place(opening: bytes) -> bytes:
    """The commitment of the place in an opening of nothing else."""
    return sha256(TAGS[4], opening[5:37], opening[37:])
