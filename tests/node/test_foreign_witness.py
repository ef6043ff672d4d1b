"""Witnesses and logs that others wrote: theirs cosigns for our log, and their log is cosigned by our witness (C2SP tlog-witness)."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tallystick.canonical import b64
from tallystick.node.checkpoints import witness_key
from tallystick.node.machine import Machine
from tallystick.node.publisher import Publisher
from tallystick.node.witnesses import Witnesses
from tallystick.node.witnessing import Desk, log_keys
from tallystick.tlog.note import parse_verifier_key
from tallystick.tlog.policy import Policy, PolicyWitness
from tallystick.tlog.witness import Submission
from tests.node import foreign
from tests.node.test_witnessing import Served, grow, house, logs_of, newest, post, sign_other, submission, witness

__all__ = ["house", "witness"]  # fixtures

FEEDER = """
import base64, json, sys
from aics_witness.feeder import WitnessClient, merge_cosignatures
url, vkey, state, notes = sys.argv[1:]
with WitnessClient(url, vkey, state_path=state, max_attempts=1) as client:
    for note, proofs in json.loads(notes):
        data = base64.b64decode(note)
        line = client.submit(data, lambda old, new: [base64.b64decode(h) for h in proofs[str(old)]])
        print(json.dumps(merge_cosignatures(data, line).decode()))
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def their_witness(folder: Path, house: Machine) -> Iterator[PolicyWitness]:
    """The foreign witness, serving our log."""
    config, port = str(folder / "witness.json"), free_port()
    made = foreign.program("aics_witness", "init", "--config", config, "--name", "witness.example.org/w1").communicate(timeout=30)[0]
    found = re.search(r"witness\.example\.org/w1\+[0-9a-f]{8}\+\S+", made)
    assert found, made
    add = ("add-log", "--config", config, "--origin", house.log_name, "--vkey", str(log_keys(house)[0]))
    added = foreign.program("aics_witness", *add)
    assert added.wait(30) == 0, added.communicate()[0]
    process = foreign.program("aics_witness", "serve", "--config", config, "--listen", f"127.0.0.1:{port}")
    said: list[str] = []
    assert process.stdout is not None
    source = process.stdout
    threading.Thread(target=lambda: said.extend(source), daemon=True).start()
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        else:
            raise AssertionError("".join(said))
        yield PolicyWitness(name="theirs", key=parse_verifier_key(found[0]), url=f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(10)
        source.close()


def test_their_witness_cosigns_our_log(tmp_path: Path, house: Machine) -> None:
    """Ten checkpoints, a restart of ours that forgot what they saw, and a second history that they refuse and keep."""
    with their_witness(tmp_path, house) as theirs:
        policy = Policy(logs=logs_of(house).logs, witnesses=(theirs,), quorum="theirs")
        asked = Witnesses(policy, house.store.consistency, closed=True)
        for step in range(10):
            policy.check(asked.collect(newest(house)))
            grow(house, 1 + 61 * step)
        row = newest(house)
        policy.check(Witnesses(policy, house.store.consistency, closed=True).collect(row))
        port = int(theirs.url.rpartition(":")[2])
        assert post(port, Submission(old=row.size, proof=(), note=sign_other(house, row)).to_bytes())[0] == 422
        assert post(port, submission(house, newest(house), 0))[0] == 409
        publisher = Publisher(house)
        publisher.collect = asked.collect
        grow(house, 3)
        published = publisher.publish()
        policy.check((house.home.tiles / "checkpoint").read_bytes())
        assert published.size == house.store.size()


def test_their_feeder_is_cosigned_by_ours(tmp_path: Path, house: Machine, witness: Machine) -> None:
    """Their client of witnesses finds our sizes (409), brings its proofs, and believes our cosignatures."""
    rows = []
    for step in range(6):
        grow(house, 1 + 97 * step)
        rows.append(newest(house))
    sizes = [0, *(row.size for row in rows)]
    notes = [
        (b64(row.note), {str(old): [b64(each) for each in house.store.consistency(old, row.size)] for old in sizes if 0 < old < row.size})
        for row in rows
    ]
    with Served(Desk(witness, logs_of(house))).running() as served:
        assert post(served.port, submission(house, rows[1], 0))[0] == 200  # somebody was here before them
        arguments = (served.url, str(witness_key(witness)), str(tmp_path / "state.json"), json.dumps(notes[2:]))
        done = foreign.run(FEEDER, *arguments)
        assert done.returncode == 0, done.stderr
        merged = [json.loads(line).encode() for line in done.stdout.splitlines()]
        assert len(merged) == 4
        ours = PolicyWitness(name="ours", key=witness_key(witness))
        for note in merged:
            Policy(logs=logs_of(house).logs, witnesses=(ours,), quorum="ours").check(note)
        # A stale checkpoint: their client says that the witness is ahead.
        stale = foreign.run(FEEDER, *arguments[:2], str(tmp_path / "new.json"), json.dumps(notes[:1]))
        assert stale.returncode != 0
        assert "WitnessAhead" in stale.stderr
