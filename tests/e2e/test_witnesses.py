"""Who saw a house's log: its witnesses, its pairs, and what they tell each other; with programs and sockets as people use them."""

import json
import subprocess
from pathlib import Path

from tallystick.errors import Unproven
from tallystick.node import commands
from tallystick.node.checkpoints import ForkError
from tallystick.tlog.checkpoint import Checkpoint, read_checkpoint
from tallystick.tlog.cosignature import sign_checkpoint
from tests.e2e.support import Client, Home, House, until


def serve_witness(home: Home, logs: Path) -> tuple["subprocess.Popen[str]", dict[str, object]]:
    """`tally witness serve` as a program, and what it says when it is ready."""
    argv = home.argv("witness", "serve", "--json", "--witness-logs", str(logs), "--witness-listen", "127.0.0.1:0")
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=home.environment())
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def test_a_house_with_a_witness(tmp_path: Path) -> None:
    """From the commands alone: keys into files, the witness serves, and the house publishes what it cosigned."""
    house = House(tmp_path).init()
    witness = Client(tmp_path, "witness")
    keys = house.json("witness", "keys")
    logs = tmp_path / "logs"
    logs.write_text("".join(f"log {key}\n" for key in keys["log"]) + "quorum none\n")
    process, facts = serve_witness(witness, logs)
    try:
        policy = house.path / "policy"
        policy.write_text(f"witness one {facts['key']} http://127.0.0.1:{facts['port']}\nquorum one\n")
        house.flags |= {"witness_policy": policy, "witness_quorum": "closed"}
        with house:
            (row,) = until(lambda: [each for each in house.json("witness", "ls")["witnesses"] if each["size"]], "the witness has cosigned")
            assert row["failure"] is None
            published = until(lambda: (house.path / "tiles" / "checkpoint").read_bytes(), "it is published")
            assert str(facts["key"]).partition("+")[0] in published.decode()
            (log,) = witness.json("witness", "ls", env={"TALLY_WITNESS_LOGS": str(logs)})["logs"]
            assert log["size"] >= row["size"]
    finally:
        process.terminate()
        assert process.wait(10) == 0


def test_pairs_compare(tmp_path: Path) -> None:
    """Two machines of one house: what one saw is proven to be of the same history; a house that signed two is found, and kept."""
    with House(tmp_path) as house:
        laptop = house.machine("laptop")
        laptop.ping()
        shown = laptop.do(commands.witness_show, laptop.settings(), house="")
        assert read_checkpoint(shown["checkpoint"].encode())[0].size == shown["size"]
        seen = tmp_path / "seen"
        seen.write_text(shown["checkpoint"])
        house.owner.ping()
        found = house.owner.do(commands.witness_compare, house.owner.settings(), house="attic", file=seen)
        assert found["theirs"] == shown["size"]
        assert found["newest"] >= max(found["ours"], found["theirs"])

        with house.open() as machine:
            keys = machine.vault.log
            lie = sign_checkpoint(
                Checkpoint(origin=machine.log_name, size=shown["size"] - 1, root=bytes(range(32))),
                ed25519=(keys.ed25519.public.raw, keys.ed25519.sign),
                ml_dsa_44=(keys.ml_dsa_44.public.raw, keys.ml_dsa_44.sign),
                time_s=1,
            )
        seen.write_bytes(lie)
        house.fails(ForkError, house.owner.do, commands.witness_compare, house.owner.settings(), house="attic", file=seen)
        kept = house.owner.log("fork-found")[-1]["fields"]
        assert lie.hex() in (kept["checkpoint"], kept["other_checkpoint"])
        seen.write_text(shown["checkpoint"].replace("\n", "\n0\n", 1))
        house.owner.cli("witness", "compare", str(seen), "attic", code=5)
        seen.write_bytes(lie[:-40] + lie[-41:-40] + lie[-39:])
        assert house.owner.cli("witness", "compare", str(seen), "attic", code=3).stderr.startswith("error: ")
        assert issubclass(ForkError, Unproven)


def test_k_of_n_pairs(tmp_path: Path) -> None:
    """An auditor names pairs by their keys: how much of the history a quorum of them has seen is told, and none is a finding."""
    with House(tmp_path) as house:
        clients = [house.owner, *(house.machine(name) for name in ("laptop", "phone"))]
        for client in clients:
            client.ping()
            client.ping()
        keys = [client.json("witness", "keys")["witness"] for client in clients]
        log = house.json("witness", "keys")["log"]
    lines = [f"log {key}" for key in log]
    lines += [f"witness pair{number} {key}" for number, key in enumerate(keys)]
    policy = tmp_path / "policy"

    def verified(*more: str, code: int = 0) -> int:
        policy.write_text("\n".join([*lines, *more]) + "\n")
        found: int = house.json("verify", "--policy", str(policy), "--state", str(tmp_path / "state"), code=code)["attested"]
        return found

    two = verified("group most 2 pair0 pair1 pair2", "quorum most")
    every = verified("group each all pair0 pair1 pair2", "quorum each")
    some = verified("group some any pair0 pair1 pair2", "quorum some")
    assert 0 < every <= two <= some
    stranger = Client(tmp_path, "stranger").made()
    lines.append(f"witness nobody {stranger.json('witness', 'keys')['witness']}")
    assert verified("group each all pair0 nobody", "quorum each", code=3) == 0
    assert verified("group either any pair0 nobody", "quorum either") > 0
    assert house.json("verify", "--state", str(tmp_path / "state"))["attested"] is None
