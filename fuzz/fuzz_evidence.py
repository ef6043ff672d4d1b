"""Evidence files: whatever bytes come, a reader says Malformed or reads the one form, and an audit raises nothing."""

import sys

import atheris

with atheris.instrument_imports():
    from tallystick.errors import Malformed
    from tallystick.ledger.evidence import NAMES, Evidence, audit_evidence, read_evidence, write_tar


def target(data: bytes) -> None:
    """The bytes as they are; and as the members of a container whose form is right."""
    pieces = data.split(b"\xff\x00")
    members = dict(zip(NAMES, [*pieces, *[b""] * len(NAMES)], strict=False))
    for raw in (data, write_tar(members)):
        audit_evidence("fuzz", raw)
        try:
            evidence: Evidence = read_evidence(raw)
        except Malformed:
            continue
        if evidence.to_bytes() != raw:
            raise AssertionError("two forms of one evidence")


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
