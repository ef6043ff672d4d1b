"""Names of pairs."""

import pytest

from tallystick.pair.pairing import free_label


@pytest.mark.parametrize(
    ("wanted", "taken", "label"),
    [
        ("laptop", [], "laptop"),
        ("laptop", ["laptop"], "laptop-2"),
        ("laptop", ["laptop", "laptop-2"], "laptop-3"),
        ("x" * 63, ["x" * 63], "x" * 61 + "-2"),
    ],
)
def test_a_label_that_is_taken_gets_a_number(wanted: str, taken: list[str], label: str) -> None:
    """Two pairs never have one label; a numbered one is no longer than any other."""
    assert free_label(wanted, taken) == label
