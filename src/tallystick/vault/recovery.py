"""The recovery key: made at `tally init`, shown once for paper, kept nowhere. Its only statement is `replace-admins`.

Its text is `recovery-` and the 32-byte Ed25519 seed with check characters (docs/spec/canonical.md, section 4).
"""

import os
from typing import Final

from tallystick.canonical import id_text, parse_id
from tallystick.errors import Malformed
from tallystick.keys.signer import KeyClass
from tallystick.vault.sealing import SEED_BYTES, Entropy
from tallystick.vault.signers import OneSignature

RECOVERY_PREFIX: Final = "recovery"


class RecoveryKey(OneSignature):
    """The recovery key while it is in memory; wiped after one signature."""

    __slots__ = ()

    def paper_text(self) -> str:
        """What goes on paper. Whoever reads it can replace the admins. Raises: Misuse when the key is wiped already."""
        return id_text(RECOVERY_PREFIX, bytes(self._open()))


def new_recovery(entropy: Entropy = os.urandom) -> RecoveryKey:
    """Make a recovery key. Show `paper_text()`, record `public`, then let it go."""
    return RecoveryKey(bytearray(entropy(SEED_BYTES)), KeyClass.FILE)


def recovery_from_text(text: str) -> RecoveryKey:
    """Read the recovery key from what somebody typed from paper. Raises: Malformed, with a hint, when it is none."""
    seed = bytearray(parse_id(text, RECOVERY_PREFIX))
    if len(seed) != SEED_BYTES:
        raise Malformed(f"a recovery key has {SEED_BYTES} bytes", "This is the text of something else.")
    return RecoveryKey(seed, KeyClass.FILE)
