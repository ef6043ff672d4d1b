"""What happened? Events, their bytes as leaves of a Merkle tree, and the proof that they are in it (docs/spec/ledger.md)."""
