"""What this machine says of itself, and what its processor can do."""

import platform
import re
import sys
from pathlib import Path
from typing import Final

from tallystick import __version__
from tallystick.keys.signer import KeyClass
from tallystick.pair.message import HostFacts

_CPUINFO: Final = Path("/proc/cpuinfo")
_AES: Final = re.compile(r"^(?:flags|Features)\s*:.*\baes\b", re.MULTILINE)
_WORD: Final = re.compile(r"[^A-Za-z0-9._+~-]+")


def _word(text: str, most: int, otherwise: str) -> str:
    """The text in the characters a host fact may have (docs/spec/pairing.md, section 2)."""
    return _WORD.sub("-", text)[:most].strip("-") or otherwise


def host_facts(name: str, key_class: KeyClass) -> HostFacts:
    """The facts for a hello: claims, shown as claims."""
    return HostFacts(
        name=name,
        os=_word(sys.platform, 32, "unknown"),
        arch=_word(platform.machine(), 32, "unknown"),
        version=_word(__version__, 32, "0"),
        key_class=key_class,
    )


def has_aes_hardware() -> bool:
    """Whether the processor computes AES itself; then AES-GCM is the faster suite, otherwise it is slow and leaks through caches."""
    if sys.platform == "darwin":
        return True  # every Mac since 2010 has AES-NI or the ARMv8 instructions
    try:
        return _AES.search(_CPUINFO.read_text(encoding="ascii", errors="replace")) is not None
    except OSError:
        return False
