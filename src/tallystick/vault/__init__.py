"""Where private keys live. A window: it reads and writes files, and draws entropy (docs/spec/vault.md)."""

from tallystick.vault.choice import VaultFound, best_vault_found, vaults_found
from tallystick.vault.file import FileVault
from tallystick.vault.recovery import RecoveryKey, new_recovery, recovery_from_text

__all__ = ["FileVault", "RecoveryKey", "VaultFound", "best_vault_found", "new_recovery", "recovery_from_text", "vaults_found"]
