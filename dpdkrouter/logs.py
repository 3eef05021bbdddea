"""One log format for all programs: time, program, level when it matters, text; on standard error."""

from __future__ import annotations

import logging
import os
import sys

LEVEL_VARIABLE = "DPDKROUTER_LOG"


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        text = (
            f"{self.formatTime(record, '%H:%M:%S')}.{int(record.msecs):03d} {record.name}: {level}{record.getMessage()}"
        )
        return text if record.exc_info is None else f"{text}\n{self.formatException(record.exc_info)}"


def set_up() -> None:
    """Log to standard error at the level that DPDKROUTER_LOG names, else info."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    level = os.environ.get(LEVEL_VARIABLE, "info").upper()
    logging.basicConfig(level=getattr(logging, level, logging.INFO), handlers=[handler], force=True)
