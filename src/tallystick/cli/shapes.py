"""The shape of every `--json` output. What is written here is promised; docs/cli.md is checked against it.

A shape names each key once with its kind. `check` runs before every output: a result that does not have the promised shape
is our own defect and raises AssertionError, so a shape cannot drift unseen. Times are `*_ns`: UTC, nanoseconds since 1970.
Sizes are `*bytes`. A kind with `?` may also be null.
"""

from collections.abc import Mapping
from typing import Final

from tallystick.cli.kinds import (
    MAYBE_NUMBER,
    MAYBE_TEXT,
    NUMBER,
    OBJECT,
    REAL,
    SWITCH,
    TEXT,
    TEXTS,
)
from tallystick.cli.kinds import (
    Result as Result,
)
from tallystick.cli.kinds import (
    Shape as Shape,
)
from tallystick.cli.rightsshapes import RIGHTS
from tallystick.cli.storyshapes import EXPLAIN

PAIR: Final[Shape] = {
    "name": TEXT,  # what this machine calls the other
    "label": TEXT,
    "role": TEXT,  # of the other: house or client
    "type": TEXT,  # ADMIN INPUT USER INTERFACE
    "state": TEXT,  # standing, waiting, severed, broken, restored (waits to be signed again)
    "pairing": TEXT,  # pairing id, hex
    "key": TEXT,  # the other machine's KeyId
    "key_class": TEXT,  # resident, sealed, file, file/scripted
    "suite": TEXT,
    "since_ns": NUMBER,
    "last_knock_ns": MAYBE_NUMBER,
    "address": MAYBE_TEXT,
    "received_bytes": NUMBER,
    "sent_bytes": NUMBER,
    "sessions": NUMBER,
    "mode": MAYBE_NUMBER,  # 1 2 3, of the last connection
    "visibility": MAYBE_TEXT,  # who could see what at that connection
}

PROPOSAL: Final[Shape] = {
    "id": TEXT,
    "label": TEXT,
    "type": TEXT,
    "key": TEXT,
    "key_class": TEXT,
    "words": TEXTS,
    "digits": TEXT,
    "address": MAYBE_TEXT,
    "since_ns": NUMBER,
    "expires_ns": NUMBER,
    "facts": OBJECT,  # what the machine says of itself: a claim
}

HELD: Final[Shape] = {
    "id": NUMBER,  # the proposal's entry: what `tally approve` takes
    "proven": SWITCH,  # its signature, opening and audience were checked here
    "problem": TEXT,  # why not
    "who": TEXT,  # what the house calls the key that signed
    "key": TEXT,
    "class": TEXT,
    "action": TEXT,
    "verb": TEXT,
    "target": TEXT,
    "body_bytes": MAYBE_NUMBER,
    "sha256": MAYBE_TEXT,
    "risk": TEXT,  # low medium high critical
    "reason": TEXT,  # why it is held, as the house says: rights, layer, confidence
    "rule": TEXT,
    "time_ns": NUMBER,
    "expires_ns": NUMBER,
    "replaces": MAYBE_NUMBER,  # the proposal that it comes back from
    "chain": OBJECT,  # who is behind it, the nearest first, as the house says
}

HALTED: Final[Shape] = {
    "kind": TEXT,  # key grant fact scope pair
    "id": TEXT,
    "entry": NUMBER,
    "cause": NUMBER,
    "name": TEXT,
}

RELEASED: Final[Shape] = {
    "id": NUMBER,
    "state": TEXT,  # ended; approved, begun: it is still under way
    "why": TEXT,  # released, changed, void, expired
    "entry": MAYBE_NUMBER,
    "result": TEXT,  # done, failed, unknown; empty where the house itself did nothing
    "status": MAYBE_NUMBER,  # as HTTP says it, or the exit status of a program
    "reason": TEXT,
}

WITNESS: Final[Shape] = {
    "name": TEXT,
    "url": TEXT,
    "key": TEXT,
    "optional": SWITCH,  # outside the quorum
    "size": NUMBER,  # of the newest checkpoint it cosigned, 0 for none known
    "time_ns": MAYBE_NUMBER,
    "failure": MAYBE_TEXT,
}

FILE: Final[Shape] = {"name": TEXT, "kind": TEXT, "bytes": MAYBE_NUMBER, "modified_ns": MAYBE_NUMBER, "sha256": MAYBE_TEXT}

VERSION: Final[Shape] = {
    "kept": NUMBER,  # the number that `get --version` takes: the entry that set the content aside
    "version": MAYBE_NUMBER,  # the entry that wrote it
    "bytes": NUMBER,
    "modified_ns": NUMBER,
    "sha256": MAYBE_TEXT,
}

