"""What this machine says of itself, and what its processor can do."""

import contextlib
import platform
import re
import socket
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


def own_address(bound: str) -> str:
    """The address of this host that others on its network would use; loopback where there is no network. Sends nothing."""
    if bound not in ("::", "0.0.0.0"):
        return bound
    for family, somewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):  # RFC 5737, RFC 3849
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((somewhere, 9))
            return str(probe.getsockname()[0])
    return "127.0.0.1"
