"""The transparency log of C2SP: signed notes, checkpoints, the Merkle tree, proofs and cosignatures (docs/spec/ledger.md)."""
