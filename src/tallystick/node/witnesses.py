"""The witnesses of this house's log: asked for a cosignature of each checkpoint before it is published (C2SP tlog-witness, tlog-policy).

`witness_policy` in tally.toml names a policy file: witnesses with their addresses, groups k of n, a quorum. A witness outside the quorum
is optional: it is asked, and nothing depends on it. Without the quorum a checkpoint is published all the same (`witness_quorum = "open"`)
or stays unpublished until it is reached (`"closed"`); it is signed, and shown to pairs, in either case. The cosignatures lie in the
published checkpoint and with it in the database: an entry for each would be a reason for the next checkpoint.
"""

import http.client
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from tallystick import __version__
from tallystick.canonical import encode
from tallystick.errors import Malformed, Misuse, Refused, TallyError, Unavailable
from tallystick.ledger.event import Event, Kind
from tallystick.node.machine import Machine
from tallystick.node.publisher import Publisher
from tallystick.node.witnessing import read_policy_file
from tallystick.primitives import sha256
from tallystick.storage.rows import CheckpointRow
from tallystick.tlog.checkpoint import read_checkpoint
from tallystick.tlog.cosignature import verifier
from tallystick.tlog.note import Proven, Verifier
from tallystick.tlog.policy import Policy, PolicyWitness
from tallystick.tlog.witness import (
    MAX_ANSWER_BYTES,
    PATH,
    TEXT_TYPE,
    Conflict,
    Submission,
    after_conflict,
    read_answer,
    with_cosignatures,
)

TIMEOUT_S: Final = 5.0  # of each step of a request
MAX_AT_ONCE: Final = 16
MAX_CLEAR_BYTES: Final = 4_096  # of a policy in its entry; of a longer one there is the digest
CONFLICTS: Final = 2  # another witness client may be at work beside us

Consistency = Callable[[int, int], tuple[bytes, ...]]

log = logging.getLogger("tallystick")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What was last heard of a witness. `size`: of the newest checkpoint it cosigned, 0 for none known; `failure`: why not a newer one."""

    size: int = 0
    time_ns: int = 0
    failure: str = ""


class Witnesses:
    """Asks them. Used by the publisher's thread alone; `heard` may be read from any."""

    def __init__(self, policy: Policy, consistency: Consistency, *, closed: bool) -> None:
        """`consistency`: proves that the tree of the second size continues that of the first.

        Raises: Misuse: a witness has no address.
        """
        self._policy = policy
        self._consistency = consistency
        self._closed = closed
        self._quiet = False  # the missing quorum was told
        self.heard: dict[str, Heard] = {witness.name: Heard() for witness in policy.witnesses}
        for witness in policy.witnesses:
            _address(witness)

    def collect(self, row: CheckpointRow) -> bytes:
        """The note of a checkpoint with every cosignature that could be had. Raises: Unavailable: no quorum, and it is demanded."""
        if not self._policy.witnesses:
            return row.note
        with ThreadPoolExecutor(min(MAX_AT_ONCE, len(self._policy.witnesses)), "tally-witness") as pool:
            found = [proven for some in pool.map(lambda witness: self._ask(witness, row), self._policy.witnesses) for proven in some]
        note = with_cosignatures(row.note, [proven.signature for proven in found]) if found else row.note
        names = {witness.name for witness in self._policy.witnesses if self.heard[witness.name].size == row.size}
        if self._policy.satisfied(names):
            self._quiet = False
            return note
        why = f"{len(names)} of {len(self._policy.witnesses)} witnesses have cosigned, and the quorum wants {self._policy.needed} or more"
        if self._closed:
            raise Unavailable(f"{why}: not published", '`tally witness ls` shows each; witness_quorum = "open" publishes without it')
        if not self._quiet:
            log.warning("published without its quorum of witnesses", extra={"reason": why})
            self._quiet = True
        return note

    def _ask(self, witness: PolicyWitness, row: CheckpointRow) -> tuple[Proven, ...]:
        before = self.heard[witness.name]
        try:
            found = self._submit(witness, row, before.size)
        except TallyError as error:
            if error.message != before.failure:
                log.warning("a witness did not cosign", extra={"witness": witness.name, "reason": error.message})
            self.heard[witness.name] = Heard(size=before.size, time_ns=before.time_ns, failure=error.message)
            return ()
        self.heard[witness.name] = Heard(size=row.size, time_ns=time.time_ns())
        return found

    def _submit(self, witness: PolicyWitness, row: CheckpointRow, old: int) -> tuple[Proven, ...]:
        keys: list[Verifier] = [verifier(witness.key)]
        text = read_checkpoint(row.note)[1].text
        old = min(old, row.size)
        for _ in range(CONFLICTS + 1):
            proof = self._consistency(old, row.size) if 0 < old < row.size else ()
            status, kind, body = _post(witness, Submission(old=old, proof=proof, note=row.note).to_bytes())
            answer = read_answer(status, kind, body, text=text, witness=keys)
            if not isinstance(answer, Conflict):
                return answer
            old = after_conflict(answer, row.size)
        raise Refused("the witness says each time that it saw another size", "somebody else may submit this log's checkpoints to it")

    def rows(self) -> list[dict[str, Any]]:
        """What `tally witness ls` shows."""
        needed = {member for group in self._policy.groups for member in group.members} | {self._policy.quorum}
        return [
            {
                "name": witness.name,
                "url": witness.url,
                "key": str(witness.key),
                "optional": witness.name not in needed,
                "size": self.heard[witness.name].size,
                "time_ns": self.heard[witness.name].time_ns or None,
                "failure": self.heard[witness.name].failure or None,
            }
            for witness in self._policy.witnesses
        ]


