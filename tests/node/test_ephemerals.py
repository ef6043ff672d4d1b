"""Key pairs drawn ahead: each is given once, and a fork has none of its parent's."""

import os

from tallystick.node.ephemerals import Ephemerals


def test_each_is_given_once() -> None:
    """Those drawn ahead, then fresh ones, then those drawn again: no two are the same."""
    keys = Ephemerals(3)
    seen = []
    for _ in range(3):
        seen += [keys.draw().public for _ in range(5)]
        keys.refill()
    assert len(set(seen)) == 15


def test_a_fork_draws_its_own() -> None:
    """What was drawn before a fork is its parent's: two machines' knocks never share a key."""
    keys = Ephemerals(2)
    keys.refill()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        drawn = [keys.draw().public]
        keys.refill()
        os.write(writer, b"".join([*drawn, keys.draw().public, keys.draw().public]))
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reader, 96)
    os.close(reader)
    os.close(writer)
    ours = [keys.draw().public for _ in range(2)]
    assert len(theirs) == 96
    assert len({theirs[at : at + 32] for at in (0, 32, 64)} | set(ours)) == 5
