"""A source that signs: from a key in a vault or in a file of its own, with streams and numbers kept right (docs/agents.md)."""

import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from tallystick.canonical import Value, decode
from tallystick.errors import Malformed, Misuse
from tallystick.facts.fact import Place, place_value
from tallystick.gate.opening import SALT_BYTES, UNSTATED, BodyDigest, Target, commitments_of, encode_opening, make_opening
from tallystick.gate.signal import STREAM_BYTES, Reference, Signal, encode_signal
from tallystick.keys import KeyId, KeyKind, PublicKey, Signer, sign1
from tallystick.node.files import read_file, write_new
from tallystick.node.home import FILE_MODE, check_private_file
from tallystick.node.machine import Machine
from tallystick.primitives import ed25519_public, sha256
from tallystick.vault.source import PREFIX, SourceKey

MAX_FILE_BYTES: Final = 1_024
_COMMITMENTS: Final = 21  # target, body, place, sensor and at most 16 observations, and one to spare


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedSignal:
    """A signal with what belongs to it, ready to be handed in. `body`: what its body commitment names, None where it has none."""

    raw: bytes = field(repr=False)
    opening: bytes = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    claims: Signal

    @property
    def reference(self) -> bytes:
        """How others name it in `prev`: SHA-256 of its signature."""
        return sha256(self.raw[-64:])


class SignalSource:
    """Signs signals of one key for one house. Any thread may sign; a process that forks goes on under a stream of its own."""

    def __init__(self, signer: Signer, house: KeyId, *, clock: Callable[[], int] = time.time_ns) -> None:
        """`house`: the house id, for which alone the signals are good.  `clock`: UTC nanoseconds."""
        self._signer = signer
        self.clock = clock
        self._lock = threading.Lock()
        self._process = 0
        self._stream, self._n = b"", 0
        self.house = house

    @classmethod
    def load(cls, machine: Machine, name: str) -> Self:
        """A source key of a machine's vault, by label or KeyId, for the house that this machine is. Raises: Misuse: there is none."""
        found = [key for key in machine.vault.sources() if name in (key.label, str(key.key_id), key.key_id.hex())]
        if not found:
            raise Misuse(f"no source key here is called {name[:60]!r}", "`tally key new --source` makes one; a human then introduces it")
        return cls(found[0].signer(), machine.house_id)

    @classmethod
    def read(cls, path: Path, house: KeyId) -> Self:
        """A source key in a file of its own, which nobody else may read. Raises: Refused, Malformed, Unavailable."""
        check_private_file(path)
        raw = read_file(path, MAX_FILE_BYTES)
        match decode(raw, max_bytes=MAX_FILE_BYTES, max_depth=1, max_items=8):
            case [1, bytes(seed), str(), int()] if len(seed) == 32:
                key_id = PublicKey(KeyKind.ED25519, ed25519_public(seed)).key_id
                return cls(SourceKey.read(PREFIX + key_id.hex(), raw).signer(), house)
        raise Malformed(f"{path} holds no source key", "it is made by `SignalSource.make_file`")

    @staticmethod
    def make_file(path: Path, label: str) -> KeyId:
        """Make a source key in a new file (0600); the KeyId that a human introduces. Raises: Misuse, Refused: it exists.  Unavailable."""
        key = SourceKey.new(label, entropy=secrets.token_bytes, now_ns=time.time_ns())
        write_new(path, key.write(), mode=FILE_MODE)
        return key.key_id

    @property
    def key_id(self) -> KeyId:
        """The KeyId of its key."""
        return self._signer.public.key_id

    def sign(
        self,
        signal_class: str,
        action: str,
        verb: str,
        *,
        target: tuple[str, str] | None = None,
        body: bytes | None = None,
        place: Place | None = None,
        observations: Sequence[Value] = (),
        prev: Sequence["SignedSignal | Reference"] = (),
        expires_ns: int | None = None,
        ext: Sequence[tuple[str, bytes]] = (),
    ) -> SignedSignal:
        """Sign what this source says now.

        Args: target: a method and a path, as rows of the matrix match them: ("PUT", "/door/1").  body: its length and hash are
            committed to.  place: where it was made.  prev: what brought it about.
        Raises: Misuse: a field is out of range; what the vault raises.
        """
        opening = make_opening(
            secrets.token_bytes(SALT_BYTES * _COMMITMENTS),
            target=None if target is None else Target(method=target[0], path=target[1]),
            body=UNSTATED if body is None else BodyDigest(length=len(body), sha256=sha256(body)),
            place=None if place is None else place_value(place),
            observations=tuple(observations),
        )
        commitments, _ = commitments_of(opening)
        stream, n = self._number()
        claims = Signal(
            aud=bytes(self.house),
            signal_class=signal_class,
            action=action,
            verb=verb,
            commitments=commitments,
            issued_at_ns=self.clock(),
            stream=stream,
            n=n,
            prev=tuple(each.reference if isinstance(each, SignedSignal) else each for each in prev),
            expires_ns=expires_ns,
            ext=tuple(ext),
        )
        return SignedSignal(raw=sign1(self._signer, encode_signal(claims)), opening=encode_opening(opening), body=body, claims=claims)

    def _number(self) -> tuple[bytes, int]:
        """The next number of this process's stream. Two processes of one stream would sign two statements under one number."""
        with self._lock:
            if self._process != os.getpid():
                self._process = os.getpid()
                self._stream, self._n = secrets.token_bytes(STREAM_BYTES), 0
            n = self._n
            self._n += 1
            return self._stream, n
