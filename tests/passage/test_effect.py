"""Effects: what changes anything outside the ledger cannot even be asked for without a receipt."""

import inspect
from collections.abc import Callable
from typing import Any, get_args

import pytest

from tallystick.ledger.event import Event, Kind
from tallystick.passage import effect as effects
from tallystick.passage.effect import (
    Close,
    Destroy,
    Effect,
    Forget,
    Keep,
    Listen,
    Narrow,
    Open,
    Perform,
    Recheck,
    Record,
    Unlisten,
    invite_name,
    secret_name,
)
from tests.passage.walk import receipt

ID = bytes(32)
MAKERS: dict[str, Callable[[Any], Effect]] = {
    "Perform": lambda given: Perform("archive.put", given),
    "Open": lambda given: Open(ID, given),
    "Close": lambda given: Close(ID, given),
    "Narrow": lambda given: Narrow(ID, given),
    "Listen": lambda given: Listen(ID, given),
    "Unlisten": lambda given: Unlisten(ID, given),
    "Recheck": lambda given: Recheck(given),
    "Destroy": lambda given: Destroy("pair/00", given),
}
EVENT = Event.of(Kind.STOPPED, 1)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("lie", [None, 7, b"receipt", True, {"index": 7}, EVENT], ids=repr)
def test_no_receipt_no_effect(name: str, lie: object) -> None:
    """Perform, Open, Close, Narrow, Listen, Unlisten, Recheck and Destroy exist only with the receipt of their entry."""
    MAKERS[name](receipt())
    with pytest.raises(AssertionError):
        MAKERS[name](lie)


def test_only_four_effects_need_none() -> None:
    """Recording itself, keeping a secret before its entry, and forgetting one whose entry was refused."""
    free = {each.__name__ for each in get_args(Effect)} - MAKERS.keys()
    assert free == {"Record", "Later", "Keep", "Forget"}
    assert all("receipt" not in inspect.signature(getattr(effects, name)).parameters for name in free)


def test_a_receipt_stays_what_it_is() -> None:
    """An effect is frozen: its receipt cannot be put in later."""
    asked = Perform("archive.put", receipt())
    with pytest.raises(AttributeError):
        asked.receipt = receipt(8)  # type: ignore[misc]


def test_a_secret_is_not_shown() -> None:
    """An effect that is logged by mistake shows no secret."""
    assert "sesame" not in repr(Keep("pair/00", b"sesame"))


def test_secrets_are_named_by_what_they_open() -> None:
    """One name for each pair and each invite, so that a start can tell which secrets belong to nobody."""
    assert secret_name(ID) == "pair/" + "00" * 32
    assert invite_name(ID) == "invite/" + "00" * 32
    assert Forget(secret_name(ID)) != Forget(invite_name(ID))
    assert Record((EVENT,)).openings == ()
