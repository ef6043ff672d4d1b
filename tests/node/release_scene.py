"""A house that runs, a source that asks for things at its gate, and the owner who decides, at the door."""

import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tallystick.canonical import encode
from tallystick.gate.statement import sign_statement
from tallystick.keys import KeyId
from tallystick.ledger.event import Event, Kind
from tallystick.node.gatewords import Verdict
from tallystick.node.speaking import SignalSource, SignedSignal
from tallystick.primitives import sha256
from tallystick.rights.approval import Item, approval_root
from tallystick.rights.scope import Terms
from tallystick.rights.statement import SignalApprove, SignalDeny, Statement, encode_statement
from tallystick.storage.gaterows import ProposalRow
from tests.gate.world import Key
from tests.node.door_scene import Said, Scene, Visit, play

HOUR_NS = 3_600 * 10**9
TOML = """
[verbs.greet]
argv = ["/bin/sh", "-c", "cat > greeted; exit 4"]
class = "write"
input_bytes = 100
cwd = "FOLDER"

[verbs.slow]
argv = ["/bin/sleep", "1000"]
class = "write"
timeout_s = 1000

[verbs.reboot]
argv = ["/bin/sh", "-c", "echo down >> rebooted"]
cwd = "FOLDER"
"""


@dataclass
class Desk:
    """Who speaks to the gate, and who decides."""

    here: Scene
    owner: Visit
    folder: Path

    @property
    def store(self) -> Any:
        return self.here.estate.house.store

    def introduce(self, name: str, *classes: str, actions: tuple[str, ...] = (), **more: Any) -> SignalSource:
        """A source key that the owner signed in."""
        key = Key(name)
        event = Event.of(
            Kind.KEY_INTRODUCED,
            time.time_ns(),
            "pair",
            key=bytes(self.here.estate.owner.public.key_id),
            subject=bytes(key.public.key_id),
            key_kind="source",
            cose_key=key.public.cose_key(),
            classes=classes or ("sensor",),
            actions=actions or None,
            label=name,
            **more,
        )
        self.store.append(event).result()
        return SignalSource(key, self.here.estate.house.house_id)

    async def ask(self, signed: SignedSignal) -> Verdict:
        """Hand a signal in at the gate."""
        return await self.here.house.gate.keeper.admit(signed.raw, signed.opening, signed.body)

    async def put(self, source: SignalSource, path: str = "note.txt", body: bytes = b"new\n", **more: Any) -> int:
        """A write that is held; its proposal."""
        verdict = await self.ask(source.sign("sensor", "write", "archive.put", target=("PUT", f"/v1/files/{path}"), body=body, **more))
        assert verdict.held and verdict.proposal is not None
        return verdict.proposal

    def row(self, proposal: int) -> ProposalRow:
        found: ProposalRow | None = self.store.gate.proposal(proposal)
        assert found is not None
        return found

    def state(self, proposal: int) -> tuple[str, str]:
        row = self.row(proposal)
        return row.state, row.reason

    def waiting(self) -> list[int]:
        return [row.entry for row in self.store.gate.proposals("held")]

    def file(self, path: str = "note.txt") -> bytes | None:
        found = self.here.estate.house.settings.root / path
        return found.read_bytes() if found.exists() else None

    # --- What the owner says ---------------------------------------------------------------------------------------------

    def approval(self, *proposals: int, scope: Terms | None = None, **change: Any) -> SignalApprove:
        items = [Item(entry, self.row(entry).signal_hash) for entry in sorted(proposals)]
        fields: dict[str, Any] = {
            "root": approval_root(items),
            "proposals": tuple(sorted(proposals)),
            "expires_ns": time.time_ns() + HOUR_NS,
            "scope": scope,
        }
        return SignalApprove(**(fields | change))

    def signed(self, statement: Statement, *, by: Any = None, house: KeyId | None = None, **more: Any) -> bytes:
        fields: dict[str, Any] = {
            "issued_at_ns": time.time_ns(),
            "stream": secrets.token_bytes(16),
            "n": 0,
            "salt": secrets.token_bytes(32),
        }
        estate = self.here.estate
        return sign_statement(
            by or estate.owner.signer, encode_statement(statement), house_id=bytes(house or estate.house.house_id), **(fields | more)
        )

    async def submit(self, bundle: bytes, visit: Visit | None = None) -> Said:
        return await (visit or self.owner).ask("POST", "/v1/statements", "statement.submit", encode([bundle, None]))

    async def approve(self, *proposals: int, **more: Any) -> Said:
        return await self.submit(self.signed(self.approval(*proposals, **more)))

    async def deny(self, proposal: int, reason: str = "denied") -> Said:
        return await self.submit(self.signed(SignalDeny(proposal=proposal, reason=reason)))

    def kinds(self, since: int) -> list[str]:
        return [kind for kind in self.here.kinds(since) if kind not in ("ANSWER", "LIMITS")]

    def events(self, kind: Kind) -> list[Event]:
        return [row.event for row in self.store.entries(kinds=(kind,), limit=1000)]


def with_desk(folder: Path, act: Callable[[Desk], Awaitable[Any]]) -> Any:
    """A house of its own, and its owner at the door."""
    (folder / "attic").mkdir(mode=0o700)
    (folder / "attic" / "tally.toml").write_text(TOML.replace("FOLDER", str(folder)))

    async def run(here: Scene) -> Any:
        return await act(Desk(here, here.visit("owner"), folder))

    return play(folder, run)


def digest(data: bytes) -> bytes:
    """SHA-256."""
    return sha256(data)
