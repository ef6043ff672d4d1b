"""An SQLite VFS that fails on command: which call, on which file, the how-manieth, and with what."""

import errno
from dataclasses import dataclass
from typing import Any

import apsw


@dataclass
class Plan:
    """`after` calls of `operation` on files whose name ends so go well; then they fail, once or for good."""

    operation: str
    suffix: str
    after: int
    error: type[apsw.Error]
    for_good: bool = True
    seen: int = 0
    failed: int = 0

    def meets(self, operation: str, name: str) -> None:
        if operation != self.operation or not name.endswith(self.suffix):
            return
        self.seen += 1
        if self.seen > self.after and (self.for_good or not self.failed):
            self.failed += 1
            raise self.error(f"injected: errno {errno.EIO}")


class FaultyVFS(apsw.VFS):
    """The system's VFS with a plan."""

    def __init__(self, name: str, plan: Plan) -> None:
        self.plan = plan
        self.vfs_name = name
        super().__init__(name, base="")

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        return FaultyFile(self.plan, name, flags)


class FaultyFile(apsw.VFSFile):
    """A file that asks the plan before it writes or syncs."""

    def __init__(self, plan: Plan, name: Any, flags: list[int]) -> None:
        self.plan = plan
        self.name = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        self.plan.meets("write", self.name)
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        self.plan.meets("sync", self.name)
        super().xSync(flags)
