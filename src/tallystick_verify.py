#!/usr/bin/env python3
"""tally-verify: checks the evidence that a tallystick house gave you, and shares not a line of code with it.

    tally-verify evidence.tar --key VKEY            (made by `tally log export`: entries, what proves them, their openings)

VKEY is the key of the log, from somebody you trust: without it the file only agrees with itself. Needs Python 3.11 and the package
cryptography. Exit code: 0 proven, 3 not proven. Formats: docs/spec/ledger.md, evidence.md, signal.md; c2sp.org.
"""

import argparse
import base64
import hashlib
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, utils


class Wrong(Exception):
    """Something that does not hold."""


def need(holds: object, why: str) -> None:
    if not holds:
        raise Wrong(why)


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def decode(data: bytes) -> Any:
    try:
        value, end = item(data, 0, 16)
    except (IndexError, UnicodeDecodeError):
        raise Wrong("CBOR that ends too early or holds broken text") from None
    need(end == len(data), "bytes behind a CBOR value")
    return value


def item(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    need(depth >= 0, "CBOR nested too deeply")
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    if major == 7:
        need(info in (20, 21, 22), "CBOR of a type that is not used")
        return {20: False, 21: True, 22: None}[info], at
    if info >= 24:
        need(info <= 27 and major != 6, "CBOR of a type that is not used")
        width = 1 << info - 24
        need(at + width <= len(data), "CBOR that ends too early")
        info, at = int.from_bytes(data[at : at + width], "big"), at + width
        need(info >= (24 if width == 1 else 1 << 4 * width), "CBOR not in its shortest form")
    if major < 2:
        return (info if major == 0 else -1 - info), at
    need(major != 6 and info <= len(data) - at, "CBOR that ends too early")
    if major < 4:
        return (data[at : at + info] if major == 2 else data[at : at + info].decode()), at + info
    if major == 4:
        row: list[Any] = []
        for _ in range(info):
            value, at = item(data, at, depth - 1)
            row.append(value)
        return row, at
    fields: dict[Any, Any] = {}
    last = b""
    for _ in range(info):
        key, end = item(data, at, 0)
        need(isinstance(key, (int, str)) and not isinstance(key, bool) and data[at:end] > last, "CBOR keys out of order")
        last = data[at:end]
        fields[key], at = item(data, end, depth - 1)
    return fields, at


def head(major: int, n: int) -> bytes:
    for width, info in ((0, n), (1, 24), (2, 25), (4, 26), (8, 27)):
        if (width == 0 and n < 24) or (width and n < 1 << 8 * width):
            return bytes((major << 5 | info,)) + (n.to_bytes(width, "big") if width else b"")
    raise Wrong("a number beyond 64 bits")


def encode(value: Any) -> bytes:
    match value:
        case None | bool():
            return {None: b"\xf6", True: b"\xf5", False: b"\xf4"}[value]
        case int():
            return head(0, value) if value >= 0 else head(1, -1 - value)
        case bytes():
            return head(2, len(value)) + value
        case str():
            return head(3, len(value.encode())) + value.encode()
        case list():
            return head(4, len(value)) + b"".join(map(encode, value))
        case dict():
            return head(5, len(value)) + b"".join(sorted(encode(key) + encode(each) for key, each in value.items()))
    raise Wrong("a value without CBOR")


P25519 = 2**255 - 19
Y8 = 0x5FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826  # y of points of order 8: d y^4 + 2 y^2 = 1
SMALL = {0, 1, P25519 - 1, Y8, P25519 - Y8}
P256_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def sure(check: Callable[[], None]) -> None:
    try:
        check()
    except (InvalidSignature, ValueError):
        raise Wrong("a signature does not hold") from None


def ed25519_holds(public: bytes, signature: bytes, message: bytes) -> None:
    sure(lambda: ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, message))