def appoint(machine: Machine, publisher: Publisher, now_ns: int) -> Witnesses:
    """At a house's start: read its policy, record a change of it, and let the publisher ask the witnesses.

    Raises: Misuse: the policy file is none.  Unavailable.
    """
    settings = machine.settings
    policy = Policy() if settings.witness_policy is None else read_policy_file(settings.witness_policy)
    closed = settings.witness_quorum == "closed"
    witnesses = Witnesses(policy, machine.store.consistency, closed=closed)
    rows = machine.store.entries(kinds=(Kind.WITNESS_POLICY,), newest_first=True, limit=1)
    event = policy_event(policy, rows[0].event if rows else None, closed=closed, now_ns=now_ns)
    if event is not None:
        machine.store.append(event).result()
    publisher.collect = witnesses.collect
    return witnesses


def policy_event(policy: Policy, last: Event | None, *, closed: bool, now_ns: int) -> Event | None:
    """The entry that says which witnesses count from now on; None when the last one says the same.

    Weaker than the last: fewer are needed, or the quorum is no longer demanded.
    """
    value = {"quorum": "closed" if closed else "open", "policy": policy.to_bytes()}
    needed = policy.needed
    digest = sha256(b"tally witness policy v1", encode(value))
    if not policy.witnesses if last is None else (last.blob("digest") == digest):
        return None
    counts: object = {} if last is None else last.get("counts")
    before: Mapping[str, int] = counts if isinstance(counts, Mapping) else {}
    weakened = needed < before.get("needed", 0) or (not closed and bool(before.get("closed", 0)))
    return Event.of(
        Kind.WITNESS_POLICY,
        now_ns,
        digest=digest,
        counts={"needed": needed, "closed": int(closed)},
        value=clear if len(clear := encode(value)) <= MAX_CLEAR_BYTES else None,
        weakened=weakened or None,
    )


def _address(witness: PolicyWitness) -> tuple[bool, str, int | None, str]:
    """Whether TLS, host, port and path prefix. Raises: Misuse."""
    try:
        url = urlsplit(witness.url)
        port = url.port
    except ValueError:
        url, port = urlsplit(""), None
    if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment or url.username is not None:
        raise Misuse(f"the witness {witness.name[:64]} has no address", "its line ends with one: witness NAME VKEY https://HOST/PREFIX")
    return url.scheme == "https", url.hostname, port, url.path.rstrip("/")


def _post(witness: PolicyWitness, body: bytes) -> tuple[int, str, bytes]:
    """Status, Content-Type and body of the answer. Redirects are not followed: a witness is where the policy says. Raises: Unavailable."""
    tls, host, port, prefix = _address(witness)
    connection = (
        http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=ssl.create_default_context())
        if tls
        else http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    )
    try:
        headers = {"content-type": TEXT_TYPE, "user-agent": f"tallystick/{__version__}", "connection": "close"}
        connection.request("POST", prefix + PATH, body=body, headers=headers)
        answer = connection.getresponse()
        found = answer.read(MAX_ANSWER_BYTES + 1)
        if len(found) > MAX_ANSWER_BYTES:
            raise Malformed(f"a witness's answer has at most {MAX_ANSWER_BYTES} bytes")
        return answer.status, answer.headers.get("content-type", ""), found
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unavailable(f"the witness cannot be reached: {str(error) or type(error).__name__}") from error
    finally:
        connection.close()
