"""Verifying: what is proven, and that nothing that was changed stays unseen."""
