"""Ephemeral key pairs drawn while nobody waits for them. Each is given once, and only to the process that drew it."""

import os
import secrets
from collections import deque
from typing import Final

from tallystick.primitives import X25519KeyPair

AHEAD: Final = 16


def ephemeral() -> X25519KeyPair:
    """A fresh ephemeral key pair."""
    return X25519KeyPair.from_private(secrets.token_bytes(32))


class Ephemerals:
    """A few key pairs ahead."""

    def __init__(self, ahead: int = AHEAD) -> None:
        self._ahead = ahead
        self._drawn: deque[X25519KeyPair] = deque()
        self._drawer = os.getpid()

    def draw(self) -> X25519KeyPair:
        """One that nobody else has or gets."""
        # A forked process has the same ones, and both would use them: they belong to the one that drew them.
        return self._drawn.popleft() if self._drawn and self._drawer == os.getpid() else ephemeral()

    def refill(self) -> None:
        """Draw as many as were used."""
        if self._drawer != os.getpid():
            self._drawer = os.getpid()
            self._drawn.clear()
        while len(self._drawn) < self._ahead:
            self._drawn.append(ephemeral())
