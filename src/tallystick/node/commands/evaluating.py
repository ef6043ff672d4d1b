"""gate eval: layers of the gate, measured on public data."""

import os
from pathlib import Path
from typing import Any

from tallystick.evidence.behaviour import REVIEWED_THRESHOLD, THRESHOLD, UNIT
from tallystick.node.schonlau import COMMANDS, evaluate, figures, read_users, rehearse
from tallystick.node.settings import Settings


def gate_eval_schonlau(settings: Settings, *, folder: str | os.PathLike[str], rehearsal: bool) -> dict[str, Any]:
    """Hit, false alarm and cost without and with review; with `rehearsal` on the training part alone."""
    users = read_users(Path(folder))
    rows = []
    for review, threshold in ((False, THRESHOLD), (True, REVIEWED_THRESHOLD)):
        judged = rehearse(users, review=review, threshold=threshold) if rehearsal else evaluate(users, review=review)
        found = {name: round(value, 2) for name, value in figures(judged).items()}
        flagged, masked = sum(each.flagged for each in judged), sum(each.masked for each in judged)
        row = {"review": review, "threshold": threshold // UNIT, "blocks": len(judged), "masked": masked, "flagged": flagged}
        rows.append({**row, **found})
    return {"data": "schonlau", "rehearsal": rehearsal, "users": len(users.names), "commands": COMMANDS, "rows": rows}
