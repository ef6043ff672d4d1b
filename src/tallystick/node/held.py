"""A held signal at the machine of the one who decides: proven here, and shown from its own bytes (docs/spec/door.md, section 8).

    held = prove(shown, house_id)            # the house sent signal, opening and key; nothing else of it is believed
    lines = effect_of(held, body, current)   # what exactly would be done

What only the house can know (how it calls a key, why it holds the signal, who is behind it) stands in `Held.told` and is shown as its word.
"""

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tallystick.errors import Malformed, TallyError, Unproven
from tallystick.gate.opening import BodyDigest, Opening, check_opening, parse_opening
from tallystick.gate.signal import Signal, parse_signal
from tallystick.keys import KeyId, parse_cose_key
from tallystick.node import answers
from tallystick.primitives import sha256
from tallystick.rights.action import ActionClass
from tallystick.rights.approval import Item
from tallystick.rights.grant import ANY
from tallystick.rights.risk import risk_of
from tallystick.rights.scope import Terms
from tallystick.service.names import SafePath

MAX_DIFF_BYTES: Final = 1_000_000
MAX_DIFF_LINES: Final = 2_000
MAX_SHOWN: Final = 200  # lines of a body that is no change of a file


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A proven held signal. `item`: what an approval of it signs.  `told`: the house's own words."""

    item: Item
    key: KeyId
    claims: Signal
    opening: Opening = field(repr=False)
    method: str
    path: str
    body: BodyDigest | None
    told: answers.Held

    @property
    def risk(self) -> str:
        """Of our own table, not of the house's word."""
        return risk_of(self.claims.verb, ActionClass(self.claims.action)).word

    @property
    def target(self) -> str:
        """As rows and scopes name it."""
        return f"{self.method} {self.path}".strip()

    @property
    def file(self) -> str | None:
        """The path in the archive that it writes or removes."""
        if self.claims.verb not in ("archive.put", "archive.rm") or not self.path.startswith("/v1/files/"):
            return None
        try:
            return SafePath.from_quoted(self.path.removeprefix("/v1/files/")).text
        except TallyError:
            return None


def prove(shown: answers.Held, house_id: bytes) -> Held:
    """Prove what a house shows. Raises: Malformed, Unproven: it is not what it is shown as, and must not be approved."""
    signal = bytes.fromhex(shown["signal"])
    if shown["key"] is None:
        raise Unproven("the house does not show the key of this signal", "do not approve it")
    unproven = parse_signal(signal)
    public = parse_cose_key(bytes.fromhex(shown["key"]))
    if public.key_id != unproven.kid:
        raise Unproven("the house shows another key than the signal's", "do not approve it")
    proven = unproven.prove(public)
    claims = proven.claims
    if claims.aud != house_id:
        raise Unproven("the signal is for another house", "do not approve it")
    opening = parse_opening(bytes.fromhex(shown["opening"]))
    check_opening(claims, opening)
    target = None if opening.target is None else opening.read_target()
    body = None if opening.body is None else opening.read_body()
    return Held(
        item=Item(shown["id"], sha256(signal)),
        key=public.key_id,
        claims=claims,
        opening=opening,
        method="" if target is None else target.method,
        path="" if target is None else target.path,
        body=body,
        told=shown,
    )


def check_body(held: Held, body: bytes | None) -> None:
    """Is this the body that was signed? Raises: Unproven."""
    if held.body is None:
        if body:
            raise Unproven("the house shows a body, and the signal has none", "do not approve it")
    elif body is None or len(body) != held.body.length or sha256(body) != held.body.sha256:
        raise Unproven("the body that waits is not the one that was signed", "do not approve it")


