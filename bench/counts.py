"""How much is measured: everything, or just enough to see that every figure is still recorded (BENCH_QUICK=1, for the tests)."""

import os
from typing import Final

QUICK: Final = os.environ.get("BENCH_QUICK") == "1"


def count(full: int, quick: int) -> int:
    """`full` in a run whose figures matter."""
    return quick if QUICK else full
