"""How bad the end of a run is, in its log: what an operator asked for is no error."""

import logging
import re
from typing import Final

_ASKED_FOR: Final = re.compile(
    r"Finished in state (?:Cancelled|Cancelling|Suspended|Paused|AwaitingRetry|Scheduled)\b"
)
"""Ends that Prefect logs as errors, as it does any that is not `Completed`."""


def soften_ends() -> None:
    """Log ends of runs that somebody asked for as what happened, not as errors. Idempotent."""
    logging.getLogger("prefect.flow_runs").addFilter(_soften)


def _soften(record: logging.LogRecord) -> bool:
    """Lower the level of a line about such an end; keep all lines."""
    if record.levelno == logging.ERROR and _ASKED_FOR.match(str(record.msg)):
        record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
    return True
