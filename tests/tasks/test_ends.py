"""Ends that somebody asked for are no errors in the log."""

import logging
from collections.abc import Generator

import pytest
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Crashed, Failed, Suspended

from tasks.ends import soften_ends


class Levels(logging.Handler):
    """Notes the levels of lines."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append((record.levelno, record.levelname))


@pytest.fixture
def levels() -> Generator[Levels]:
    """What the logger of runs hands on, and nobody else sees."""
    logger, handler = logging.getLogger("prefect.flow_runs"), Levels()
    before = tuple(logger.handlers)
    for found in before:
        logger.removeHandler(found)
    logger.addHandler(handler)
    logger.propagate = False
    yield handler
    logger.removeHandler(handler)
    for found in before:
        logger.addHandler(found)
    logger.propagate = True


@pytest.mark.parametrize(
    ("state", "level"),
    [
        (Cancelled(message="by an operator"), logging.INFO),
        (Suspended(timeout_seconds=60), logging.INFO),
        (Failed(message="it went wrong"), logging.ERROR),
        (Crashed(), logging.ERROR),
        (Completed(), logging.ERROR),  # which Prefect itself logs otherwise
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_an_end_is_as_bad_as_it_is(levels: Levels, state: State[object], level: int):
    soften_ends()
    soften_ends()
    said = f"Finished in state {state}"
    logging.getLogger("prefect.flow_runs").error(said)
    assert levels.seen == [(level, logging.getLevelName(level))]


def test_another_line_stays_as_it_is(levels: Levels):
    soften_ends()
    logging.getLogger("prefect.flow_runs").error("not Finished in state Cancelled()")
    assert levels.seen == [(logging.ERROR, "ERROR")]
