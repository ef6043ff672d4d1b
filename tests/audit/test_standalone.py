"""The stand-alone verifier on published folders: what pairs cosigned must be of this very history."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import tallystick_verify as alone
from tallystick.canonical import b64
from tallystick.ledger.event import Event, Kind
from tallystick.node.machine import Machine
from tallystick.node.publisher import Publisher
from tallystick.node.settings import load
from tallystick.pair.pairing import Role


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Machine]:
    """A house with a few hundred entries."""
    with Machine.create(load(home=tmp_path / "house", env={"HOME": str(tmp_path)}), Role.HOUSE)[0] as machine:
        machine.store.append(*(Event.of(Kind.MAINTAINED, 1, what="nothing") for _ in range(300))).result()
        yield machine


def cosigned(house: Machine, size: int, root: bytes) -> int:
    event = Event.of(
        Kind.CHECKPOINT_COSIGNED, 1, "pair", pair=bytes(32), origin_hash=bytes(32), size=size, root=root, cosigner="pair", by="peer"
    )
    return house.store.append(event).result()[0].index


def judged(house: Machine) -> list[str]:
    Publisher(house).publish()
    return alone.folder(house.home.tiles, [])[0]


def test_what_was_cosigned_is_of_this_history(house: Machine) -> None:
    """Every checkpoint on record that a pair cosigned, at any size, leads to the root at that size."""
    for size in (1, 2, 3, 255, 256, 257, 300):
        cosigned(house, size, house.store.root_at(size))
    assert judged(house) == []
    entries = [cosigned(house, size, bytes(32)) for size in (1, 200, 256, 301)]
    found = judged(house)
    assert len(found) == 4
    for entry, size, line in zip(entries, (1, 200, 256, 301), found, strict=True):
        assert line == f"entry {entry}: a pair cosigned another history of {size} entries"


@pytest.mark.parametrize("public", [bytes(32), b"\x01" + bytes(31), (2**255 - 19).to_bytes(32, "little"), b"\x01" + bytes(30) + b"\x80"])
def test_a_key_for_which_anybody_could_sign_is_none(public: bytes) -> None:
    """Small order and second encodings are refused, as everywhere a key is pinned."""
    raw = b"\x01" + public
    text = f"a+{alone.sha(b'a', bytes([10]), raw)[:4].hex()}+{b64(raw)}"
    with pytest.raises(alone.Wrong, match="small order"):
        alone.Key(text)
