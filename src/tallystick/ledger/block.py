"""A block: the entries under one tile of level 0, hashed and read. What a verifier does in many processes at once.

block = read_block(bundle, width, first, forms, sight)
block.tile, block.root      # what the tile must hold, and its hash in the level above
block.flaws                 # what is wrong with single entries
block.left                  # entries that only the one who reads all of them in order can judge (ledger/meaning.py)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tallystick import canonical
from tallystick.errors import TallyError
from tallystick.keys.cose import parse_sign1
from tallystick.ledger import entry
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.form import Forms
from tallystick.ledger.meaning import MEANT, Claim, Flaw, check
from tallystick.primitives import SHA256
from tallystick.tlog.tree import perfect_root

_new = SHA256.new
_LENGTH = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What earlier entries have brought, as far as it is known when a block is read: enough to judge nearly every command.

    Attributes: since: signatures in earlier entries are not checked once more.  houses: for whom a signal may
        be.  keys: by KeyId its kind, its bytes and the entry that brought it.
    """

    since: int = 0
    houses: frozenset[bytes] = frozenset()
    keys: Mapping[bytes, tuple[str, bytes, int]] = field(default_factory=dict)


@dataclass(slots=True)
class Block:
    """What was read. `count`: entries that the bundle has; fewer than it should when it is cut or damaged."""

    first: int
    count: int = 0
    tile: bytes = b""
    root: bytes = b""  # of a full one
    flaws: list[Flaw] = field(default_factory=list)
    left: list[tuple[int, bytes]] = field(default_factory=list)
    offsets: dict[int, int] = field(default_factory=dict)  # by entry, of those in `flaws`: where its leaf begins
    broken: str = ""  # why the bundle cannot be read to its end
    latest_ns: int = 0


def read_block(data: bytes, width: int, first: int, forms: Forms, sight: Sight) -> Block:
    """Read a bundle. Raises nothing: what is wrong stands in the block."""
    block = Block(first)
    hashes: list[bytes] = []
    new, match, references = _new, forms.pattern.match, forms.references
    at, end, add = 0, len(data), hashes.append
    bound = canonical.encode(first)  # an entry of this bundle that names a smaller one is right whatever its own index is
    found = None
    for index in range(first, first + width):
        found = match(data, at)
        if found is not None:
            group = found.lastindex or 0
            leaf = found[group]
            add(new(b"\x00" + leaf).digest())
            at = found.end()
            for place in references[group]:
                named = leaf[place]
                if named >= bound and (named[0] if len(named) == 1 else int.from_bytes(named[1:], "big")) >= index:
                    block.flaws.append(Flaw(index, "it names an entry that is not before it"))
                    block.offsets[index] = at - len(leaf)
            continue
        start = at + _LENGTH
        stop = start + int.from_bytes(data[at:start], "big")
        if start > end or stop > end:
            block.broken = f"it ends in entry {index}" if at < end else f"it ends before entry {index}"
            break
        leaf = data[start:stop]
        add(new(b"\x00" + leaf).digest())
        before = len(block.flaws)
        event = _read(block, index, leaf, sight)
        if event is not None and event.kind not in MEANT and "signal" not in event.fields:
            forms.learn(event)
            match = forms.pattern.match
        if len(block.flaws) > before:
            block.offsets[index] = start
        at = stop
    if not block.broken and at != end:
        block.broken = f"it has {end - at} bytes behind its last entry"
    block.count = len(hashes)
    block.tile = b"".join(hashes)
    if len(hashes) & (len(hashes) - 1) == 0 and hashes:
        block.root = perfect_root(hashes)
    if found is not None and found.lastindex:  # the last of a bundle stands for its time, unless another was read in full
        time = found[found.lastindex][forms.forms[found.lastindex - 1].time]
        block.latest_ns = max(block.latest_ns, time[0] if len(time) == 1 else int.from_bytes(time[1:], "big"))
    return block


def _read(block: Block, index: int, leaf: bytes, sight: Sight) -> Event | None:
    """An entry of no known form, read in full."""
    try:
        event = entry.decode(leaf)
    except TallyError as error:
        block.flaws.append(Flaw(index, f"this is no entry that a ledger may hold: {error.message}"))
        return None
    if index == 0 or event.kind in MEANT or "statement" in event.fields or not _command(block, index, event, sight):
        block.left.append((index, leaf))
        return event
    for name in ("entry", "cause", "replaces"):
        if name in event.fields and event.number(name) >= index:
            block.flaws.append(Flaw(index, f"it names entry {event.number(name)}, which is not before it"))
    block.latest_ns = max(block.latest_ns, event.time_ns)
    return event


def _command(block: Block, index: int, event: Event, sight: Sight) -> bool:
    """A signal of a machine, judged here when its key is known; False: leave it to the one who reads in order."""
    if "signal" not in event.fields:
        return True
    try:
        signed = parse_sign1(event.blob("signal"))
        payload = canonical.decode(signed.payload)
    except TallyError:
        return False
    key = sight.keys.get(signed.kid)
    if event.kind is not Kind.SIGNAL or key is None or key[2] >= index or not isinstance(payload, dict):
        return False
    if payload.get(2) not in sight.houses or payload.get(10) != [] or event.blob("key") not in (b"", signed.kid):
        return False
    if index < sight.since:
        return True
    kind, public, _ = key
    meaning = "the signature in this entry does not hold under the key that it names"
    block.flaws += check([Claim(index, kind, public, signed.signature, signed.signed_bytes(), meaning)])
    return True
