"""What a verification found, and what it looked at."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from tallystick.ledger.audit import Finding
from tallystick.tlog.checkpoint import Checkpoint

MAX_FINDINGS: Final = 10_000


@dataclass(slots=True)
class Report:
    """Grows while a verification runs.

    Attributes: remarks: what is worth knowing and no proof of anything wrong.  counts: how many of each thing were checked.
        size, root: of the tree as it was recomputed.  newest: the newest signed checkpoint that holds, and its note.
        since: signatures in entries before this one were verified earlier and not once more.
        cosigned: by a pair's witness key, the size of the newest checkpoint whose cosignature by it is in the ledger and holds.
    """

    findings: list[Finding] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    size: int = 0
    root: bytes = b""
    origin: str = ""
    newest: Checkpoint | None = None
    newest_note: bytes = b""
    since: int = 0
    cosigned: dict[bytes, int] = field(default_factory=dict)

    def add(self, findings: Iterable[Finding]) -> None:
        """Take findings, until there are too many to read."""
        for finding in findings:
            if len(self.findings) < MAX_FINDINGS and finding not in self.findings[-64:]:
                self.findings.append(finding)

    def remark(self, text: str) -> None:
        """Take a remark, once."""
        if text not in self.remarks and len(self.remarks) < MAX_FINDINGS:
            self.remarks.append(text)

    def count(self, what: str, more: int = 1) -> None:
        """More of something was checked."""
        self.counts[what] = self.counts.get(what, 0) + more

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings
