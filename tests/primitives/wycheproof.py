"""Reading the Wycheproof files (C2SP/wycheproof, testvectors_v1)."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.support import vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case: `expected` is valid, acceptable or invalid; `group` and `fields` are the JSON objects it stands in."""

    number: int
    expected: str
    group: dict[str, Any]
    fields: dict[str, Any]

    def octets(self, name: str) -> bytes:
        return bytes.fromhex(self.fields[name])


def cases(name: str) -> Iterator[Case]:
    """All cases of `wycheproof/<name>_test.json`."""
    suite = json.loads(vectors("wycheproof", f"{name}_test.json").read_bytes())
    seen = 0
    for group in suite["testGroups"]:
        for fields in group["tests"]:
            seen += 1
            yield Case(number=fields["tcId"], expected=fields["result"], group=group, fields=fields)
    if seen != suite["numberOfTests"]:
        raise AssertionError(f"{name}: {seen} cases read, {suite['numberOfTests']} announced")
