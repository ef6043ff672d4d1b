"""`tally erase` at a running house, at one that is off, and on a client: what was erased is in no file, no log, no later backup."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.node import commands
from tallystick.node.settings import load
from tests.e2e.support import Client, House
from tests.storage.test_forgotten import spellings

PLANTED = b"planted-in-a-path"
PASSPHRASE = b"four words of a backup"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One house with its owner."""
    with House(tmp_path_factory.mktemp("forgetting")) as made:
        yield made


@pytest.fixture(scope="module")
def laptop(house: House) -> Client:
    """A machine that has asked for what is to be forgotten."""
    laptop = house.machine("laptop")
    use(laptop)
    return laptop


def use(client: Client) -> None:
    """Commands of every sort for one path; in the end the archive has no file of it."""
    name = f"/{PLANTED.decode()}.txt"
    client.put(b"content", name)
    assert client.get(name) == b"content"
    assert client.names() == [name[1:]]
    client.cli("log", "attic", "--target", name)
    client.rm(name)


def places(folder: Path, *, but: Path | None = None) -> list[str]:
    """The files that hold the planted text in any spelling. `but`: a folder that is not looked into."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not (but and path.is_relative_to(but)) and any(each in path.read_bytes() for each in spellings(PLANTED))
    )


def openings(home: House | Client) -> list[int]:
    with home.open() as machine:
        return machine.store.bodied(0, machine.store.size())


def test_what_a_running_house_erased_is_nowhere(house: House, laptop: Client, tmp_path: Path) -> None:
    """Erased through its socket: gone from database, log, bodies, tiles, lines of its log, and from a backup made afterwards."""
    with house.open() as machine:
        assert any(PLANTED in (machine.store.opening(entry) or b"") for entry in openings(house))
    count = len(openings(house))
    told = house.json("erase", "--pair", "laptop", "--reason", "asked-by-owner", "--yes")
    assert told["reason"] == "asked-by-owner" and told["erased"] >= 4 and len(openings(house)) == count - told["erased"]
    with house.open() as machine:
        row = machine.store.entry(told["entry"])
        assert row is not None and row.event.actor == "local" and row.event.text("reason") == "asked-by-owner"
    left = [entry for entry in openings(house) if entry > told["last"]]
    assert places(house.path, but=house.path / "files") == [] and not any(each in house.said.read_bytes() for each in spellings(PLANTED))
    assert laptop.names() == [] and left == []
    commands.backup(house.settings(), target=tmp_path / "backup", passphrase=lambda _: PASSPHRASE, progress=lambda *_: None)
    home, owner = tmp_path / "home", commands.key_ls(house.owner.settings())["keys"][0]["key"]
    commands.restore(
        load({}, home=home, env={}), source=tmp_path / "backup", owner=owner, passphrase=lambda _: PASSPHRASE, progress=lambda *_: None
    )
    assert places(home) == []


def test_an_erased_entry_is_said_to_be_erased(house: House, laptop: Client) -> None:
    """A second erasure of an entry is refused, with code 1, and so is one of an entry that never had an opening."""
    laptop.ls()
    (newest, *_) = sorted(openings(house), reverse=True)
    assert house.json("erase", str(newest), "--yes")["first"] == newest
    for chosen in (str(newest), "0", f"{newest}-{newest}", "999999", "999999-1000000"):
        assert "an opening" in house.cli("erase", chosen, "--yes", code=1).stderr.replace("no opening", "an opening")


def test_nothing_is_erased_unless_it_is_meant(house: House, laptop: Client) -> None:
    """Without --yes and without a terminal nothing happens; without a choice neither."""
    laptop.ls()
    before = openings(house)
    assert "--yes" in house.cli("erase", "--pair", "laptop", code=2).stderr
    assert "nothing was chosen" in house.cli("erase", "--yes", code=2).stderr
    assert "is not a word" in house.cli("erase", "--before", "1d", "--reason", "Not a word", "--yes", code=2).stderr
    assert openings(house) == before


def test_an_admin_has_its_house_forget(house: House, laptop: Client) -> None:
    """Signed by the owner's human key and carried by an ADMIN pair, as an entry that shows it; nobody else's word does it."""
    use(laptop)
    (last, before, *_) = sorted(openings(house), reverse=True)
    assert house.owner.json("erase", "--house", "attic", str(before), str(last), "--yes", secret=True)["erased"] == 2
    assert not {before, last} & set(openings(house))
    erased = house.log("body-erased")[-1]["fields"]
    assert (erased["entry"], erased["erased"], erased["signal"]["verb"]) == (before, [[last, 1]], "body.erase")
    assert "no opening" in house.owner.cli("erase", "--house", "attic", str(last), "--yes", code=1, secret=True).stderr
    assert "one by one" in house.owner.cli("erase", "--house", "attic", "--before", "1d", "--yes", code=2, secret=True).stderr
    laptop.ls()
    (newest, *_) = sorted(openings(house), reverse=True)
    assert laptop.cli("erase", "--house", "attic", str(newest), "--yes", code=1, secret=True).stderr
    assert newest in openings(house)


def test_a_client_forgets_too(laptop: Client) -> None:
    """Every machine keeps a ledger, with openings of what it asked; they are erased there."""
    use(laptop)
    held = openings(laptop)
    if held:
        assert laptop.json("erase", f"0-{held[-1]}", "--yes")["erased"] == len(held)
    assert places(laptop.path) == []


def test_a_house_that_is_off_forgets_too(house: House, laptop: Client) -> None:
    """With its lock, offline; afterwards it starts, and its ledger goes on."""
    use(laptop)
    assert house.stop() == 0
    told = house.json("erase", "--before", "2099-01-01", "--yes")
    assert told["erased"] >= 4 and openings(house) == []
    assert places(house.path, but=house.path / "files") == []
    house.serve()
    laptop.put(b"again", "/again")
    assert laptop.get("/again") == b"again"
