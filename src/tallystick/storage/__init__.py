"""Disks and databases: the ledger's entries, the state they bring about, and the bodies that can be erased (docs/spec/state.md)."""
