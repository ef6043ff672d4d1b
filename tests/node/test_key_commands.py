"""`tally key new --source` and what a person types of places, values and plans, without any house."""

from pathlib import Path

import pytest

from tallystick.errors import Misuse, Refused
from tallystick.node import commands
from tallystick.node.commands.granting import read_a_value
from tallystick.node.settings import Settings, load


def nobody(_: str) -> bytes:
    """A source asks nobody for a passphrase."""
    raise AssertionError("a source key has no passphrase")


def settings_of(path: Path) -> Settings:
    """A machine's settings, without the environment."""
    return load(home=path / "home", env={"HOME": str(path)})


def test_a_source_key_needs_a_label_of_its_own(tmp_path: Path) -> None:
    """Made without a question, listed beside the human keys with what others need to name it; a second of this name is refused."""
    settings = settings_of(tmp_path)
    made = commands.key_new(settings, label="front-door", passphrase=nobody, scripted=False, source=True)
    assert (made["kind"], made["key_class"], made["number"]) == ("source", "file", None)
    assert commands.key_ls(settings) == {"keys": [made]}
    for label in ("", "two words", "-x", "x" * 64):
        with pytest.raises(Misuse):
            commands.key_new(settings, label=label, passphrase=nobody, scripted=False, source=True)
    with pytest.raises(Refused):
        commands.key_new(settings, label="front-door", passphrase=nobody, scripted=False, source=True)


def test_a_machine_without_a_house_has_nobody_to_ask(tmp_path: Path) -> None:
    """Reading and signing both say what is missing; nothing is asked of the person before."""
    settings = settings_of(tmp_path)
    commands.key_new(settings, label="front-door", passphrase=nobody, scripted=False, source=True)
    with pytest.raises(Refused):
        commands.key_show(settings, key="front-door", house="")
    with pytest.raises(Refused):
        commands.fact_withdraw(settings, fact="7", house="", passphrase=nobody)
    assert commands.config_plan(settings)["classes"] == []
    assert commands.config_plan(settings_of(tmp_path / "elsewhere"))["classes"] == []


def test_at_the_house_itself_nothing_is_signed(tmp_path: Path) -> None:
    """The human key is on the owner's machine; lists are there for whoever is at the house."""
    settings = settings_of(tmp_path)
    commands.init(settings, owner=None)
    with pytest.raises(Misuse):
        commands.key_revoke(settings, key="#1", since=None, house="", passphrase=nobody)
    assert [row["kind"] for row in commands.key_ls_house(settings, house="")["keys"]] == ["machine", "witness", "recovery"]
    assert commands.key_show(settings, key="#1", house="")["kind"] == "machine"
    assert commands.rights_ls(settings, house="")["keys"] == []
    assert commands.fact_ls(settings, key="", predicate="", every=True, house="")["facts"] == []
    assert commands.config_plan(settings)["classes"][0]["class"] == "default"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("0", 0),
        ("-7", -7),
        ("007", "007"),
        ("1.4.2", "1.4.2"),
        ("True", "True"),
        (str(2**63 - 1), 2**63 - 1),
    ],
)
def test_values_are_read_as_people_mean_them(text: str, value: object) -> None:
    """Truth values and whole numbers in their one form; everything else is text."""
    found = read_a_value(text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("text", ["", "x" * 257, "a\x1bb", str(2**63)])
def test_values_that_no_fact_has(text: str) -> None:
    """Nothing, too much, or what no terminal should print."""
    with pytest.raises(Misuse):
        read_a_value(text)
