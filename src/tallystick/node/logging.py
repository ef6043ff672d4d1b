"""Log lines of `tally serve`: plain for a person at a terminal, one JSON object a line for everything else.

The ledger is the record; these lines are for operating the house (started, stopped, a disk that fills). The core never logs, and no
line carries a secret, a body or an opening. Foreign text arrives as a field, never inside the message, and JSON escapes it.

    logger = logging.getLogger("tallystick")
    logger.info("session opened", extra={"pair": "laptop", "mode": 1})
"""

import json
import logging
import sys
import time
from typing import Any, Final, TextIO

from tallystick.node.settings import Settings

LOGGER: Final = "tallystick"
# What every LogRecord has anyway; whatever else it carries came in by `extra`.
_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The fields given by `extra`."""
    return {name: value for name, value in vars(record).items() if name not in _OWN}


class JsonLines(logging.Formatter):
    """`{"time": "2026-11-22T07:08:09.123Z", "level": "info", "message": "...", ...fields}`"""

    def format(self, record: logging.LogRecord) -> str:
        """One line of ASCII JSON."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {"time": f"{moment}.{int(record.msecs):03d}Z", "level": record.levelname.lower(), "message": record.getMessage()}
        line |= {name: value for name, value in fields_of(record).items() if name not in line}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True, default=str)


class PlainLines(logging.Formatter):
    """`07:08:09 info     session opened  pair=laptop mode=1`"""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback below it where there is one."""
        moment = time.strftime("%H:%M:%S", time.localtime(record.created))
        fields = " ".join(f"{name}={json.dumps(value, default=str)}" for name, value in fields_of(record).items())
        line = f"{moment} {record.levelname.lower():<8} {record.getMessage()}  {fields}".rstrip()
        lines = [line, *(self.formatException(record.exc_info).split("\n") if record.exc_info else ())]
        # Foreign text may stand in a message of a library: no escape sequence reaches the terminal.
        return "\n".join("".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in each) for each in lines)


def start(settings: Settings, stream: TextIO | None = None) -> logging.Logger:
    """Send the house's log lines to `stream` (stderr unless told) in the form the settings ask for. Calling it again replaces that."""
    out = sys.stderr if stream is None else stream
    plain = settings.log_format == "plain" or (settings.log_format == "auto" and out.isatty())
    handler = logging.StreamHandler(out)
    handler.setFormatter(PlainLines() if plain else JsonLines())
    logger = logging.getLogger(LOGGER)
    logger.handlers[:] = [handler]
    logger.setLevel(_LEVELS[settings.log_level])
    logger.propagate = False
    return logger