UPLOAD: Final[Shape] = {"upload": TEXT, "path": TEXT, "offset": NUMBER, "modified_ns": NUMBER}

ENTRY: Final[Shape] = {
    "index": NUMBER,
    "time_ns": NUMBER,
    "kind": TEXT,
    "name": MAYBE_TEXT,  # what this machine calls the pair
    "pair": MAYBE_TEXT,
    "key": MAYBE_TEXT,
    "fields": OBJECT,
}

KEY: Final[Shape] = {
    "number": MAYBE_NUMBER,
    "key": TEXT,
    "label": TEXT,
    "kind": TEXT,
    "key_class": TEXT,
    "created_ns": NUMBER,
    "public": TEXT,
}

FINDING: Final[Shape] = {
    "file": TEXT,  # below what was verified
    "row": TEXT,  # of the database: table and key
    "offset": MAYBE_NUMBER,  # of the first wrong byte
    "entry": MAYBE_NUMBER,
    "last": MAYBE_NUMBER,  # where it is more than one entry
    "meaning": TEXT,
    "text": TEXT,  # all of it in one sentence
}

CHECK: Final[Shape] = {"name": TEXT, "state": TEXT, "message": TEXT, "hint": TEXT}

STEP: Final[Shape] = {"step": TEXT, "ok": SWITCH, "seconds": REAL, "detail": TEXT}

SETTING: Final[Shape] = {"name": TEXT, "value": OBJECT, "source": TEXT, "detail": TEXT, "env": TEXT, "doc": TEXT}

VERB: Final[Shape] = {
    "name": TEXT,
    "action": TEXT,  # metadata, read, egress, write, admin
    "doc": TEXT,
    "input_bytes": NUMBER,  # how much it may be given to read
    "output_bytes": NUMBER,
    "timeout_s": NUMBER,
    "argv": OBJECT,  # for ADMIN: what is run; else null
}

WAITING: Final[Shape] = {
    "name": TEXT,
    "label": TEXT,
    "type": TEXT,
    "state": TEXT,  # standing; restored: it waits to be signed again
    "pairing": TEXT,
    "last_knock_ns": MAYBE_NUMBER,
    "showed": MAYBE_NUMBER,  # entries of the newest checkpoint that it showed and the house does not have
}

