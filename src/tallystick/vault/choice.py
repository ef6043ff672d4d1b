"""Which vault is the best one here, and why: `tally init` and `tally doctor` say it."""

import os
from dataclasses import dataclass
from typing import Final

from tallystick.keys.signer import KeyClass

_TPM: Final = "/dev/tpmrm0"  # the kernel's resource manager


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultFound:
    """A kind of vault, whether it can be used here, and the reason in one sentence."""

    name: str
    key_class: KeyClass
    usable: bool
    reason: str


def vaults_found(tpm_device: str = _TPM) -> tuple[VaultFound, ...]:
    """Every kind of vault, best first. This version opens private files only."""
    seen = f"this computer has one ({tpm_device}), but" if os.path.exists(tpm_device) else f"no {tpm_device} on this computer, and"
    return (
        VaultFound(name="tpm", key_class=KeyClass.SEALED, usable=False, reason=f"{seen} this version opens no TPM."),
        VaultFound(
            name="file",
            key_class=KeyClass.FILE,
            usable=True,
            reason="Private files, 0600 in a directory 0700; whoever becomes this user or root reads them.",
        ),
    )


def best_vault_found(tpm_device: str = _TPM) -> VaultFound:
    """The first usable kind."""
    return next(vault for vault in vaults_found(tpm_device) if vault.usable)
