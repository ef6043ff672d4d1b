"""The examples in the docstrings run and show what they say."""

import doctest
from types import ModuleType

import pytest

from tallystick.noise import handshakestate, pattern


@pytest.mark.parametrize("module", [pattern, handshakestate])
def test_the_examples_are_true(module: ModuleType) -> None:
    """Every example of a module docstring gives the printed result."""
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