def cose_key(raw: bytes) -> tuple[bytes, Callable[[bytes, bytes], None]]:
    """KeyId, and what verifies with this key."""
    match decode(raw):
        case {1: 1, -1: 6, -2: bytes(x)}:
            return sha(raw), lambda signature, message: ed25519_holds(x, signature, message)
        case {1: 2, -1: 1, -2: bytes(x), -3: bytes(y)}:

            def es256(signature: bytes, message: bytes) -> None:
                r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
                need(len(signature) == 64 and r > 0 and 0 < s <= P256_N // 2, "a signature that is not in its one form")
                point, der = b"\x04" + x + y, utils.encode_dss_signature(r, s)
                curve, algorithm = ec.SECP256R1(), ec.ECDSA(hashes.SHA256())
                sure(lambda: ec.EllipticCurvePublicKey.from_encoded_point(curve, point).verify(der, message, algorithm))

            return sha(raw), es256
    raise Wrong("a key of a kind that signs nothing here")


def sign1(raw: bytes) -> tuple[bytes, dict[Any, Any], bytes, bytes]:
    """Of a COSE_Sign1 (RFC 9052): KeyId, payload, signature, and the bytes it covers."""
    match decode(raw):
        case [bytes(protected), {}, bytes(payload), bytes(signature)]:
            header = decode(protected)
            need(header in ({1: -8, 4: header[4]}, {1: -7, 4: header[4]}), "a signal with another header")
            return header[4], decode(payload), signature, encode(["Signature1", protected, b"", payload])
    raise Wrong("not a signed statement")


def b64(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raise Wrong("base64 that is none") from None
    need(base64.b64encode(raw).decode() == text, "base64 not in its one form")
    return raw


class Key:
    """A vkey: name+id+base64(type || key)."""

    def __init__(self, text: str) -> None:
        parts = text.split("+", 2)
        need(len(parts) == 3, "not a vkey")
        self.name, raw = parts[0], b64(parts[2])
        self.kind, self.public = raw[0], raw[1:]
        self.id = sha(self.name.encode(), b"\n", raw)[:4]
        need(self.id.hex() == parts[1] and self.kind in (1, 4, 6), "a vkey whose id is not its own, or of an unknown type")
        y = int.from_bytes(self.public, "little") % (1 << 255)
        need(self.kind == 6 or (y < P25519 and y not in SMALL), "a vkey of small order: anybody could sign for it")

    def holds(self, text: bytes, signature: bytes) -> None:
        if self.kind == 1:
            return ed25519_holds(self.public, signature, text)
        time, signature = int.from_bytes(signature[:8], "big"), signature[8:]
        if self.kind == 4:
            return ed25519_holds(self.public, signature, b"cosignature/v1\ntime %d\n" % time + text)
        origin, size, root = parse(text.decode())
        names = [bytes((len(name.encode()),)) + name.encode() for name in (self.name, origin)]
        message = b"subtree/v1\n\0" + names[0] + struct.pack(">Q", time) + names[1] + struct.pack(">QQ", 0, size) + root
        return sure(lambda: mldsa.MLDSA44PublicKey.from_public_bytes(self.public).verify(signature, message))


def parse(text: str) -> tuple[str, int, bytes]:
    lines = text.split("\n")
    need(len(lines) == 4 and lines[0] and lines[3] == "", "a checkpoint of another form")
    need(re.fullmatch("0|[1-9][0-9]{0,18}", lines[1]), "a size of another form")
    root = b64(lines[2])
    need(len(root) == 32, "a root of another length")
    return lines[0], int(lines[1]), root


def checkpoint(note: bytes, log: list[Key], witnesses: list[Key]) -> tuple[str, int, bytes, list[str]]:
    """Origin, size, root, and who cosigned. Every key of the log must have signed; known witnesses' lines must hold."""
    try:
        text, _, lines = note.decode().rpartition("\n\n")
    except UnicodeDecodeError:
        raise Wrong("the checkpoint is not text") from None
    need(lines.endswith("\n") and all(c >= " " or c == "\n" for c in note.decode()), "a checkpoint of another form")
    text += "\n"
    done: list[tuple[str, bytes]] = []
    for line in lines[:-1].split("\n"):
        words = line.split(" ")
        need(len(words) == 3 and words[0] == "\u2014", "a signature line of another form")
        raw = b64(words[2])
        for key in [*log, *witnesses]:
            if (key.name, key.id) == (words[1], raw[:4]):
                key.holds(text.encode(), raw[4:])
                done.append((key.name, key.id))
    need(log, "no key of the log is known")
    need(all((key.name, key.id) in done for key in log), "the checkpoint is not signed by every key of the log")
    need(all((key.name, key.id) in done for key in witnesses), "a witness that is named has not signed the checkpoint")
    return *parse(text), [key.name for key in witnesses]


def node(left: bytes, right: bytes) -> bytes:
    return sha(b"\x01", left, right)


def joined(leaves: dict[int, bytes], size: int, proof: list[bytes]) -> bytes:
    """The root over known leaf hashes and, for everything between them, the next hash of the proof."""
    rest = iter(proof)
    indexes = sorted(leaves)
    need(not indexes or indexes[-1] < size, "the checkpoint does not cover these entries")

    def walk(low: int, high: int, known: list[int]) -> bytes:
        if not known or high - low == 1:
            found = leaves[low] if known else next(rest, b"")
            need(len(found) == 32, "the proof has too few hashes")
            return found
        middle = low + (1 << (high - low - 1).bit_length() - 1)
        left = walk(low, middle, [n for n in known if n < middle])
        return node(left, walk(middle, high, [n for n in known if n >= middle]))

    root = walk(0, size, indexes)
    need(next(rest, None) is None, "the proof has hashes left over")
    return root


TAGS = {1: b"target", 2: b"headers", 3: b"body", 4: b"place", 5: b"observation", 15: b"sensor"}


def commitment(field: int, opened: Any) -> bytes:
    salt, value = opened
    need(len(salt) == 32, "an opening of another form")
    return sha(b"tally " + TAGS[field] + b" v1", salt, encode(value))


def check_opening(payload: dict[Any, Any], opened: Any) -> int:
    said = dict(payload[6]) | ({15: payload[15]} if 15 in payload else {})
    need(opened.keys() == said.keys(), "its opening has other fields than were signed")
    for field, value in opened.items():
        made = [commitment(5, each) for each in value] if field == 5 else commitment(field, value)
        need(made == said[field], "its opening is not what was signed")
    return 1


COMMITTED = {40: (54, 4), 56: (54, 4), 64: (101, 5), 66: (101, 4)}  # kinds with a place or a personal fact: event's field, opening's


def check_beside(fields: dict[Any, Any], raw: bytes) -> int:
    """The opening of an entry that is no signal: a body that waits, a place or fact, the filter of a query."""
    if fields[2] in COMMITTED:
        field, at = COMMITTED[fields[2]]
        opened = decode(raw)
        need(list(opened) == [at], "its opening is of another form")
        made, said = commitment(at, opened[at] if at == 4 else opened[at][0]), fields.get(field)
    elif fields[2] == 111:
        salt, asked = decode(raw)
        made, said = sha(b"tally query v1", salt, encode(asked)), fields.get(116)
    else:
        made, said = sha(raw), fields.get(105)
    need(made == said, "its opening is not what it commits to")
    return 1


def check_entries(leaves: dict[int, bytes], openings: dict[int, bytes]) -> tuple[list[str], str]:
    """What is wrong with entries, and how many things of each kind were proven."""
    wrong: list[str] = []
    counts = {"entries": len(leaves), "signatures": 0, "openings": 0}
    keys: dict[bytes, Callable[[bytes, bytes], None]] = {}
    for index, leaf in sorted(leaves.items()):
        try:
            fields = decode(leaf)
            need(isinstance(fields, dict) and fields.get(1) == 1 and isinstance(fields.get(2), int), "not an entry of version 1")
            if isinstance(fields.get(18), bytes):
                kid, payload, signature, covered = sign1(fields[18])
                need(kid in keys, "it is signed by a key that no entry here introduces")
                need(fields.get(6) in (None, kid), "it names another key than the one that signed")
                keys[kid](signature, covered)
                counts["signatures"] += 1
                if 20 in fields:
                    stated = commitment(3, [fields[21], [len(fields[20]), sha(fields[20])]])
                    need(payload[6] == {3: stated}, "its statement is not the one that was signed")
                if index in openings and fields[2] == 72:
                    counts["openings"] += check_opening(payload, decode(openings[index]))
            if index in openings and fields[2] != 72:
                counts["openings"] += check_beside(fields, openings[index])
            for raw in [*(fields.get(n) for n in (48, 59, 65)), *(fields.get(64) or [])]:  # keys that this entry brings
                if isinstance(raw, bytes) and len(raw) > 32 and decode(raw).get(-1) in (1, 6) and decode(raw)[1] != 7:
                    kid, holds = cose_key(raw)
                    keys.setdefault(kid, holds)
        except (Wrong, KeyError, TypeError, ValueError, AttributeError) as error:
            wrong.append(f"entry {index}: {error if isinstance(error, Wrong) else 'not an entry of a form that is known'}")
    wrong += [f"entry {index}: an opening without its entry" for index in openings if index not in leaves]
    return wrong, ", ".join(f"{number} {name}" for name, number in counts.items())


README = "54caa0e975c2c35ec11b39126e0b5302fe0e226800d367f8e627ea8b0f380955"  # SHA-256 of the words for people
NAMES = ("README.txt", "checkpoint", "vkeys", "selection", "leaves", "hashes", "proof", "openings", "SHA256SUMS")


def untar(data: bytes) -> dict[str, bytes]:
    """The members of an evidence file; any other tar is wrong."""
    found: dict[str, bytes] = {}
    at = 0
    for name in NAMES:
        block = data[at : at + 512]
        need(len(block) == 512 and block[124:135].isdigit(), f"the header of {name} at byte {at} is damaged")
        size = int(block[124:135], 8) if set(block[124:135]) <= set(b"01234567") else -1
        made = name.encode().ljust(100, b"\0") + b"0000444\0" + b"0000000\0" * 2 + b"%011o\0" % max(size, 0) + b"00000000000\0" + b" " * 8
        made = (made + b"0" + bytes(100) + b"ustar\x0000" + bytes(64) + b"0000000\0" * 2).ljust(512, b"\0")
        need(made[:148] + b"%06o\0 " % sum(made) + made[156:] == block, f"the header of {name} at byte {at} is damaged")
        found[name] = data[at + 512 : at + 512 + size]
        stop, at = at + 512 + size, at + 512 + size + -size % 512
        need(at <= len(data) and data[stop:at] == bytes(at - stop), f"{name} is cut short or filled at byte {stop}")
    need(data[at:] == bytes(1024), f"bytes at the end, from {at}, that do not belong there")
    return found


def records(data: bytes, form: str) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at, last = 0, -1
    while at < len(data):
        width = struct.calcsize(form)
        need(at + width <= len(data), f"a record cut short at byte {at}")
        index, size = struct.unpack_from(form, data, at)
        need(index > last and at + width + size <= len(data), f"a record out of order or cut short at byte {at}, entry {index}")
        found[index], last, at = data[at + width : at + width + size], index, at + width + size
    return found


def rows(data: bytes) -> list[bytes]:
    need(len(data) % 32 == 0, "not a row of hashes")
    return [data[at : at + 32] for at in range(0, len(data), 32)]


def pinned(said: list[Key], keys: list[Key]) -> None:
    have = {(key.kind, key.public) for key in said}
    need(all((key.kind, key.public) in have for key in keys), "this is another log than the one whose key you named")


def evidence(data: bytes, keys: list[Key]) -> tuple[list[str], str]:
    members = untar(data)
    sums = "".join(f"{sha(content).hex()}  {name}\n" for name, content in members.items() if name != "SHA256SUMS").encode()
    both = zip(members, sums.splitlines(), members["SHA256SUMS"].splitlines(), strict=False)
    wrong = [f"{name} was changed, or its sum was" for name, right, there in both if right != there]
    wrong += [] if sha(members["README.txt"]).hex() == README else ["README.txt does not say what it says in every evidence file"]
    need(sums == members["SHA256SUMS"] or wrong, "SHA256SUMS is not in its one form")
    lines = [line.split(" ") for line in members["vkeys"].decode("ascii", "replace").splitlines()]
    log, witnesses = ([Key(line[1]) for line in lines if len(line) == 2 and line[0] == word] for word in ("log", "witness"))
    leaves, openings = records(members["leaves"], ">QH"), records(members["openings"], ">QI")
    digests = rows(members["hashes"])
    need(len(digests) == len(leaves), "it has not one hash for each entry")
    wrong += [
        f"entry {n}: it was changed, or its hash was"
        for (n, leaf), made in zip(leaves.items(), digests, strict=True)
        if sha(b"\0", leaf) != made
    ]
    more, counts = check_entries(leaves, openings)
    pairs = {("tallystick/" + f[17].hex(), f[56]) for f in map(decode, leaves.values()) if {17, 56} <= f.keys()} if not more else set()
    try:
        pinned(log, keys)
        origin, size, root, seen = checkpoint(members["checkpoint"], log, witnesses)
        said = [{(key.name, key.kind, key.public) for key in each} for each in (log, log_keys(leaves, size), log + witnesses)]
        need(said[0] == said[1] and len(said[2]) == len(lines), "vkeys: not the keys that the entries name for the log, or one twice")
        foreign = [key for key in witnesses if (key.name, key.public) not in pairs]
        need(not any(key.name.startswith("tallystick/") for key in foreign), "a pair is named as a witness that no entry here names")
        made = joined(dict(zip(leaves, digests, strict=True)), size, rows(members["proof"]))
        need(made == root, "the entries do not lead to the root that was signed")
    except Wrong as error:
        return [*wrong, *more, str(error)], ""
    seers = f"{len(seen) - len(foreign)} pairs" + (f" and {len(foreign)} witnesses that only this file names" if foreign else "")
    return wrong + more, f"{counts}: in the log {origin}, under its checkpoint of {size} entries, seen by {seers}"


def log_keys(leaves: dict[int, bytes], size: int) -> list[Key]:
    """The name and keys of the log, as its entries say: the origin, and what changed them since (rotated, restored, migrated)."""
    name = ""
    said: list[Any] = []
    for index, leaf in sorted(leaves.items()):
        fields = decode(leaf)
        # A house that moves signs its last entry with the keys it had.
        if index == 0 or (fields.get(2) in (46, 109, 110) and 16 not in fields and (index < size - 1 or fields[2] != 110)):
            name, said = fields.get(58, name), fields.get(57, said)
    need(name and said, "there is no origin that names the log and its keys")
    keys = [bytes((kind,)) + raw for kind, raw in said]
    return [Key(f"{name}+{sha(name.encode(), bytes((10,)), raw)[:4].hex()}+{base64.b64encode(raw).decode()}") for raw in keys]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="tally-verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--key", action="append", default=[], metavar="VKEY", help="a key of the log, from somebody you trust")
    given = parser.parse_args()
    try:
        wrong, proven = evidence(given.path.read_bytes(), [Key(text) for text in given.key])
    except (Wrong, KeyError, TypeError, ValueError, AttributeError, OSError, RecursionError) as error:
        wrong, proven = [str(error) or type(error).__name__], ""
    for line in wrong:
        print(f"{given.path}: {line}")
    if wrong:
        print(f"NOT PROVEN: {len(wrong)} findings")
        return 3
    print(f"proven: {proven}" + ("" if given.key else " (no --key: this agrees with itself, and nothing more)"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
