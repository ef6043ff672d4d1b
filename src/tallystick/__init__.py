"""tallystick: pair, gate, diode, ledger.

The pair is the permission, the gate decides what is believed, the diode decides which way it flows, the ledger keeps
what happened. This package's `__all__` is the public API; everything else may change without notice.
"""

from typing import TYPE_CHECKING, Any

from tallystick.errors import Malformed, Misuse, Refused, TallyError, Unavailable, Unproven

if TYPE_CHECKING:
    from tallystick.sdk import Dispatcher, LocalHouse, SignalSource, SignedSignal, Verdict, open_blocking
    from tallystick.sdk import open_house as open  # noqa: A004

__all__ = [
    "Dispatcher",
    "LocalHouse",
    "Malformed",
    "Misuse",
    "Refused",
    "SignalSource",
    "SignedSignal",
    "TallyError",
    "Unavailable",
    "Unproven",
    "Verdict",
    "__version__",
    "open",
    "open_blocking",
]

__version__ = "0.1.0"

_LATER = frozenset(("Dispatcher", "LocalHouse", "SignalSource", "SignedSignal", "Verdict", "open", "open_blocking"))


def __getattr__(name: str) -> Any:
    """What belongs to a house is loaded when it is asked for: `tally --version` needs none of it."""
    if name not in _LATER:
        raise AttributeError(f"module 'tallystick' has no attribute {name!r}")
    from tallystick import sdk

    return getattr(sdk, "open_house" if name == "open" else name)
