"""A witness on its port and the logs that ask it: real sockets, real ledgers (C2SP tlog-witness, tlog-policy)."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tallystick.errors import Misuse, Unavailable
from tallystick.ledger.event import Event, Kind
from tallystick.node.checkpoints import witness_key
from tallystick.node.machine import Machine
from tallystick.node.publisher import Publisher
from tallystick.node.settings import load
from tallystick.node.witnesses import Witnesses, appoint
from tallystick.node.witnessing import Desk, log_keys
from tallystick.node.witnessserver import LINGER_BYTES, MAX_BYTES, WitnessServer
from tallystick.pair.pairing import Role
from tallystick.storage.rows import CheckpointRow
from tallystick.tlog.checkpoint import Checkpoint, read_checkpoint
from tallystick.tlog.cosignature import sign_checkpoint, verifier
from tallystick.tlog.policy import Policy, PolicyGroup, PolicyLog, PolicyWitness
from tallystick.tlog.witness import Submission


class Served:
    """A witness in a thread."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.port = 0
        self.loop = asyncio.new_event_loop()
        self.server = WitnessServer(desk)

    @contextmanager
    def running(self, port: int = 0) -> Iterator["Served"]:
        thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self.server.start("127.0.0.1", port), self.loop).result(10)
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self.server.stop(), self.loop).result(10)
            self.loop.call_soon_threadsafe(self.loop.stop)
            thread.join(10)
            self.loop.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Machine]:
    """A house with some entries."""
    with Machine.create(load(home=tmp_path / "house", env={"HOME": str(tmp_path)}), Role.HOUSE)[0] as machine:
        grow(machine, 5)
        yield machine


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Machine]:
    """A machine that is a witness."""
    with Machine.create(load(home=tmp_path / "witness", env={"HOME": str(tmp_path)}), Role.CLIENT)[0] as machine:
        yield machine


def grow(machine: Machine, count: int) -> None:
    for future in [machine.store.append(Event.of(Kind.MAINTAINED, 1, what="nothing")) for _ in range(count)]:
        future.result()


def newest(machine: Machine) -> CheckpointRow:
    """A checkpoint of the ledger as it is now."""
    return Publisher(machine).newest(fresh=True)


def logs_of(machine: Machine) -> Policy:
    return Policy(logs=tuple(PolicyLog(key=key) for key in log_keys(machine)))


def policy(*witnesses: tuple[str, Machine, str], quorum: str = "all", k: int | None = None) -> Policy:
    rows = tuple(PolicyWitness(name=name, key=witness_key(machine), url=url) for name, machine, url in witnesses)
    group = PolicyGroup(name="all", k=k or len(rows), members=tuple(row.name for row in rows))
    return Policy(witnesses=rows, groups=(group,), quorum=quorum)


def say(port: int, request: bytes) -> bytes:
    """Some bytes to the port; all that comes back."""
    with socket.create_connection(("127.0.0.1", port), 10) as wire:
        wire.sendall(request)
        wire.shutdown(socket.SHUT_WR)
        found = b""
        while data := wire.recv(65_536):
            found += data
        return found


