"""tallystick: pair, gate, diode, ledger.

The pair is the permission, the gate decides what is believed, the diode decides which way it flows, the ledger keeps
what happened. This package's `__all__` is the public API; everything else may change without notice.
"""

from tallystick.errors import Malformed, Misuse, Refused, TallyError, Unavailable, Unproven

__all__ = ["Malformed", "Misuse", "Refused", "TallyError", "Unavailable", "Unproven", "__version__"]

__version__ = "0.1.0"
