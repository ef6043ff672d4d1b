"""A machine: made once, opened by every command, never made over."""

import os
import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tallystick.errors import Misuse, Refused, TallyError, Unavailable
from tallystick.keys import KeyId
from tallystick.ledger.event import Kind
from tallystick.node.machine import Machine, log_name_of
from tallystick.node.settings import Settings, load
from tallystick.pair.pairing import Role
from tallystick.primitives import sha256
from tallystick.storage.sqlite import Store


def at(folder: Path, name: str = "attic") -> Settings:
    return load({"name": name}, home=folder / name, env={})


def test_a_house_begins_with_its_origin(tmp_path: Path) -> None:
    """Entry 0 names every key of the house, its recovery key and its owner; the recovery key itself is nowhere on the disk."""
    owner = KeyId(sha256(b"owner"))
    house, recovery = Machine.create(at(tmp_path), Role.HOUSE, owner=owner)
    with house:
        assert recovery is not None
        first = house.store.entry(0)
        assert first is not None
        event, vault = first.event, house.vault
        assert (event.kind, event.actor, event.text("role")) == (Kind.ORIGIN, "local", "house")
        assert event.blob("house") == vault.machine.signing.public.key_id == house.house_id
        assert event.blob("static_key") == vault.machine.static.public
        assert event.blob("witness_key") == vault.witness.public.raw
        assert event.get("log_keys") == ((0x01, vault.log.ed25519.public.raw), (0x06, vault.log.ml_dsa_44.public.raw))
        assert event.blob("recovery_key") == recovery.public.cose_key()
        assert (house.owner, event.text("log_name")) == (owner, log_name_of(house.house_id))
        text = recovery.paper_text()
        seed = bytes(recovery._open())
        for path in (tmp_path / "attic").rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert seed not in content and text.encode() not in content


def test_a_client_has_no_recovery_key(tmp_path: Path) -> None:
    """It lets nobody in, so there is nothing to recover."""
    client, recovery = Machine.create(at(tmp_path), Role.CLIENT)
    with client:
        assert recovery is None
        assert (client.role, client.owner) == (Role.CLIENT, None)
        first = client.store.entry(0)
        assert first is not None and first.event.get("recovery_key") is None


def test_what_was_made_is_what_is_opened(tmp_path: Path) -> None:
    """Every command sees the same machine; several at once may have it open."""
    made, _ = Machine.create(at(tmp_path), Role.HOUSE)
    name = made.log_name
    made.close()
    with Machine.open(at(tmp_path)) as one, Machine.open(at(tmp_path)) as other:
        assert one.house_id == other.house_id == made.house_id
        assert (one.log_name, one.role) == (name, Role.HOUSE)
        one.record_local(Kind.STOPPED, what="ordered", reason=None)
        assert other.store.size() == 2


@pytest.mark.parametrize("role", Role)
def test_nothing_is_made_over_a_machine(tmp_path: Path, role: Role) -> None:
    """Neither a house nor a client is made where one lives; the one that lives is as it was."""
    made, _ = Machine.create(at(tmp_path), Role.HOUSE)
    made.close()
    with pytest.raises(Refused, match="already lives"):
        Machine.create(at(tmp_path), role)
    with Machine.open(at(tmp_path)) as opened:
        assert (opened.house_id, opened.store.size()) == (made.house_id, 1)


def test_a_client_is_made_when_it_is_needed(tmp_path: Path) -> None:
    """`open_or_create` makes one once."""
    with Machine.open_or_create(at(tmp_path), Role.CLIENT) as first:
        pass
    with Machine.open_or_create(at(tmp_path), Role.CLIENT) as second:
        assert second.house_id == first.house_id
        assert second.store.size() == 1


def test_a_creation_that_was_cut_short_is_taken_up(tmp_path: Path) -> None:
    """A vault without a ledger, or a ledger without its origin: the next `init` goes on with the keys that are there."""
    made, _ = Machine.create(at(tmp_path), Role.HOUSE)
    made.close()
    home = tmp_path / "attic"
    for left in home.glob("house.sqlite*"):
        left.unlink()
    shutil.rmtree(home / "bodies", ignore_errors=True)
    with pytest.raises(Misuse, match="no machine"):
        Machine.open(at(tmp_path))
    Store.open(home / "house.sqlite", create=True).close()
    with pytest.raises(Misuse, match="no origin"):
        Machine.open(at(tmp_path))
    again, recovery = Machine.create(at(tmp_path), Role.HOUSE)
    with again:
        assert recovery is not None
        assert again.house_id == made.house_id


def test_two_creations_at_once_make_one_machine(tmp_path: Path) -> None:
    """One gets it, the others are told; the ledger has one origin and opens."""
    outcomes: list[object] = []

    def make() -> None:
        try:
            machine, _ = Machine.create(at(tmp_path), Role.HOUSE)
            outcomes.append(machine.house_id)
            machine.close()
        except TallyError as error:
            outcomes.append(type(error))

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = [outcome for outcome in outcomes if isinstance(outcome, KeyId)]
    assert len(outcomes) == 4 and len(made) == 1
    with Machine.open(at(tmp_path)) as machine:
        assert (machine.house_id, machine.store.size()) == (made[0], 1)


def _widen(home: Path) -> None:
    home.chmod(0o755)


def _without(name: str) -> Callable[[Path], None]:
    def take(home: Path) -> None:
        path = home / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return take


@pytest.mark.parametrize(
    ("harm", "error"),
    [
        (_widen, Refused),
        (_without("vault"), Misuse),
        (_without("house.sqlite"), Misuse),
        (lambda home: (home / "house.sqlite").write_bytes(b"junk" * 5000), Unavailable),
        (lambda home: (home / "vault" / "machine.key").write_bytes(b"junk"), Unavailable),
    ],
    ids=["others may look", "no vault", "no ledger", "a ledger of junk", "a vault of junk"],
)
def test_a_home_that_is_not_whole_is_not_opened(tmp_path: Path, harm: Callable[[Path], object], error: type[TallyError]) -> None:
    """Said which of the five errors it is, with a hint; nothing is mended behind the owner's back."""
    Machine.create(at(tmp_path), Role.HOUSE)[0].close()
    home = tmp_path / "attic"
    for name in ("house.sqlite-wal", "house.sqlite-shm"):
        (home / name).unlink(missing_ok=True)
    harm(home)
    with pytest.raises(error) as caught:
        Machine.open(at(tmp_path))
    assert caught.value.hint


def test_everything_in_the_home_is_its_owners(tmp_path: Path) -> None:
    """Whatever the umask: no file or folder is open to others."""
    old = os.umask(0)
    try:
        Machine.create(at(tmp_path), Role.HOUSE)[0].close()
    finally:
        os.umask(old)
    for path in [tmp_path / "attic", *(tmp_path / "attic").rglob("*")]:
        assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path
