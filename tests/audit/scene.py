"""A real house with everything in its ledger that a ledger can hold: every statement signed, every opening kept, checkpoints published.

scene = Scene.at(folder)         # a home in folder/attic, closed; `bulk` more entries of the commonest kind
"""

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tallystick.canonical import decode
from tallystick.gate.headers import parse_headers
from tallystick.gate.opening import BodyDigest
from tallystick.gate.statement import sign_statement
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.table import KINDS
from tallystick.node.machine import Machine, log_name_of
from tallystick.node.publisher import Publisher
from tallystick.node.settings import load
from tallystick.node.signing import sign_request
from tallystick.pair.pairing import PairType, Role, Suite
from tallystick.pair.statement import (
    EntryRef,
    InviteCreate,
    InviteRevoke,
    PairApprove,
    PairDeny,
    PairDowngrade,
    PairSever,
    Statement,
    encode_statement,
)
from tallystick.primitives import sha256
from tallystick.rights.matrix import ordered_actions
from tallystick.storage.projection import PLAIN
from tallystick.tlog.checkpoint import Checkpoint
from tallystick.tlog.cosignature import cosign
from tests.audit.gatescene import GateScene
from tests.ledger import samples
from tests.storage.house import Key

SECOND = 10**9
STREAM = bytes(range(16))
HUMAN_STREAM = bytes(range(16, 32))


@dataclass
class Paired:
    """A machine of the scene: its keys and its pairing."""

    name: str
    pair_type: PairType
    key: Key
    static: bytes
    witness: Key
    pairing: bytes
    proposal: int = 0
    n: int = 0


