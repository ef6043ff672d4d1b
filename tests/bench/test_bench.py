"""`make bench` runs, and every figure that was promised is recorded. What the figures are is nobody's business here."""

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import PROJECT, require

BENCH = PROJECT / "bench"
AREAS = sorted(path.stem for path in BENCH.glob("area_*.py"))
# Where each figure that was promised is recorded.
PROMISED = {
    "area_channel": {
        "pair.responder.per_cpu_s",
        "pair.bulk.ratio_noiseprotocol",
        "pair.bulk.ratio_ssl",
        "pair.bulk.ratio_raw",
        "pair.junk.per_cpu_s",
        "pair.scale.knock_1m_over_10",
        "pair.memory.bytes_per_pair",
    },
    "area_cli": {"cli.version.cpu_ms"},
    "area_audit": {
        "ledger.publish.p99_ratio",
        "ledger.verify.entries_per_s",
        "ledger.inclusion.us",
        "ledger.checkpoint_verify.us",
        "ledger.query.p50_ms",
    },
    "area_ledger": {
        "ledger.append_1.ratio_fdatasync",
        "ledger.append_64.per_s",
        "ledger.append_64.ratio_sqlite",
        "ledger.append_64.ratio_tlog_scales",
        "ledger.append_64.ratio_pymerkle",
        "ledger.append_1024.per_s",
    },
    "area_admit": {
        "gate.admit.ratio_verify",
        "gate.admit.per_cpu_s",
        "gate.admit.ratio_cwt_cedar",
        "gate.admit.ratio_pyjwt_casbin",
        "gate.revoke.ms",
    },
    "area_gate": {
        "gate.behaviour.bytes_per_key",
        "gate.behaviour.score_update_us",
        "gate.rules.mean_us",
        "gate.rules.ratio_100k_over_1k",
        "gate.rules.ratio_clingo",
    },
    "area_story": {"gate.explain.ms"},
    "area_scale": {"ledger.scale.append_10m_over_10k"},
    "area_noise": {"pair.handshake.ratio_noiseprotocol"},
    "area_pair": {"pair.connect.ratio_mtls", "pair.connect.ratio_ssh", "pair.http.ratio_plain_p50", "pair.sever.ms"},
}


@pytest.mark.parametrize("area", AREAS)
def test_an_area_records_what_was_promised(area: str) -> None:
    """With tiny counts, in the process that `make bench` gives it; each figure is a number, and no peer is missing."""
    for program in ("ssh", "sshd", "ssh-keygen") if area == "area_pair" else ():
        require(program)
    env = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")} | {"BENCH_QUICK": "1"}
    env["PYTHONPATH"] = os.pathsep.join((str(PROJECT / "src"), str(PROJECT)))
    command = [sys.executable, str(BENCH / "run.py"), "--one", str(BENCH / f"{area}.py")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    figures = {line["key"]: line["value"] for line in lines if "key" in line}
    assert PROMISED.get(area, set()) <= figures.keys()
    assert all(math.isfinite(value) for value in figures.values())
    assert [line for line in lines if "missing" in line] == []


def test_every_bar_has_an_area() -> None:
    """Every figure with a bar is one that some area records, and the documentation names them all."""
    spec = importlib.util.spec_from_file_location("bench_run", BENCH / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_run"] = module
    spec.loader.exec_module(module)
    assert set(module.BARS) <= set.union(*PROMISED.values())
    page = (PROJECT / "docs" / "benchmarks.md").read_text("utf-8")
    for key, bar in module.BARS.items():
        assert f"| `{key}` | {bar} |".replace(">=", "≥").replace("<=", "≤") in page, key


def test_a_quick_run_writes_nothing(tmp_path: Path) -> None:
    """`--quick` is for the tests: the figures of the last real run stay."""
    results = BENCH / "results.json"
    before = results.read_bytes() if results.exists() else None
    done = subprocess.run(
        [sys.executable, str(BENCH / "run.py"), "--quick", "noise"], capture_output=True, text=True, check=False, timeout=110, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "pair.handshake.ratio_noiseprotocol" in done.stdout
    assert (results.read_bytes() if results.exists() else None) == before
