"""tallystick for programs: talk to a house this machine is paired with (docs/sdk.md).

    async with tallystick.sdk.connect(house="attic") as attic:
        await attic.put("notes/today.txt", b"it works")

    with tallystick.sdk.connect_blocking(house="attic") as attic:
        print(attic.read("notes/today.txt"))

Errors are the five of `tallystick.errors`, and no others.
"""

from tallystick.node.remote import Got, HouseClient, Stored
from tallystick.node.reports import Approval, ApprovalState, Checkpoint, Health, HealthState, ProgressState, Reports, Telemetry
from tallystick.node.reports import Progress as ProgressReport
from tallystick.node.upload import Progress, Source
from tallystick.sdk.blocking import BlockingClient, connect_blocking
from tallystick.sdk.connecting import connect

__all__ = [
    "Approval",
    "ApprovalState",
    "BlockingClient",
    "Checkpoint",
    "Got",
    "Health",
    "HealthState",
    "HouseClient",
    "Progress",
    "ProgressReport",
    "ProgressState",
    "Reports",
    "Source",
    "Stored",
    "Telemetry",
    "connect",
    "connect_blocking",
]
