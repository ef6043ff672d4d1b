"""The drawing of the house, enforced: imports only look down, the core is dry, strangers stay strangers.

Theory: every `import` statement anywhere in a file counts, also inside functions and under TYPE_CHECKING, so there is
no way to dodge a wall. `ROOMS` names for each room the rooms it may look at; what is not named is forbidden. The second
half plants one breach of each kind into an empty house and checks that it is found: a guard that never barks is not proven.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.support import PROJECT

SOURCE: Final = PROJECT / "src" / "tallystick"

FLOORS: Final[tuple[tuple[str, ...], ...]] = (
    ("primitives", "canonical", "errors"),
    ("noise", "keys", "tlog"),
    ("facts",),
    ("pair", "gate", "ledger"),
    ("channel", "rights"),
    ("diode",),
    ("passage",),
    ("net", "storage", "vault", "evidence", "service"),
    ("node",),
    ("cli", "console", "mcp", "sdk"),
)
CORE: Final = frozenset(room for floor in FLOORS[:7] for room in floor)
WINDOWS: Final = frozenset(FLOORS[7])
FACES: Final = frozenset(FLOORS[9])
BELOW_FACES: Final = frozenset(room for floor in FLOORS[:8] for room in floor)

_FACE: Final = frozenset({"errors", "canonical", "keys", "pair", "ledger", "rights", "node", "sdk"})

ROOMS: Final[Mapping[str, frozenset[str]]] = {
    "errors": frozenset(),
    "canonical": frozenset({"errors"}),
    "primitives": frozenset({"errors"}),
    "noise": frozenset({"errors", "primitives"}),
    "keys": frozenset({"errors", "canonical", "primitives"}),
    "tlog": frozenset({"errors", "canonical", "primitives"}),
    "facts": frozenset({"errors", "canonical", "keys"}),
    "pair": frozenset({"errors", "canonical", "primitives", "keys", "noise", "facts"}),
    "gate": frozenset({"errors", "canonical", "primitives", "keys", "facts"}),
    "ledger": frozenset({"errors", "canonical", "primitives", "keys", "tlog"}),
    "channel": frozenset({"errors", "canonical", "primitives", "keys", "noise", "pair"}),
    "rights": frozenset({"errors", "canonical", "primitives", "keys", "facts", "pair", "gate"}),
    "diode": frozenset({"errors", "canonical", "pair", "rights"}),
    "passage": CORE - {"passage"},
    "net": frozenset({"errors", "channel"}),
    "storage": frozenset({"errors", "canonical", "primitives", "tlog", "facts", "pair", "ledger", "keys"}),
    "vault": frozenset({"errors", "canonical", "primitives", "keys"}),
    "evidence": frozenset({"errors", "facts", "gate"}),
    "service": frozenset({"errors", "rights"}),
    "node": BELOW_FACES,
    "sdk": _FACE - {"sdk"},
    "cli": _FACE,
    "console": _FACE,
    "mcp": _FACE,
    # The package itself and `python -m tallystick`: the front door of the house.
    "": frozenset({"errors", "sdk"}),
    "__main__": frozenset({"cli"}),
}

DRY_STDLIB: Final = frozenset(
    {"__future__", "abc", "collections", "dataclasses", "enum", "functools", "itertools", "math", "re", "struct", "typing"}
)
# base64 and binascii are arithmetic; canonical wraps them because they are lenient, and nobody else may call them.
DRY_EXTRA: Final[Mapping[str, frozenset[str]]] = {
    "primitives": frozenset({"hashlib", "hmac", "cryptography", "nacl"}),
    "canonical": frozenset({"base64", "binascii"}),
}
# Private keys live in the vault, the mathematics in primitives: nobody else touches a library of mathematics.
CRYPTOGRAPHY: Final[Mapping[str, frozenset[str]]] = {"cryptography": frozenset({"primitives", "vault"}), "nacl": frozenset({"primitives"})}
# Builtins that reach out of the core or run foreign text.
WET_BUILTINS: Final = frozenset({"open", "print", "input", "eval", "exec", "compile", "__import__", "breakpoint"})
# Rooms that never meet, whatever the table above says today.
APART: Final = (("pair", "gate"), ("ledger", "pair"), ("ledger", "gate"), ("ledger", "channel"), ("ledger", "rights"))
# The diode, by construction: who executes cannot ask. Only these modules of the root may know the client.
CLIENT: Final = re.compile(
    r"tallystick\.node\.(approval|asking|chronicle|client|dialling|fetching|halves|housestream|httpclient|httpxadapter|lane|pursuit|putting|remote|running)(\..*)?"
    r"|tallystick\.node\.(pairingstream|signing)"
)
CLIENT_USERS: Final = re.compile(CLIENT.pattern + r"|tallystick\.(node\.commands|cli|console|mcp|sdk)(\..*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One imported module: `module` is where the statement stands, `at_load` whether it runs when the module loads."""

    module: str
    target: str
    line: int
    at_load: bool


