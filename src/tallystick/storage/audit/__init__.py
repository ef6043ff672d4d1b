"""Verifying a house's files against themselves and against what was signed (docs/verify.md). Reads; never writes where it verifies."""