def post(port: int, body: bytes, path: str = "/add-checkpoint") -> tuple[int, bytes]:
    answer = say(port, b"POST %b HTTP/1.1\r\nHost: witness\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body))
    return int(answer.split(b" ")[1]), answer.partition(b"\r\n\r\n")[2]


def submission(house: Machine, row: CheckpointRow, old: int) -> bytes:
    proof = house.store.consistency(old, row.size) if 0 < old < row.size else ()
    return Submission(old=old, proof=proof, note=row.note).to_bytes()


def test_a_witness_cosigns_what_continues(house: Machine, witness: Machine) -> None:
    """First, next, the same again; each is in the witness's ledger before its cosignature leaves, and a restart forgets nothing."""
    first = newest(house)
    grow(house, 300)
    second = newest(house)
    with Served(Desk(witness, logs_of(house))).running() as served:
        assert post(served.port, submission(house, first, 0))[0] == 200
        assert post(served.port, submission(house, second, 0)) == (409, b"%d\n" % first.size)
    with Served(Desk(witness, logs_of(house))).running() as served:
        status, lines = post(served.port, submission(house, second, first.size))
        assert status == 200
        note = read_checkpoint(second.note + lines)[1].verify([verifier(witness_key(witness)), *map(verifier, log_keys(house))])
        assert note.by(witness_key(witness)) is not None
        assert post(served.port, submission(house, second, second.size))[0] == 200
        assert post(served.port, submission(house, first, second.size))[0] == 400  # older than what it says it is from
        assert post(served.port, submission(house, first, first.size)) == (409, b"%d\n" % second.size)
    recorded = witness.store.entries(kinds=(Kind.CHECKPOINT_COSIGNED,))
    assert [row.event.number("size") for row in recorded] == [first.size, second.size]


def test_the_newest_is_shown(house: Machine, witness: Machine) -> None:
    """Monitors read what was cosigned last, by the hash of the origin."""
    row = newest(house)
    desk = Desk(witness, logs_of(house))
    with Served(desk).running() as served:
        place = b"GET /%b/checkpoint HTTP/1.1\r\nHost: w\r\n\r\n" % read_checkpoint(row.note)[0].origin_hash.hex().encode()
        assert say(served.port, place).startswith(b"HTTP/1.1 404 ")
        assert post(served.port, submission(house, row, 0))[0] == 200
        answer = say(served.port, place)
        assert answer.startswith(b"HTTP/1.1 200 ")
        checkpoint, note = read_checkpoint(answer.partition(b"\r\n\r\n")[2])
        assert checkpoint.size == row.size
        assert note.verify([verifier(witness_key(witness))]).proven


def test_two_histories(tmp_path: Path, house: Machine, witness: Machine) -> None:
    """One size with two roots gets no cosignature; both signed checkpoints are kept, once."""
    row = newest(house)
    other = sign_other(house, row)
    desk = Desk(witness, logs_of(house))
    with Served(desk).running() as served:
        assert post(served.port, submission(house, row, 0))[0] == 200
        for _ in range(3):
            assert post(served.port, Submission(old=row.size, proof=(), note=other).to_bytes())[0] == 422
    forks = witness.store.entries(kinds=(Kind.FORK_FOUND,))
    assert [each.event.blob("other_checkpoint") for each in forks] == [other]
    last = desk.last(house.log_name)
    assert last is not None
    assert last.root == row.root


def sign_other(house: Machine, row: CheckpointRow) -> bytes:
    """The house signs a second root for the same size."""
    keys = house.vault.log
    return sign_checkpoint(
        Checkpoint(origin=house.log_name, size=row.size, root=bytes(32)),
        ed25519=(keys.ed25519.public.raw, keys.ed25519.sign),
        ml_dsa_44=(keys.ml_dsa_44.public.raw, keys.ml_dsa_44.sign),
        time_s=1,
    )


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"", b""),
        (b"GET / HTTP/1.1\r\n", b""),
        (b"GET / HTTP/1.1\r\nHost: w\r\n\r\n", b"404"),
        (b"GET /healthz HTTP/1.1\r\nHost: w\r\n\r\n", b"200"),
        (b"GET /add-checkpoint HTTP/1.1\r\nHost: w\r\n\r\n", b"405"),
        (b"PUT /x HTTP/1.1\r\nHost: w\r\n\r\n", b"405"),
        (b"GET / HTTP/1.0\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00", b"400"),
        (b"GET / HTTP/1.1\r\nHost: w\r\nHost: w\r\n\r\n", b"400"),
        (b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"411"),
        (b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 900000\r\n\r\n" + b"x" * 900_000, b"413"),
        (b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 3\r\n\r\nold", b"400"),
        (b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\n\r\n", b"400"),
        (b"GET /../checkpoint HTTP/1.1\r\nHost: w\r\n\r\n", b"404"),
    ],
)
def test_strangers_at_the_port(house: Machine, witness: Machine, request_: bytes, status: bytes) -> None:
    """Whatever comes has one short answer or none, and nothing is recorded."""
    size = witness.store.size()
    with Served(Desk(witness, logs_of(house))).running() as served:
        answer = say(served.port, request_)
        assert answer.split(b" ")[1:2] == ([status] if status else [])
    assert witness.store.size() == size


def test_a_stranger_who_never_ends(house: Machine, witness: Machine) -> None:
    """After an early answer the witness listens on, so that the answer arrives, but not for ever: who goes on is cut off."""
    with (
        Served(Desk(witness, logs_of(house))).running() as served,
        socket.create_connection(("127.0.0.1", served.port), 10) as wire,
    ):
        wire.sendall(b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 99999999999\r\n\r\n")
        limit = MAX_BYTES + LINGER_BYTES + (64 << 20)  # what the two kernels may hold besides
        with pytest.raises(ConnectionError):
            for _ in range(limit // 65_536):
                wire.sendall(bytes(65_536))


def test_what_a_witness_refuses_to_be(house: Machine, witness: Machine) -> None:
    """A witness without logs, or of its own log, does not start."""
    with pytest.raises(Misuse, match="no log is named"):
        Desk(witness, Policy())
    with pytest.raises(Misuse, match="its own log"):
        Desk(house, logs_of(house))


def test_a_house_collects(tmp_path: Path, house: Machine, witness: Machine) -> None:
    """Every witness that answers is in the published note; a quorum that is not reached is said, or keeps it unpublished."""
    with (
        Machine.create(load(home=tmp_path / "second", env={"HOME": str(tmp_path)}), Role.CLIENT)[0] as second,
        Served(Desk(witness, logs_of(house))).running() as one,
    ):
        two = Served(Desk(second, logs_of(house)))
        with two.running():
            both = policy(("one", witness, one.url), ("two", second, two.url))
            row = newest(house)
            asked = Witnesses(both, house.store.consistency, closed=True)
            checked = Policy(logs=logs_of(house).logs, witnesses=both.witnesses, groups=both.groups, quorum=both.quorum)
            checked.check(asked.collect(row))
            grow(house, 10)
            checked.check(asked.collect(newest(house)))
            # A house that was started again does not know what they cosigned last: they tell it.
            grow(house, 10)
            checked.check(Witnesses(both, house.store.consistency, closed=True).collect(newest(house)))
        grow(house, 1)
        row = newest(house)
        with pytest.raises(Unavailable, match="1 of 2 witnesses"):
            Witnesses(both, house.store.consistency, closed=True).collect(row)
        assert b"\n" in Witnesses(both, house.store.consistency, closed=False).collect(row)
        one_of_two = policy(("one", witness, one.url), ("two", second, two.url), k=1)
        asked = Witnesses(one_of_two, house.store.consistency, closed=True)
        asked.collect(row)
        assert [(each["name"], each["size"], bool(each["failure"])) for each in asked.rows()] == [
            ("one", row.size, False),
            ("two", 0, True),
        ]
        optional = policy(("one", witness, one.url), ("two", second, two.url), quorum="none")
        assert Witnesses(optional, house.store.consistency, closed=True).collect(row) != row.note


def test_a_liar_is_not_believed(house: Machine, witness: Machine, tmp_path: Path) -> None:
    """A cosignature that does not hold, by another key, or of a witness that was shown another history counts for nothing."""
    row = newest(house)
    with (
        Machine.create(load(home=tmp_path / "other", env={"HOME": str(tmp_path)}), Role.CLIENT)[0] as other,
        Served(Desk(witness, logs_of(house))).running() as served,
    ):
        asked = Witnesses(policy(("named", other, served.url)), house.store.consistency, closed=False)
        assert asked.collect(row) == row.note
        assert asked.heard["named"].failure
        assert post(served.port, Submission(old=row.size, proof=(), note=sign_other(house, row)).to_bytes())[0] == 422


def test_a_policy_is_on_record(tmp_path: Path, witness: Machine) -> None:
    """What counts is an entry whenever it changes, and says when it became weaker; a file that is no policy stops the start."""
    home = tmp_path / "house"
    file = tmp_path / "policy"
    with Machine.create(load(home=home, env={"HOME": str(tmp_path)}), Role.HOUSE)[0]:
        pass

    def start(text: bytes | None, **flags: object) -> list[tuple[int, bool]]:
        if text is not None:
            file.write_bytes(text)
        with Machine.open(
            load({"witness_policy": file if text is not None else None, **flags}, home=home, env={"HOME": str(tmp_path)})
        ) as m:
            appoint(m, Publisher(m), 1)
            rows = m.store.entries(kinds=(Kind.WITNESS_POLICY,))
            return [(dict(row.event.get("counts"))["needed"], bool(row.event.get("weakened"))) for row in rows]  # type: ignore[call-overload]

    assert start(None) == []
    strong = policy(("one", witness, "http://127.0.0.1:9")).to_bytes()
    assert start(strong) == [(1, False)]
    assert start(strong) == [(1, False)]
    assert start(strong, witness_quorum="closed") == [(1, False), (1, False)]
    assert start(strong) == [(1, False), (1, False), (1, True)]
    assert start(None)[-1] == (0, True)
    with pytest.raises(Misuse, match="policy"):
        start(b"witness one\n")
    with pytest.raises(Misuse, match="no address"):
        start(policy(("one", witness, "ftp://127.0.0.1")).to_bytes())