def room_of(module: str) -> str:
    """`tallystick.pair.book` stands in `pair`; the package itself in the room with the empty name."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def module_of(path: Path, root: Path) -> str:
    parts = ("tallystick", *path.relative_to(root).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def house(root: Path) -> dict[str, ast.Module]:
    return {module_of(path, root): ast.parse(path.read_bytes(), str(path)) for path in sorted(root.rglob("*.py"))}


def _is_typing_only(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def _statements(body: list[ast.stmt], at_load: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, at_load
        inner_at_load = at_load and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not _is_typing_only(node)
        for field in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(node, field, []), inner_at_load)
        for handler in [*getattr(node, "handlers", []), *getattr(node, "cases", [])]:
            yield from _statements(handler.body, inner_at_load)


def imports(module: str, tree: ast.Module, modules: Mapping[str, ast.Module]) -> Iterator[Import]:
    """Every import of a file. `from tallystick import pair` is an import of the room, not of the package."""
    for node, at_load in _statements(tree.body, True):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif node.level:
            names = [f"tallystick.<relative import in {module}>"]
        else:
            origin = node.module or ""
            names = [f"{origin}.{alias.name}" if f"{origin}.{alias.name}" in modules else origin for alias in node.names]
        for name in names:
            yield Import(module=module, target=name, line=node.lineno, at_load=at_load)


def wall_breaches(edge: Import) -> Iterator[str]:
    """Ours importing ours: floors, strangers, and the diode."""
    here, there = room_of(edge.module), room_of(edge.target)
    where = f"{edge.module}:{edge.line}"
    if here not in ROOMS:
        yield f"{where}: room {here!r} is not in the drawing"
        return
    if there == "" and edge.target == "tallystick":
        if here in CORE:
            yield f"{where}: the core does not import the package itself"
    elif there != here and there not in ROOMS[here]:
        yield f"{where}: {here or 'tallystick'} may not import {there}"
    if CLIENT.fullmatch(edge.target) and not CLIENT_USERS.fullmatch(edge.module):
        yield f"{where}: the house side may not import the client"


def dry_breaches(edge: Import) -> Iterator[str]:
    """Ours importing others': what the core may use of the library, and who may touch `cryptography`."""
    here, top = room_of(edge.module), edge.target.split(".")[0]
    where = f"{edge.module}:{edge.line}"
    if here in CORE and top not in DRY_STDLIB | DRY_EXTRA.get(here, frozenset()):
        yield f"{where}: the core may not import {top}"
    elif here not in CRYPTOGRAPHY.get(top, frozenset({here})):
        yield f"{where}: only {' and '.join(sorted(CRYPTOGRAPHY[top]))} may import {top}"


def builtin_breaches(module: str, tree: ast.Module) -> Iterator[str]:
    """The core reaches nothing by a builtin either."""
    if room_of(module) not in CORE:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in WET_BUILTINS:
            yield f"{module}:{node.lineno}: the core may not call {node.func.id}()"


