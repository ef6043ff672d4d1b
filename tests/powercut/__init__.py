"""The power fails at any moment: what a disk may keep of what was not synced, and what the house makes of it."""