SHAPES: Final[Mapping[str, Shape]] = {
    "init": {"home": TEXT, "name": TEXT, "house": TEXT, "vault": TEXT, "key_class": TEXT, "owner": MAYBE_TEXT, "recovery": TEXT},
    "serve": {"house": TEXT, "address": TEXT, "port": NUMBER, "metrics_port": NUMBER, "pid": NUMBER},
    "invite": {"id": TEXT, "invite": TEXT, "type": TEXT, "label": TEXT, "address": TEXT, "expires_ns": NUMBER, "approved": SWITCH},
    "pair": {"name": TEXT, "house": TEXT, "type": TEXT, "state": TEXT, "pairing": TEXT, "words": TEXTS, "digits": TEXT},
    "inbox": {"proposals": (PROPOSAL,), "held": (HELD,), "suspended": (HALTED,)},
    "inbox --show": {**HELD, "state": TEXT, "effect": TEXTS},
    "approve": {
        "id": TEXT,
        "label": TEXT,
        "type": TEXT,  # of a pairing; signal: of held signals
        "entry": NUMBER,
        "items": (RELEASED,),  # of held signals
    },
    "edit": {"id": TEXT, "verdict": TEXT, "entry": NUMBER, "proposal": MAYBE_NUMBER},
    "deny": {"id": TEXT, "entry": NUMBER},
    "status": {
        "name": TEXT,
        "home": TEXT,
        "role": TEXT,  # house or client
        "house": MAYBE_TEXT,  # house id
        "key": TEXT,
        "key_class": TEXT,
        "running": SWITCH,
        "pid": MAYBE_NUMBER,
        "address": MAYBE_TEXT,
        "port": MAYBE_NUMBER,
        "entries": NUMBER,
        "root": MAYBE_TEXT,  # of the log, hex
        "published": MAYBE_NUMBER,  # entries under the published checkpoint; null for a client
        "publication": MAYBE_TEXT,  # why nothing is published, while it is so
        "closed": MAYBE_TEXT,  # why this house takes no commands, while it is so
        "open_proposals": NUMBER,
        "free_bytes": NUMBER,  # of the disk the home lies on
        "least_bytes": MAYBE_NUMBER,  # with less no commands of pairs are taken; null for a client
        "plan_not_taken": TEXTS,  # classes for which fewer layers are configured than the record holds: `tally plan`
        "pairs": (PAIR,),
    },
    "status --house": {
        "house": TEXT,  # what this machine calls it
        "id": TEXT,
        "name": TEXT,
        "type": TEXT,  # what this machine is there
        "entries": NUMBER,
        "pairs_standing": NUMBER,
        "sessions_open": NUMBER,
        "uptime_seconds": NUMBER,
        "pairs": (PAIR,),  # for an ADMIN
    },
    "verb ls": {"house": TEXT, "verbs": (VERB,)},
    "verb run": {
        "name": TEXT,
        "house": TEXT,
        "entry": NUMBER,
        "ending": TEXT,  # exited, killed, timeout, stopped
        "status": NUMBER,  # exit status, or 128 and the number of the signal
        "said_bytes": NUMBER,
        "dropped_bytes": NUMBER,  # of those, beyond what is passed on
        "output": TEXT,
        "errors": TEXT,
    },
    "ping": {"house": TEXT, "address": TEXT, "mode": NUMBER, "visibility": TEXT, "answers": ({"number": NUMBER, "ms": REAL},)},
    "whois": {"name": TEXT, "kind": TEXT, "key": TEXT, "type": MAYBE_TEXT, "state": TEXT, "label": TEXT, "address": MAYBE_TEXT},
    "downgrade": {"name": TEXT, "before": TEXT, "type": TEXT, "entry": NUMBER},
    "sever": {"name": TEXT, "pairing": TEXT, "sessions_cut": NUMBER, "told": SWITCH, "entry": NUMBER},
    "put": {"house": TEXT, "path": TEXT, "bytes": NUMBER, "sha256": TEXT, "version": NUMBER, "entry": NUMBER, "seconds": REAL},
    "get": {"house": TEXT, "path": TEXT, "target": TEXT, "bytes": NUMBER, "sha256": MAYBE_TEXT, "entry": NUMBER, "seconds": REAL},
    "ls": {"house": TEXT, "path": TEXT, "files": (FILE,), "summary": OBJECT},
    "ls --versions": {"house": TEXT, "path": TEXT, "versions": (VERSION,), "summary": OBJECT},
    "ls --uploads": {"house": TEXT, "uploads": (UPLOAD,)},
    "rm": {"house": TEXT, "path": TEXT, "entry": NUMBER},
    "rm --upload": {"house": TEXT, "path": TEXT, "entry": NUMBER},
    "mv": {"house": TEXT, "path": TEXT, "target": TEXT, "entry": NUMBER},
    "log": ENTRY,  # one object a line, without end under --follow
    "erase": {"erased": NUMBER, "first": MAYBE_NUMBER, "last": MAYBE_NUMBER, "entry": MAYBE_NUMBER, "reason": TEXT},
    "emit": {
        "verdict": TEXT,  # allowed held refused
        "entry": MAYBE_NUMBER,  # null: its key is not known, and it was only counted
        "proposal": MAYBE_NUMBER,  # the entry that waits for a human
        "reduced": SWITCH,  # confidence was low
        "status": MAYBE_NUMBER,  # what became of it, where the house did it: as HTTP says it, or of a program
        "reference": TEXT,  # how others name it in --prev
        "key": TEXT,
    },
    "log prove": {"file": TEXT, "entry": NUMBER, "size": NUMBER, "leaf_hash": TEXT},
    "log check": {"ok": SWITCH, "entry": NUMBER, "size": NUMBER, "origin": TEXT, "leaf_hash": TEXT, "unchecked": TEXTS},
    "log export": {
        "file": TEXT,
        "bytes": NUMBER,
        "sha256": TEXT,
        "entries": NUMBER,
        "openings": NUMBER,
        "size": NUMBER,  # of the checkpoint
        "witnesses": TEXTS,
        "vkeys": TEXTS,  # of the log
        "entry": NUMBER,  # that it was exported
        "seconds": REAL,
    },
    "verify": {
        "ok": SWITCH,
        "path": TEXT,
        "origin": TEXT,
        "entries": NUMBER,
        "root": TEXT,
        "checkpoint": MAYBE_NUMBER,  # entries under the newest signed checkpoint
        "attested": MAYBE_NUMBER,  # entries that the quorum of --policy has witnessed
        "since": NUMBER,  # signatures in earlier entries were verified before
        "seconds": REAL,
        "counts": OBJECT,
        "findings": (FINDING,),
        "remarks": TEXTS,
    },
    "rebuild": {
        "entries": NUMBER,
        "root": TEXT,
        "mended": TEXTS,  # rows that were not what the entries bring about
        "bodies": NUMBER,  # --from-tiles: openings found again
        "kept": MAYBE_TEXT,  # --from-tiles: where the old database lies
        "entry": MAYBE_NUMBER,
        "seconds": REAL,
    },
    "explain": EXPLAIN,
    "key new": KEY,
    "key ls": {"keys": (KEY,)},
    **RIGHTS,
    "key replace-admins": {"entry": NUMBER, "admins": TEXTS},
    "witness serve": {"address": TEXT, "port": NUMBER, "key": TEXT, "logs": TEXTS},
    "witness keys": {"witness": TEXT, "log": TEXTS},
    "witness ls": {"witnesses": (WITNESS,), "logs": ({"log": TEXT, "name": TEXT, "size": NUMBER},)},
    "witness show": {"house": TEXT, "size": NUMBER, "root": TEXT, "checkpoint": TEXT},
    "witness compare": {"house": TEXT, "ours": NUMBER, "theirs": NUMBER, "newest": NUMBER},
    "backup": {"file": TEXT, "bytes": NUMBER, "sha256": TEXT, "entries": NUMBER, "root": TEXT, "entry": MAYBE_NUMBER, "seconds": REAL},
    "restore": {"home": TEXT, "role": TEXT, "house": TEXT, "entries": NUMBER, "time_ns": NUMBER, "owner": MAYBE_TEXT},
    "restore --owner": {"owner": TEXT, "entry": NUMBER, "entries": NUMBER},
    "restore --show": {
        "house": TEXT,
        "closed": MAYBE_TEXT,  # rolled-back, restoring, moved; null: it is open
        "owner": MAYBE_TEXT,  # KeyId
        "entries": MAYBE_NUMBER,  # of the tree that goes on
        "root": MAYBE_TEXT,
        "log": MAYBE_TEXT,  # what it will be called
        "seen": ({"size": NUMBER, "root": TEXT},),  # what pairs have seen and the house has not
        "pairs": (WAITING,),
    },
    "restore --sign": {
        "house": TEXT,
        "entry": MAYBE_NUMBER,  # of `restored`; null: it was open
        "pair_entry": NUMBER,
        "entries": MAYBE_NUMBER,
        "log": MAYBE_TEXT,
        "seen": NUMBER,
    },
    "key rotate": {"use": TEXT, "entry": NUMBER, "keys": TEXTS, "older": NUMBER, "published": MAYBE_NUMBER, "failure": MAYBE_TEXT},
    "migrate ticket": {"home": TEXT, "ticket": TEXT, "key": TEXT, "address": TEXT},
    "migrate to": {"house": TEXT, "key": TEXT, "entry": NUMBER},
    "migrate send": {"file": TEXT, "bytes": NUMBER, "sha256": TEXT, "entries": NUMBER},
    "migrate receive": {"home": TEXT, "house": TEXT, "entries": NUMBER, "entry": NUMBER},
    "restore --pair": {"pairs": ({"name": TEXT, "type": TEXT, "entry": NUMBER},), "keys": ({"key": TEXT, "entry": NUMBER},)},
    "config": {"settings": (SETTING,), "plan": ({"class": TEXT, "layers": TEXTS, "why": TEXT},)},
    "doctor": {"ok": SWITCH, "checks": (CHECK,)},
    "doctor --firewall": {"port": NUMBER, "ruleset": TEXT},
    "completion": {"shell": TEXT, "script": TEXT},
    "quickstart": {"ok": SWITCH, "steps": (STEP,)},
}


def _fits(kind: str, value: object) -> bool:
    if kind.endswith("?"):
        return value is None or _fits(kind[:-1], value)
    match kind:
        case "text":
            return isinstance(value, str)
        case "number":
            return isinstance(value, int) and not isinstance(value, bool)
        case "real number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "true or false":
            return isinstance(value, bool)
        case "list of text":
            return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
        case "list of number":
            return isinstance(value, list | tuple) and all(_fits("number", item) for item in value)
        case "object":
            return True
        case _:
            raise AssertionError(f"no kind is called {kind!r}")


def check(shape: Shape, value: Result, where: str) -> None:
    """Raises: AssertionError: the value has not exactly the promised keys, or one of another kind."""
    if set(value) != set(shape):
        raise AssertionError(f"{where}: keys {sorted(set(value) ^ set(shape))} are missing or not promised")
    for key, kind in shape.items():
        if isinstance(kind, tuple):
            for number, item in enumerate(value[key]):
                check(kind[0], item, f"{where}.{key}[{number}]")
        elif not _fits(kind, value[key]):
            raise AssertionError(f"{where}.{key} is {value[key]!r}, promised is {kind}")
