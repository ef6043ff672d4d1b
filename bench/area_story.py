"""What a story costs: `tally explain` of a signal behind which a chain of 1,000 stands (docs/explain.md).

- `gate.explain.ms`: from the entry to the lines of text, every signature checked, every opening read and held against what was signed.
  The ledger lies in an SQLite file; predecessors and openings are fetched one after the other, as a chain asks for them. CPU, median.
- `quick_ms`: the same without checking signatures. `floor_ms`: the 1,000 signature checks alone, in the same rounds.
"""

import statistics
import tempfile
import time
from pathlib import Path

from bench.counts import count
from bench.ledger_scene import START_NS, Record
from tallystick.gate.opening import Target, commitments_of, encode_opening, make_opening
from tallystick.gate.signal import Reference, Signal, encode_signal
from tallystick.keys import KeyClass, KeyKind, PublicKey, sign1
from tallystick.keys.cose import parse_sign1
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.story import verify_all
from tallystick.node.explaining import explain
from tallystick.node.machine import Machine
from tallystick.node.settings import load
from tallystick.pair.pairing import Role
from tallystick.primitives import Ed25519KeyPair, sha256

CHAIN = count(1_000, 8)
ROUNDS = count(15, 1)
KEYS = 20
GROUP = 250


class Key:
    """A signing key in memory."""

    key_class = KeyClass.FILE

    def __init__(self, name: str) -> None:
        self.pair = Ed25519KeyPair.from_private(sha256(b"bench story", name.encode()))
        self.public = PublicKey(KeyKind.ED25519, self.pair.public)

    def sign(self, message: bytes) -> bytes:
        return self.pair.sign(message)


def _introduced(key: Key, kind: str, by: Key) -> Event:
    human = kind == "human"
    return Event.of(
        Kind.KEY_INTRODUCED,
        START_NS,
        "pair",
        key=None if human else bytes(by.public.key_id),
        subject=bytes(key.public.key_id),
        key_kind=kind,
        cose_key=key.public.cose_key(),
        classes=("human",) if human else ("skill",),
        actions=("metadata", "read", "egress", "propose", "write", "admin") if human else (),
        genesis=True if human else None,
    )


def _chain(machine: Machine) -> tuple[int, list[bytes]]:
    """The entry of the last signal, and all of them as they were signed."""
    owner, keys = Key("owner"), [Key(f"skill {n}") for n in range(KEYS)]
    machine.store.append(_introduced(owner, "human", owner)).result()
    machine.store.append(*(_introduced(key, "source", owner) for key in keys)).result()
    prev: tuple[Reference, ...] = ()
    signals, events, openings, last = [], [], [], 0
    for n in range(CHAIN):
        key = keys[n % KEYS]
        opening = make_opening(sha256(n.to_bytes(4, "big")), target=Target(method="POST", path=f"/v1/files/report-{n}"))
        claims = Signal(
            aud=bytes(machine.house_id),
            signal_class="skill",
            action="propose",
            verb="report.summarize",
            commitments=commitments_of(opening)[0],
            issued_at_ns=START_NS + n,
            stream=bytes(16),
            n=n,
            prev=prev,
        )
        raw = sign1(key, encode_signal(claims))
        prev = (sha256(raw[-64:]),)
        signals.append(raw)
        events.append(Event.of(Kind.SIGNAL, START_NS + n, "gate", signal=raw, verdict="allow", key=bytes(key.public.key_id)))
        openings.append(encode_opening(opening))
        if len(events) == GROUP or n == CHAIN - 1:
            last = machine.store.append(*events, openings=openings).result()[-1].index
            events, openings = [], []
    return last, signals


def run(record: Record) -> None:
    """One ledger; full, quick and floor in turn."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "house"
        machine, _ = Machine.create(load(home=home, env={"HOME": folder}), Role.HOUSE)
        with machine:
            last, signals = _chain(machine)
            keys = {bytes(row.key_id): row.public for row in machine.store.keys()}  # noqa: SIM118
            checks = [(sign1_, keys[bytes(sign1_.kid)]) for sign1_ in map(parse_sign1, signals)]
            times: dict[str, list[float]] = {"": [], "quick_": [], "floor_": []}
            for _ in range(ROUNDS):
                for name in times:
                    begin = time.process_time()
                    if name == "floor_":
                        holds = verify_all(checks)
                    else:
                        told = explain(machine.store, last, quick=name == "quick_")
                        holds = [link.proven for link in told.story.links] + [bool(told.lines)]
                    times[name].append(time.process_time() - begin)
                    if len(holds) != CHAIN or (all(holds) if name == "quick_" else not all(holds)):
                        raise AssertionError("a chain that holds is proven, and a quick look proves nothing")
    for name, seconds in times.items():
        record(f"gate.explain.{name}ms", 1_000 * statistics.median(seconds))
