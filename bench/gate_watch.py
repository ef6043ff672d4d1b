"""One of several processes at one home: it judges signals of a key until the key is revoked, and says when it saw that.

    python bench/gate_watch.py HOME KEYS        prints `ready`, then for each key the monotonic clock in nanoseconds

Each judgement asks the ledger anew, as it does for every signal; nobody tells this process anything.
"""

import sys
import time
from pathlib import Path

from tallystick.gate.crypto import Unbelieved
from tallystick.node.machine import Machine
from tallystick.node.settings import load
from tests.gate.world import Key
from tests.node.gate_scene import GateScene


def main() -> None:
    """Watch the keys one after the other."""
    home, keys = Path(sys.argv[1]), int(sys.argv[2])
    with Machine.open(load(home=home)) as machine:
        scene = GateScene(machine, Key("a human"), time.time_ns())
        keeper = scene.keeper()
        signals = [scene.sign(f"revoked {number}", action="metadata") for number in range(keys)]
        for number, signed in enumerate(signals):
            if not keeper.judge(signed.raw, signed.opening).allowed:
                raise AssertionError(f"key {number} may not speak")
        print("ready", flush=True)
        for signed in signals:
            while True:
                try:
                    keeper.judge(signed.raw, signed.opening)
                except Unbelieved as error:
                    if error.word != "revoked":
                        raise
                    break
                time.sleep(0.0005)
            print(time.monotonic_ns(), flush=True)


if __name__ == "__main__":
    main()
