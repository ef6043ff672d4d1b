"""Findings as signals of the house: what a layer saw becomes a predecessor others can name (docs/spec/gate.md, section 4).

A finding is signed by the house's own key, class `finding`, verb `gate.finding`, action metadata; its one predecessor is the signal that
it is about. It commits to nothing: what was seen stands in its entry.
"""

from typing import Final

from tallystick.gate.question import Finding
from tallystick.gate.signal import Commitments, Signal, encode_signal
from tallystick.keys import Signer, sign1

CLASS: Final = "finding"
VERB: Final = "gate.finding"
MAX_FACTS: Final = 256
MAX_MATCHES: Final = 64
_NOTHING: Final = Commitments()


def sign_finding(signer: Signer, about: bytes, *, house_id: bytes, now_ns: int, stream: bytes, n: int) -> bytes:
    """The house's signed word that it saw something in a signal.

    Args: signer: the house's signing key.  about: the reference of the signal.  stream, n: of this process.
    Raises: what the signer raises.
    """
    claims = Signal(
        aud=house_id,
        signal_class=CLASS,
        action="metadata",
        verb=VERB,
        commitments=_NOTHING,
        issued_at_ns=now_ns,
        stream=stream,
        n=n,
        prev=(about,),
    )
    return sign1(signer, encode_signal(claims))


def finding_fields(finding: Finding) -> dict[str, object]:
    """What an event `finding` says of it, without the signal that it is about."""
    fields: dict[str, object] = {"layer": finding.layer.value, "outcome": finding.outcome.value}
    if finding.rule:
        fields["rule"] = finding.rule
    if finding.facts:
        fields["facts"] = finding.facts[:MAX_FACTS]
    if finding.confidence_ppm is not None:
        fields["confidence_ppm"] = finding.confidence_ppm
    if finding.matches:
        fields["matches"] = tuple(
            (match.attribute, match.result, match.score_ppm, match.threshold_ppm, match.quality_ppm)
            for match in finding.matches[:MAX_MATCHES]
        )
    return fields
