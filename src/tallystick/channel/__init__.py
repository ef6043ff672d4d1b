"""How paired machines talk, and why nobody else gets an answer (DESIGN 6)."""
