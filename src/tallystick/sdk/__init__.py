"""tallystick for programs: talk to a house this machine is paired with (docs/sdk.md).

    async with tallystick.sdk.connect(house="attic") as attic:
        await attic.put("notes/today.txt", b"it works")

    with tallystick.sdk.connect_blocking(house="attic") as attic:
        print(attic.read("notes/today.txt"))

and to the gate of a house on this computer (docs/agents.md):

    async with tallystick.open() as house:
        verdict = await house.admit(signal)

Errors are the five of `tallystick.errors`, and no others.
"""

from tallystick.node.dispatcher import Dispatched, Dispatcher
from tallystick.node.gatewords import Decided, Verdict
from tallystick.node.localhouse import LocalHouse, open_house
from tallystick.node.remote import Got, HouseClient, Stored
from tallystick.node.reports import Approval, ApprovalState, Checkpoint, Health, HealthState, ProgressState, Reports, Telemetry
from tallystick.node.reports import Progress as ProgressReport
from tallystick.node.speaking import SignalSource, SignedSignal
from tallystick.node.upload import Progress, Source
from tallystick.sdk.blocking import BlockingClient, connect_blocking
from tallystick.sdk.connecting import connect
from tallystick.sdk.housegate import BlockingHouse, open_blocking

__all__ = [
    "Approval",
    "ApprovalState",
    "BlockingClient",
    "BlockingHouse",
    "Checkpoint",
    "Decided",
    "Dispatched",
    "Dispatcher",
    "Got",
    "Health",
    "HealthState",
    "HouseClient",
    "LocalHouse",
    "Progress",
    "ProgressReport",
    "ProgressState",
    "Reports",
    "SignalSource",
    "SignedSignal",
    "Source",
    "Stored",
    "Telemetry",
    "Verdict",
    "connect",
    "connect_blocking",
    "open_blocking",
    "open_house",
]