def rings(edges: list[Import], modules: Mapping[str, ast.Module]) -> Iterator[str]:
    """Modules that need each other while they load: no order of loading would be right."""
    needs: dict[str, set[str]] = {module: set() for module in modules}
    for edge in edges:
        if edge.at_load and edge.target in needs and edge.target != edge.module:
            needs[edge.module].add(edge.target)
    done: set[str] = set()
    path: list[str] = []

    def visit(module: str) -> Iterator[str]:
        if module in path:
            yield "ring: " + " -> ".join([*path[path.index(module) :], module])
            return
        if module in done:
            return
        path.append(module)
        for target in sorted(needs[module]):
            yield from visit(target)
        path.pop()
        done.add(module)

    for module in sorted(needs):
        yield from visit(module)


def breaches(root: Path) -> list[str]:
    """Everything in the package under `root` that breaks the drawing; empty for a sound house."""
    modules = house(root)
    edges = [edge for module, tree in modules.items() for edge in imports(module, tree, modules)]
    found: list[str] = []
    for edge in edges:
        found += wall_breaches(edge) if edge.target.split(".")[0] == "tallystick" else dry_breaches(edge)
    for module, tree in modules.items():
        found += builtin_breaches(module, tree)
    found += rings(edges, modules)
    return found


def test_the_house_has_no_breach() -> None:
    """Every import in the package is one the drawing allows."""
    assert breaches(SOURCE) == []


def test_the_table_only_looks_down() -> None:
    """No room may look at its own floor or above it, except faces and the root, which may use the sdk and no window twice."""
    floor = {room: level for level, floor_rooms in enumerate(FLOORS) for room in floor_rooms}
    # Inside the foundation canonical and primitives stand on errors; beside sdk nothing in FACES is imported by another face.
    sideways = {("canonical", "errors"), ("primitives", "errors"), ("cli", "sdk"), ("console", "sdk"), ("mcp", "sdk")}
    for room, allowed in ROOMS.items():
        for target in allowed:
            if room in floor and (room, target) not in sideways:
                assert floor[target] < floor[room], f"{room} looks up at {target}"


@pytest.mark.parametrize(("one", "other"), APART)
def test_strangers_cannot_reach_each_other(one: str, other: str) -> None:
    """Neither room reaches the other, not even through a third."""
    assert other not in reach(one)
    assert one not in reach(other)


def reach(room: str) -> frozenset[str]:
    """All rooms that an import of `room` can bring with it."""
    seen: set[str] = set()
    todo = [room]
    while todo:
        todo += [target for target in ROOMS[todo.pop()] if target not in seen and not seen.add(target)]  # type: ignore[func-returns-value]
    return frozenset(seen)


def test_an_auditor_needs_six_rooms() -> None:
    """The ledger stands on errors, canonical, primitives, keys and tlog, and on nothing else."""
    assert reach("ledger") == {"errors", "canonical", "primitives", "keys", "tlog"}


def test_windows_are_strangers_to_each_other() -> None:
    """No window imports a window, so each can be replaced alone."""
    for window in WINDOWS:
        assert not ROOMS[window] & WINDOWS


