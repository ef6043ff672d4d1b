"""Who is that? Public keys and their KeyIds, the promises of a vault, and signed statements (docs/spec/keys.md)."""

from tallystick.keys.cose import Algorithm, Sign1, UnprovenSign1, parse_sign1, sign1
from tallystick.keys.identity import KeyId, KeyKind, PublicKey, parse_cose_key, pinned
from tallystick.keys.signer import Agreement, HumanKey, KeyClass, LogKeys, MachineKeys, Signer, Vault

__all__ = [
    "Agreement",
    "Algorithm",
    "HumanKey",
    "KeyClass",
    "KeyId",
    "KeyKind",
    "LogKeys",
    "MachineKeys",
    "PublicKey",
    "Sign1",
    "Signer",
    "UnprovenSign1",
    "Vault",
    "parse_cose_key",
    "parse_sign1",
    "pinned",
    "sign1",
]
