"""What a machine remembers: one small file, several processes, disks that are full or torn."""

import multiprocessing
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.canonical import encode
from tallystick.errors import Unavailable
from tallystick.node.memory import MAX_BYTES, VERSION, Memory
from tests.support import missing, require


def count(path: Path, name: str, times: int) -> None:
    """Add one, many times, as another process would."""
    memory = Memory(path)
    for _ in range(times):
        memory.change(name, lambda value: ((value if isinstance(value, int) else 0) + 1, None))


def test_a_row_is_what_was_put_into_it(tmp_path: Path) -> None:
    """None before, the value after, None again when it was dropped; `change` returns what the step says besides."""
    memory = Memory(tmp_path / "memory")
    assert memory.get("address/00") is None
    assert memory.change("address/00", lambda before: (["192.0.2.7", 51877], before)) is None
    assert memory.change("address/00", lambda before: (before, "said")) == "said"
    assert memory.get("address/00") == ["192.0.2.7", 51877]
    memory.change("address/00", lambda _: (None, None))
    assert memory.get("address/00") is None


def test_another_process_sees_it(tmp_path: Path) -> None:
    """What one has written, the next reads, also one that had read before."""
    one, other = Memory(tmp_path / "memory"), Memory(tmp_path / "memory")
    for number in range(5):
        one.put({"pair time": number})
        assert other.get("pair time") == number
        other.change("counter/01", lambda _, number=number: (number, None))  # type: ignore[misc]
        assert (one.get("counter/01"), one.get("pair time")) == (number, number)


def test_processes_lose_nothing_of_each_other(tmp_path: Path) -> None:
    """Two processes and four threads count in their own row and in one that all share: nothing is lost."""
    path = tmp_path / "memory"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=count, args=(path, "shared", 15)) for _ in range(2)]
    threads = [threading.Thread(target=count, args=(path, f"own/{number}", 15)) for number in range(4)]
    everybody: list[Any] = [*workers, *threads]
    for worker in everybody:
        worker.start()
    for worker in everybody:
        worker.join()
    memory = Memory(path)
    assert memory.get("shared") == 30
    assert [memory.get(f"own/{number}") for number in range(4)] == [15] * 4


def test_forget_drops_what_begins_so(tmp_path: Path) -> None:
    """Everything of a pair that was severed; nothing of the others."""
    memory = Memory(tmp_path / "memory")
    memory.put({"live/aa": 1, "live/aab": 2, "live/b": 3, "counter/aa": 4})
    memory.forget("live/aa")
    assert [memory.get(name) for name in ("live/aa", "live/aab", "live/b", "counter/aa")] == [None, None, 3, 4]
    before = os.stat(tmp_path / "memory").st_ino
    memory.forget("nothing/")
    assert os.stat(tmp_path / "memory").st_ino == before


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00",
        b"\xff" * 100,
        encode([VERSION + 1, {"a": 1}]),
        encode([VERSION, [1]]),
        encode({"a": 1}),
        encode([VERSION, {"a": 1}])[:-1],
        encode([VERSION, {"a": 1}]) + b"\x00",
    ],
)
def test_a_torn_file_is_an_empty_one(tmp_path: Path, raw: bytes) -> None:
    """What it held can be learned again; it never stops a machine, and the next change makes it whole."""
    path = tmp_path / "memory"
    path.write_bytes(raw)
    memory = Memory(path)
    assert memory.get("a") is None
    memory.put({"b": 2})
    assert Memory(path).get("b") == 2


@given(st.binary(max_size=200))
def test_any_file_is_read(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    """No bytes of the file raise anything."""
    path = tmp_path_factory.mktemp("any") / "memory"
    path.write_bytes(raw)
    Memory(path).get("a")


def test_a_file_too_long_is_an_empty_one(tmp_path: Path) -> None:
    """A file beyond the limit was not written by us."""
    path = tmp_path / "memory"
    path.write_bytes(encode([VERSION, {"a": bytes(MAX_BYTES)}]))
    assert Memory(path).get("a") is None


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    """0600, whatever the umask."""
    old = os.umask(0)
    try:
        Memory(tmp_path / "memory").put({"address/00": ["192.0.2.7", 1]})
    finally:
        os.umask(old)
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {"memory": 0o600, "memory.lock": 0o600}


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Somebody's link in the place of the new file is not written through."""
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "memory.new").symlink_to(tmp_path / "precious")
    with pytest.raises(Unavailable):
        Memory(tmp_path / "memory").put({"a": 1})
    assert (tmp_path / "precious").read_text() == "mine"


def test_what_a_step_raises_changes_nothing(tmp_path: Path) -> None:
    """The row stays, and the lock is free again."""
    memory = Memory(tmp_path / "memory")
    memory.put({"a": 1})

    def fails(_: object) -> tuple[int, None]:
        raise Unavailable("no")

    with pytest.raises(Unavailable):
        memory.change("a", fails)
    assert memory.change("a", lambda value: (value, value)) == 1


def test_no_home_is_unavailable(tmp_path: Path) -> None:
    """Without its directory nothing can be kept, and that is said; reading finds nothing."""
    memory = Memory(tmp_path / "gone" / "memory")
    assert memory.get("a") is None
    acts: list[Callable[[], object]] = [
        lambda: memory.put({"a": 1}),
        lambda: memory.forget("a"),
        lambda: memory.change("a", lambda _: (1, None)),
    ]
    for act in acts:
        with pytest.raises(Unavailable):
            act()


@pytest.mark.parametrize("name", ["memory", "memory.new", "memory.lock"])
def test_a_directory_in_its_place_is_unavailable(tmp_path: Path, name: str) -> None:
    """What cannot be opened is said, not guessed around."""
    (tmp_path / name).mkdir()
    with pytest.raises(Unavailable):
        Memory(tmp_path / "memory").put({"a": 1})


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """64 KiB of tmpfs."""
    mount, umount = require("mount"), require("umount")
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run([mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False)
    if made.returncode != 0:
        missing("a small tmpfs cannot be mounted")
    try:
        yield folder
    finally:
        subprocess.run([umount, str(folder)], capture_output=True, check=True)


def test_a_full_disk_loses_nothing(small_disk: Path) -> None:
    """What was kept stays; the change that did not fit is refused as Unavailable, and works once there is room."""
    memory = Memory(small_disk / "memory")
    memory.change("counter/01", lambda _: (41, None), durable=True)
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="space"), filler.open("wb") as file:
        for _ in range(1000):
            file.write(bytes(4096))
            file.flush()
    with pytest.raises(Unavailable):
        memory.change("counter/01", lambda _: (42, None))
    assert Memory(small_disk / "memory").get("counter/01") == 41
    filler.unlink()
    memory.change("counter/01", lambda _: (42, None))
    assert Memory(small_disk / "memory").get("counter/01") == 42


def test_the_times_of_pairs_are_numbers_in_their_place(tmp_path: Path) -> None:
    """Each pair has its number; forgetting one moves no other's."""
    times = Memory(tmp_path / "memory").times
    pairs = [bytes((number,)) * 32 for number in range(5)]
    for number, pair in enumerate(pairs):
        assert times.get(pair) == 0
        assert times.change(pair, lambda before, number=number: before + number + 1) == number + 1  # type: ignore[misc]
    times.forget(pairs[1])
    times.forget(bytes((9,)) * 32)
    assert [times.get(pair) for pair in pairs] == [1, 0, 3, 4, 5]