def test_faces_choose_no_window() -> None:
    """Only node chooses windows; a face has to come in by the door."""
    for face in FACES:
        assert not ROOMS[face] & WINDOWS


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A file put into an empty house, and what the guard must say about it."""

    file: str
    text: str
    says: str


PLANTED: Final = (
    Breach(file="pair/x.py", text="import socket\n", says="the core may not import socket"),
    Breach(file="channel/x.py", text="def f() -> int:\n    import time\n    return time.time_ns()\n", says="may not import time"),
    Breach(file="gate/x.py", text="from os import urandom\n", says="may not import os"),
    Breach(file="ledger/x.py", text="import logging\n", says="may not import logging"),
    Breach(file="noise/x.py", text="import random\n", says="may not import random"),
    Breach(file="keys/x.py", text="import base64\n", says="may not import base64"),
    Breach(file="tlog/x.py", text="import hashlib\n", says="may not import hashlib"),
    Breach(file="pair/x.py", text="from cryptography.hazmat.primitives import hashes\n", says="may not import cryptography"),
    Breach(file="node/x.py", text="import cryptography\n", says="only primitives and vault may import cryptography"),
    Breach(file="vault/x.py", text="from nacl.bindings import crypto_sign\n", says="only primitives may import nacl"),
    Breach(file="facts/x.py", text="text = open('facts').read()\n", says="the core may not call open()"),
    Breach(file="pair/x.py", text="import tallystick.gate\n", says="pair may not import gate"),
    Breach(file="gate/x.py", text="from tallystick.pair import book\n", says="gate may not import pair"),
    Breach(file="ledger/x.py", text="from tallystick.channel.knock import Knock\n", says="ledger may not import channel"),
    Breach(file="ledger/x.py", text="from tallystick import rights\n", says="ledger may not import rights"),
    Breach(file="rights/x.py", text="from tallystick.diode import flow\n", says="rights may not import diode"),
    Breach(file="channel/x.py", text="from tallystick.net import udp\n", says="channel may not import net"),
    Breach(file="net/x.py", text="from tallystick.storage import sqlite\n", says="net may not import storage"),
    Breach(file="service/x.py", text="from tallystick.vault import file\n", says="service may not import vault"),
    Breach(file="cli/x.py", text="from tallystick.storage import sqlite\n", says="cli may not import storage"),
    Breach(file="sdk/x.py", text="from tallystick.net import tcp\n", says="sdk may not import net"),
    Breach(file="cli/x.py", text="from tallystick.console import page\n", says="cli may not import console"),
    Breach(file="node/x.py", text="from tallystick.sdk import client\n", says="node may not import sdk"),
    Breach(file="node/daemon.py", text="from tallystick.node.client import Client\n", says="the house side may not import the client"),
    Breach(file="node/door.py", text="from tallystick.node import client\n", says="the house side may not import the client"),
    Breach(file="node/house.py", text="from tallystick.node.dialling import dial\n", says="the house side may not import the client"),
    Breach(file="service/x.py", text="import tallystick.node.client\n", says="service may not import node"),
    Breach(file="pair/x.py", text="from . import book\n", says="may not import <relative import"),
    Breach(file="pair/x.py", text="from tallystick import __version__\n", says="the core does not import the package itself"),
    Breach(file="attic/x.py", text="import tallystick.errors\n", says="room 'attic' is not in the drawing"),
    Breach(
        file="pair/x.py",
        text="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tallystick.gate import signal\n",
        says="pair may not import gate",
    ),
)


def plant(root: Path, file: str, text: str) -> None:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("breach", PLANTED, ids=lambda breach: breach.says.replace(" ", "-"))
def test_a_planted_breach_is_found(breach: Breach, tmp_path: Path) -> None:
    """Each kind of forbidden import is named, with file and line."""
    for name in ("__init__.py", "errors.py", "node/__init__.py", "node/client.py", "gate/__init__.py", "rights/__init__.py"):
        plant(tmp_path, name, "")
    assert breaches(tmp_path) == []
    plant(tmp_path, breach.file, breach.text)
    found = breaches(tmp_path)
    assert any(breach.says in line for line in found)
    assert all(re.search(r":\d+: ", line) for line in found)


def test_a_planted_ring_is_found(tmp_path: Path) -> None:
    """Two modules that need each other to load are named as a ring."""
    plant(tmp_path, "pair/a.py", "import tallystick.pair.b\n")
    plant(tmp_path, "pair/b.py", "from tallystick.pair import a\n")
    assert breaches(tmp_path) == ["ring: tallystick.pair.a -> tallystick.pair.b -> tallystick.pair.a"]


def test_what_is_allowed_is_not_reported(tmp_path: Path) -> None:
    """A sound house is silent: lazy imports in a face, the client in the sdk, the library in primitives."""
    plant(tmp_path, "primitives.py", "import hashlib\nfrom cryptography.exceptions import InvalidTag\n")
    plant(tmp_path, "pair/book.py", "from collections.abc import Mapping\nfrom tallystick.keys.identity import KeyId\n")
    plant(tmp_path, "node/client.py", "import asyncio\nfrom tallystick.net.tcp import connect\n")
    plant(tmp_path, "sdk/client.py", "from tallystick.node.client import Client\n")
    plant(tmp_path, "cli/put.py", "def run() -> None:\n    from tallystick.node.remote import Client\n")
    assert breaches(tmp_path) == []
