"""Fuzz what leads a pair after its house: links, rotations, tickets, terms. Each has one form; Malformed or Unproven for all else.

python fuzz/fuzz_links.py -runs=100000
"""

import contextlib
import sys

import atheris

with atheris.instrument_imports():
    from tallystick.errors import Malformed, Unproven
    from tallystick.node.links import prove_chain, read_link, write_link
    from tallystick.node.moving import read_ticket
    from tallystick.node.rotation import read_rotation
    from tallystick.node.terms import read_terms


def target(data: bytes) -> None:
    """Read it as each; what is read as a link is written as the same bytes, and its chain proves nothing by itself."""
    with contextlib.suppress(Malformed):
        link = read_link(data)
        assert write_link(link) == data
        with contextlib.suppress(Malformed, Unproven):
            prove_chain(link.chain, [], bytes(32))
            raise AssertionError("a chain without a known key proved something")
    with contextlib.suppress(Malformed, Unproven):
        read_rotation(data)
    with contextlib.suppress(Malformed, Unproven):
        read_ticket(data.decode("utf-8", "replace"))
    with contextlib.suppress(Malformed):
        read_terms(data)


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