def effect_of(held: Held, body: bytes | None, current: bytes | str | None, argv: Sequence[str] | None = None) -> list[str]:
    """What exactly would be done, in lines.

    Args: body: proven by `check_body`.  current: what the file it changes holds now, None: there is none; a
        text: what it is, where its content was not fetched.  argv: of a named program.
    """
    verb, file = held.claims.verb, held.file
    if verb == "archive.put" and file is not None:
        return [f"writes {file}", *_change(current, body or b"", file)]
    if verb == "archive.rm" and file is not None:
        return [f"removes {file}", *(["there is no such file now"] if current is None else _sized("now", current))]
    if verb == "archive.mv":
        try:
            move = json.loads(body or b"")
            replaces = "and replaces what is there" if move.get("overwrite") else "where nothing is yet"
            return [f"renames {move['from']}", f"     to {move['to']}", replaces]
        except (ValueError, KeyError, AttributeError, TypeError):
            return ["a rename whose body cannot be read: it will fail", *_content(body)]
    if verb.startswith("verb."):
        lines = ["runs " + (" ".join(map(json.dumps, argv)) if argv is not None else "a program that the house no longer names")]
        return [*lines, *(["with this input:", *_content(body)] if body else [])]
    return [f"{verb} {held.target}".rstrip(), *(_content(body) if body else [])]


def _change(old: bytes | str | None, new: bytes, name: str) -> list[str]:
    before, after = (_text(old) if isinstance(old, bytes) else None), _text(new)
    if after is None or (old is not None and before is None):
        return [*(["there is no such file now"] if old is None else _sized("now ", old)), *_sized("then", new)]
    lines = list(
        difflib.unified_diff(
            (before or "").splitlines(),
            after.splitlines(),
            fromfile=f"{name} (now)" if old is not None else "(no such file)",
            tofile=f"{name} (then)",
            lineterm="",
        )
    )
    if not lines:
        return ["and changes nothing in it" if old == new else "and changes only how its lines end"]
    if len(lines) > MAX_DIFF_LINES:
        return [*lines[:MAX_DIFF_LINES], f"... and {len(lines) - MAX_DIFF_LINES} more lines", *_sized("then", new)]
    return lines


def _text(data: bytes) -> str | None:
    if len(data) > MAX_DIFF_BYTES or b"\0" in data:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _sized(when: str, data: bytes | str) -> list[str]:
    if isinstance(data, str):
        return [f"{when}: {data}"]
    return [f"{when}: {len(data)} bytes, SHA-256 {sha256(data).hex()}"]


def _content(body: bytes | None) -> list[str]:
    data = body or b""
    text = _text(data)
    if text is None:
        return _sized("content", data)
    lines = text.splitlines()
    return [
        *("  " + line for line in lines[:MAX_SHOWN]),
        *([f"... and {len(lines) - MAX_SHOWN} more lines"] if len(lines) > MAX_SHOWN else []),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wider:
    """How an approval reaches beyond the signals it is of. `times`: how often more, None without end; `until_ns`: UTC."""

    times: int | None
    until_ns: int
    only_body: bool = False
    only_origins: bool = False
    only_target: bool = False


def scope_of(helds: Sequence[Held], wider: Wider) -> Terms:
    """The scope that goes with an approval. Raises: Malformed: it cannot be one for all of these signals."""
    first = helds[0]
    if any((each.key, each.claims.verb) != (first.key, first.claims.verb) for each in helds):
        raise Malformed("these signals are of several keys or verbs: no scope is for all of them", "approve them one by one")
    bodies = {None if each.body is None else each.body.sha256 for each in helds}
    if wider.only_body and (len(bodies) != 1 or None in bodies):
        raise Malformed("these signals have no one body", "leave --only-body out, or approve them one by one")
    targets = tuple(sorted({each.target for each in helds if each.target}))
    if wider.only_target and not targets:
        raise Malformed("these signals have no target", "leave --only-target out")
    if wider.only_target and any(each.endswith(ANY) for each in targets):
        raise Malformed("a target ends in *: a scope takes it for all that begin so", "approve it without --only-target, or deny it")
    if wider.only_target and first.claims.verb == "archive.mv" and not wider.only_body:
        raise Malformed("the files of a rename stand in its content", "add --only-body: else the scope is for every rename")
    origins = {bytes.fromhex(link["key"]) for each in helds for link in each.told["chain"]}
    return Terms(
        verb=first.claims.verb,
        targets=targets if wider.only_target else (),
        body=next(iter(bodies)) if wider.only_body else None,
        origins=tuple(KeyId(each) for each in sorted(origins)) if wider.only_origins else None,
        uses=wider.times,
        until_ns=wider.until_ns,
    )
