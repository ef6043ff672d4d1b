"""The benchmark harness: runs every `bench/area_*.py`, prints the figures beside their bars, writes bench/results.json.

An area is a module with `run(record)`; `record("area.what.figure", value)` notes one number. Peers are measured in the same run as we
are, and ratios come first, because absolute figures belong to one machine on one day. A peer that cannot run is named with the reason:
`record.missing("openssh", "no sshd")`. Each area runs in a process of its own, so none inherits another's heap or threads.

    python bench/run.py            every area
    python bench/run.py pair       the areas that record keys beginning with `pair.`
    python bench/run.py --quick    tiny counts: the figures mean nothing and are not written (for the tests)
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

HERE: Final = Path(__file__).resolve().parent
RESULTS: Final = HERE / "results.json"
AREA_TIMEOUT_S: Final = 240


class Bar(NamedTuple):
    """A figure that was promised: `least` or `most`, whichever is set."""

    least: float | None = None
    most: float | None = None

    def holds(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        return f">= {self.least:g}" if self.least is not None else f"<= {self.most:g}"


BARS: Final[Mapping[str, Bar]] = {
    "pair.handshake.ratio_noiseprotocol": Bar(least=1.8),
    "pair.responder.per_cpu_s": Bar(least=6000),
    "pair.connect.ratio_mtls": Bar(least=2),
    "pair.connect.ratio_ssh": Bar(least=50),
    "pair.bulk.ratio_noiseprotocol": Bar(least=2),
    "pair.bulk.ratio_ssl": Bar(least=1),
    "pair.bulk.ratio_raw": Bar(least=0.4),
    "pair.http.ratio_plain_p50": Bar(most=2),
    "pair.junk.per_cpu_s": Bar(least=200_000),
    "pair.sever.ms": Bar(most=10),
    "pair.scale.knock_1m_over_10": Bar(most=1.2),
    "pair.memory.bytes_per_pair": Bar(most=1024),
    "cli.version.cpu_ms": Bar(most=60),
    "ledger.append_1.ratio_fdatasync": Bar(least=0.5),
    "ledger.append_64.ratio_sqlite": Bar(least=0.4),
    "ledger.append_64.ratio_tlog_scales": Bar(least=4),
    "ledger.append_64.ratio_pymerkle": Bar(least=1.2),
    "ledger.publish.p99_ratio": Bar(most=3),
    "ledger.verify.entries_per_s": Bar(least=300_000),
    "ledger.inclusion.us": Bar(most=6),
    "ledger.checkpoint_verify.us": Bar(most=120),
    "ledger.scale.append_10m_over_10k": Bar(most=1.2),
    "ledger.query.p50_ms": Bar(most=5),
    "gate.admit.ratio_verify": Bar(most=1.8),
    "gate.admit.per_cpu_s": Bar(least=5_000),
    "gate.admit.ratio_cwt_cedar": Bar(least=1),
    "gate.admit.ratio_pyjwt_casbin": Bar(least=1.5),
    "gate.revoke.ms": Bar(most=1_000),
    "gate.rules.mean_us": Bar(most=150),
    "gate.rules.ratio_100k_over_1k": Bar(most=1.3),
    "gate.explain.ms": Bar(most=200),
    "gate.behaviour.score_update_us": Bar(most=30),
    "gate.behaviour.bytes_per_key": Bar(most=65_536),
}


class Record:
    """Where an area notes its figures, one JSON line each, so that an area cut short keeps what it had."""

    def __call__(self, key: str, value: float) -> None:
        print(json.dumps({"key": key, "value": round(float(value), 6)}), flush=True)

    def missing(self, peer: str, reason: str) -> None:
        """A peer that cannot run here."""
        print(json.dumps({"missing": peer, "reason": reason}), flush=True)


def areas(wanted: str) -> list[Path]:
    """The files that record keys of the wanted area; all of them for an empty one."""
    files = sorted(HERE.glob("area_*.py"))
    return [f for f in files if not wanted or f.stem == f"area_{wanted}" or f'"{wanted}.' in f.read_text("utf-8")]


def run_one(path: Path) -> None:
    """Inside the area's own process: import the file and let it record."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise AssertionError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    run: Callable[[Record], None] = module.run
    run(Record())


def measure(path: Path) -> tuple[dict[str, float], list[str]]:
    """Run one area; returns its figures and what has to be said about it."""
    figures: dict[str, float] = {}
    notes: list[str] = []
    root = HERE.parent
    env = os.environ | {"PYTHONPATH": os.pathsep.join((str(root / "src"), str(root)))}
    command = [sys.executable, str(HERE / "run.py"), "--one", str(path)]
    output = ""
    try:
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=False, timeout=AREA_TIMEOUT_S)
        output = done.stdout
        if done.returncode:
            notes.append(f"{path.stem}: ended with exit code {done.returncode}")
    except subprocess.TimeoutExpired as late:
        # Bytes, although text was asked for: communicate() had no time to decode them.
        output = (late.stdout or b"").decode()
        notes.append(f"{path.stem}: not finished after {AREA_TIMEOUT_S} s")
    for line in output.splitlines():
        try:
            noted = json.loads(line)
        except ValueError:
            print(line)
            continue
        if "missing" in noted:
            notes.append(f"{path.stem}: without {noted['missing']}: {noted['reason']}")
        else:
            figures[noted["key"]] = noted["value"]
    return figures, notes


def main() -> int:
    """Exit code 0 when every area ran; a missed bar is shown, not punished: figures of one busy moment prove nothing."""
    parser = argparse.ArgumentParser(description="Side-by-side figures.")
    parser.add_argument("area", nargs="?", default="", help="only areas that record keys of this area")
    parser.add_argument("--quick", action="store_true", help="tiny counts, nothing is written: only to see that every area runs")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        run_one(options.one)
        return 0
    if options.quick:
        os.environ["BENCH_QUICK"] = "1"
    chosen = areas(options.area)
    if not chosen:
        print(f"error: no area records {options.area!r}", file=sys.stderr)
        return 2
    results: dict[str, float] = json.loads(RESULTS.read_text("utf-8")) if options.area and RESULTS.exists() else {}
    notes: list[str] = []
    for path in chosen:
        started = time.monotonic()
        figures, said = measure(path)
        results |= figures
        notes += said
        print(f"{path.stem} ({time.monotonic() - started:.1f} s)")
        for key, value in figures.items():
            bar = BARS.get(key)
            mark = "" if bar is None else f"   {bar}  {'ok' if bar.holds(value) else 'SHORT'}"
            print(f"  {key:<48} {value:>14,.3f}{mark}")
    if not options.quick:
        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    wanted = [key for key in BARS if key not in results and key.startswith(options.area)]
    for line in [*notes, *(f"not measured: {key}" for key in wanted)]:
        print(line)
    return 1 if any("exit code" in line or "not finished" in line for line in notes) else 0


if __name__ == "__main__":
    sys.exit(main())
