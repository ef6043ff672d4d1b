"""Full-screen windows for people at a terminal. Needs textual, the extra `tui`."""

from tallystick.errors import Unavailable
from tallystick.node.settings import Settings

__all__ = ["run_inbox"]


def run_inbox(settings: Settings) -> None:
    """Show what waits for a human, and let it be decided. Raises: Unavailable: textual is not installed."""
    try:
        from tallystick.console.inbox import open_inbox
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "textual":
            raise
        raise Unavailable(
            "the window needs textual, which is not installed", "pip install 'tallystick[tui]', or use `tally inbox`"
        ) from None
    open_inbox(settings)
