"""The clauses of the specifications name tests that exist."""

import re
from pathlib import Path

import pytest

from tests.support import PROJECT


@pytest.mark.parametrize("page", ["knock.md", "stream.md"])
def test_every_clause_names_a_test_that_exists(page: str) -> None:
    """No clause without a test, no test that was renamed away from its clause."""
    text = (PROJECT / "docs" / "spec" / page).read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \|$", text[text.index("Clauses and their tests") :], re.MULTILINE)
    assert [int(number) for number, _, _ in rows] == list(range(1, len(rows) + 1)) and len(rows) >= 16
    for number, _, tests in rows:
        assert tests, number
        current = ""
        for file, name in re.findall(r"((?:tests/\w+/)?test_\w+\.py)?::(test_\w+)", tests):
            current = file or current
            path = PROJECT / current if current.startswith("tests/") else Path(__file__).parent / current
            assert f"\ndef {name}(" in path.read_text("utf-8"), (page, number, name)
