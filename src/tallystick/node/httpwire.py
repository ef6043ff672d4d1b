"""What HTTP needs from the sealed stream below it, the same on both sides.

Below calls above: `feed(data)`, `end_of_input()`, `lost(error)`, `pause_writing()`, `resume_writing()`. Above calls below: `Wire`.
All calls come from the thread of the event loop.
"""

from typing import Protocol

from tallystick.errors import TallyError


class Wire(Protocol):
    """What HTTP needs from the sealed stream below, on either side. No method blocks or raises."""

    def send(self, plaintext: bytes) -> None:
        """Seal and queue. When too much is queued, call `pause_writing` of what stands above, later `resume_writing`."""

    def pause_reading(self) -> None:
        """Hand over no more plaintext for now (what is being handed over may still come)."""

    def resume_reading(self) -> None:
        """Go on."""

    def end(self, error: TallyError | None) -> None:
        """Send what is queued and the end frame, then close. `error`: the other side broke the protocol."""

    def abort(self) -> None:
        """Close at once, without an end frame: the message under way is void."""