@dataclass
class Scene:
    """The house and who comes to it. `now`: the time of the next entry."""

    folder: Path
    house: Machine
    owner: Key
    publisher: Publisher
    now: int = field(default_factory=time.time_ns)
    statements: int = 0
    bodies: list[int] = field(default_factory=list)
    planted: str = "/files/planted-secret-name.txt"

    @classmethod
    def at(cls, folder: Path, *, commands: int = 80, bulk: int = 0) -> "Scene":
        """A whole life, closed at its end."""
        house, _ = Machine.create(load({"name": "attic"}, home=folder / "attic", env={}), Role.HOUSE)
        scene = cls(folder, house, Key.named("audit owner"), Publisher(house))
        try:
            scene.live(commands, bulk)
        finally:
            scene.close()
        return scene

    @property
    def home(self) -> Path:
        """Where it lies."""
        return self.folder / "attic"

    def close(self) -> None:
        """Close the house; nothing stays in the write-ahead log."""
        self.publisher.stop()
        self.house.close()

    def tick(self) -> int:
        self.now += 1_000
        return self.now

    def add(self, *events: Event, openings: tuple[bytes, ...] = ()) -> int:
        """Record events together; the index of the first."""
        index = self.house.store.append(*events, openings=openings).result(30)[0].index
        self.bodies += [index + at for at, opening in enumerate(openings) if opening]
        return index

    def event(self, kind: Kind, actor: str = "house", **fields: Any) -> Event:
        return Event.of(kind, self.tick(), actor, **fields)

    def live(self, commands: int, bulk: int) -> None:
        """Everything, in an order in which it can happen."""
        laptop = self.pair("laptop", PairType.ADMIN, genesis=True)
        phone = self.pair("phone", PairType.INPUT)
        camera = self.pair("camera", PairType.USER, preapproved=True)
        self.denied("stranger")
        for _ in range(commands // 2):
            self.command(laptop)
        self.witnessed(laptop)
        self.add(
            self.event(
                Kind.DOWNGRADED,
                "pair",
                pair=phone.pairing,
                by="statement",
                pair_type="USER",
                **self.signed(PairDowngrade(pairing_id=phone.pairing, pair_type=PairType.USER)),
            )
        )
        for kind in sorted(kind for kind in PLAIN if "signal" not in KINDS[kind].required):
            self.plain(kind)
        self.effects(laptop)
        if bulk:
            self.add(*(self.event(Kind.ANSWER, status=200, length=n, digest=sha256(b"%d" % n), entry=n % 9) for n in range(bulk)))
        for n in range(commands - commands // 2):
            self.command(phone if n % 3 else laptop, effect=n % 5 == 0)
        self.add(self.event(Kind.BODY_ERASED, "local", entry=self.bodies[3], reason="asked"))
        self.add(self.event(Kind.BODY_ERASED, "local", entry=self.bodies[-2], reason="asked"))
        self.proposals()
        GateScene(self).live()
        self.witnessed(phone)
        self.add(
            self.event(
                Kind.SEVERED,
                "pair",
                pair=camera.pairing,
                by="statement",
                reason="lost",
                **self.signed(PairSever(pairing_id=camera.pairing, reason="lost")),
            )
        )
        self.witnessed(laptop)

    # --- Statements and pairs ---------------------------------------------------------------------------------------------

    def signed(self, statement: Statement) -> dict[str, Any]:
        """The fields of an entry that a statement of the owner brings about."""
        return self.said(encode_statement(statement))

    def said(self, body: bytes) -> dict[str, Any]:
        """The same for a body that is written already."""
        salt = secrets.token_bytes(32)
        bundle = sign_statement(
            self.owner, body, house_id=self.house.house_id, issued_at_ns=self.now, stream=HUMAN_STREAM, n=self.statements, salt=salt
        )
        self.statements += 1
        parts = decode(bundle)
        assert isinstance(parts, list)
        return {"key": bytes(self.owner.id), "signal": parts[1], "statement": body, "statement_salt": salt}

    def invited(self, name: str, pair_type: PairType, *, yes: bool = False, signed: bool = True) -> bytes:
        invite = sha256(b"invite", name.encode())
        terms: dict[str, Any] = {"label": name, "preapproved": yes or None}
        if signed:
            terms |= self.signed(InviteCreate(invite_id=invite, pair_type=pair_type, for_key=None, yes=yes, ttl_s=100, label=name))
        actor = "pair" if signed else "local"
        self.add(self.event(Kind.INVITE_CREATED, actor, invite=invite, pair_type=pair_type.value, expires=self.now + 600 * SECOND, **terms))
        return invite

    def proposed(self, name: str, pair_type: PairType, invite: bytes, **more: Any) -> Paired:
        key, witness = Key.named("audit " + name), Key.named("audit witness " + name)
        machine = Paired(name, pair_type, key, sha256(b"static", name.encode()), witness, sha256(b"pairing", name.encode()))
        session = sha256(b"session", name.encode())
        self.add(self.event(Kind.INVITE_CONSUMED, "invite", invite=invite, session=session))
        machine.proposal = self.add(
            self.event(
                Kind.PAIRING_PROPOSED,
                "invite",
                session=session,
                pair=machine.pairing,
                role="house",
                pair_type=pair_type.value,
                suite=Suite.CHACHAPOLY.value,
                subject=bytes(key.id),
                cose_key=key.public.cose_key(),
                static_key=machine.static,
                witness_key=witness.pair.public,
                house=bytes(self.house.house_id),
                invite=invite,
                label=name,
                expires=self.now + 3_600 * SECOND,
                transcript=sha256(b"transcript", name.encode()),
                ext={"words": b"one two three four", "digits": b"1234"},
                **more,
            )
        )
        return machine

    def pair(self, name: str, pair_type: PairType, *, genesis: bool = False, preapproved: bool = False) -> Paired:
        invite = self.invited(name, pair_type, yes=preapproved, signed=not genesis)
        machine = self.proposed(name, pair_type, invite, genesis=genesis or None, preapproved=preapproved or None)
        common: dict[str, Any] = {"pair": machine.pairing, "pair_type": pair_type.value, "label": name}
        if preapproved:
            self.add(self.event(Kind.PAIRING_APPROVED, "local", by="policy", **common))
            return machine
        human = self.owner.public if pair_type is PairType.ADMIN else None
        statement = PairApprove(
            pairing_id=machine.pairing,
            proposal=EntryRef(origin=sha256(self.house.log_name.encode()), index=machine.proposal),
            static=self._x25519(machine),
            signing=machine.key.public,
            witness=machine.witness.public,
            human=human,
            pair_type=pair_type,
            suite=Suite.CHACHAPOLY,
            label=name,
            actions=ordered_actions(pair_type),
        )
        fields = self.signed(statement)
        events = [self.event(Kind.PAIRING_APPROVED, "invite", by="statement", genesis=genesis or None, **common, **fields)]
        if genesis:
            events.insert(
                0,
                self.event(
                    Kind.KEY_INTRODUCED,
                    "invite",
                    key=bytes(self.owner.id),
                    subject=bytes(self.owner.id),
                    key_kind="human",
                    cose_key=self.owner.public.cose_key(),
                    classes=("human",),
                    actions=("metadata", "read", "egress", "propose", "write", "admin"),
                    label=name,
                    genesis=True,
                ),
            )
        self.add(*events)
        return machine

    def _x25519(self, machine: Paired) -> bytes:
        return bytes([*machine.static[:31], machine.static[31] & 0x7F])

    def denied(self, name: str) -> None:
        machine = self.proposed(name, PairType.INPUT, self.invited(name, PairType.INPUT))
        ref = EntryRef(origin=sha256(self.house.log_name.encode()), index=machine.proposal)
        statement = PairDeny(pairing_id=machine.pairing, proposal=ref, reason="wrong-words")
        self.add(self.event(Kind.PAIRING_DENIED, "pair", pair=machine.pairing, reason="wrong-words", **self.signed(statement)))
        invite = self.invited("nobody", PairType.USER)
        self.add(self.event(Kind.INVITE_REVOKED, "pair", invite=invite, **self.signed(InviteRevoke(invite_id=invite))))

    # --- Commands -----------------------------------------------------------------------------------------------------------

    def command(self, machine: Paired, *, effect: bool = False) -> int:
        """A command with its opening, its effect and its answer."""
        verb, method = ("archive.put", "PUT") if effect else ("archive.get", "GET")
        body = BodyDigest(length=machine.n, sha256=sha256(b"%d" % machine.n)) if effect else None
        request = sign_request(
            machine.key,
            house=self.house.house_id,
            stream=STREAM,
            n=machine.n,
            now_ns=self.now,
            verb=verb,
            method=method,
            target=f"{self.planted}?n={machine.n}",
            headers=[("host", "attic"), ("x-note", "n" * (machine.n % 600))],
            body=body,
        )
        machine.n += 1
        cose, opening = parse_headers([(name.lower().encode(), value.encode()) for name, value in request.headers])
        about: dict[str, Any] = {"pairing": machine.pairing, "session": sha256(machine.name.encode())}
        who = {"key": bytes(machine.key.id), "pair": machine.pairing}
        events = [self.event(Kind.SIGNAL, "pair", signal=cose, verdict="allow", **about, **who)]
        if effect:
            events.append(self.event(Kind.EFFECT_BEGUN, effect="archive.put", signal_hash=request.reference, **about))
        index = self.add(*events, openings=(opening,) + (b"",) * (len(events) - 1))
        if effect:
            self.add(self.event(Kind.EFFECT_DONE, entry=index + 1, status=200, result="ok", **about))
        self.add(self.event(Kind.ANSWER, entry=index, status=200, length=machine.n, digest=sha256(b"%d" % index), result="ok", **about))
        return index

    def effects(self, machine: Paired) -> None:
        failed, lost = (self.add(self.event(Kind.EFFECT_BEGUN, effect="archive.rename")) for _ in range(2))
        self.add(
            self.event(Kind.EFFECT_FAILED, entry=failed, reason="unavailable"),
            self.event(Kind.EFFECT_UNKNOWN, entry=lost, reason="restart"),
        )
        self.add(self.event(Kind.EFFECT_BEGUN, effect="archive.rename", signal_hash=sha256(machine.name.encode())))

    def proposals(self) -> None:
        first, second = (
            self.add(self.event(Kind.PROPOSAL, signal_hash=sha256(b"%d" % n), expires=self.now + 60 * SECOND)) for n in range(2)
        )
        self.add(self.event(Kind.PROPOSAL_DENIED, "pair", entry=first, key=bytes(self.owner.id)))
        self.add(self.event(Kind.PROPOSAL_ENDED, entry=second, reason="expired"))
        self.add(self.event(Kind.PROPOSAL, signal_hash=sha256(b"open")))

    def plain(self, kind: Kind) -> None:
        """An entry of a kind that changes no state, with everything it may carry, and one with the least."""
        store = self.house.store
        size, _ = store.head()
        right: dict[str, Any] = {
            "cause": 1,
            "entry": 2,
            "replaces": 3,
            "size": size,
            "root": store.root_at(size),
            "context": (1, 2, bytes(32)),
        }
        for sample in (samples.full(kind), samples.least(kind)):
            fields = {name: right.get(name, value) for name, value in sample.fields.items()}
            for name in ("signal", "statement", "statement_salt", "checkpoint", "pairing"):
                if name not in KINDS[kind].required:
                    fields.pop(name, None)
            self.add(Event.of(kind, self.tick(), sample.actor, **fields))

    # --- Checkpoints --------------------------------------------------------------------------------------------------------

    def witnessed(self, machine: Paired) -> None:
        """A checkpoint is published, and the pair cosigns it."""
        row = self.publisher.publish()
        checkpoint = Checkpoint(origin=self.house.log_name, size=row.size, root=row.root)
        public = machine.witness.pair.public
        line = cosign(checkpoint, name=log_name_of(machine.key.id), ed25519=(public, machine.witness.sign), time_s=self.now // SECOND)
        self.add(
            self.event(
                Kind.CHECKPOINT_COSIGNED,
                "pair",
                pairing=machine.pairing,
                pair=machine.pairing,
                origin_hash=checkpoint.origin_hash,
                size=row.size,
                root=row.root,
                cosigner=line.name,
                by="peer",
                ext={"cosignature": line.line().encode()},
            )
        )


def files(home: Path) -> Iterator[Path]:
    """Every file of a home that is verified."""
    for path in sorted(home.rglob("*")):
        if path.is_file() and path.relative_to(home).parts[0] in ("house.sqlite", "tiles", "bodies"):
            yield path
