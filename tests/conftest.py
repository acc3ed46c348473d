"""One fault that is not ours: the database of Prefect's server stands still for a minute, at times.

SQLite lets one connection write at a time, and some connection of the server holds its lock until
another one has waited for 60 s. What is tested meanwhile cannot go well. It is tested once more,
and the summary names it.
"""

import os
import time
from typing import Final, cast

import pytest
from _pytest.runner import runtestprotocol
from _pytest.terminal import TerminalReporter

SAID_MEANWHILE: Final = (
    "database is locked",
    "Prefect server is unavailable: TimeoutError",
    "prefect is unavailable: not sent within",
)
"""What the server, or whoever writes to it, says then."""

# The servers of the tests tell nobody outside about themselves.
os.environ |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}

LOCKED_S: Final = 60.0

RUN_TWICE: Final = "run twice"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Run a test; once more if it failed while Prefect's server stood still."""
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    if _has_stood_still(reports):
        time.sleep(LOCKED_S)
        # Its fixtures anew, as plugins that repeat tests have them.
        cast("pytest.Function", item)._initrequest()  # pyright: ignore[reportPrivateUsage]
        item.user_properties.append((RUN_TWICE, item.nodeid))
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for one in reports:
        item.ihook.pytest_runtest_logreport(report=one)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Name the tests that were run twice."""
    twice = {
        str(value)
        for reports in terminalreporter.stats.values()
        for one in reports
        for name, value in getattr(one, "user_properties", ())
        if name == RUN_TWICE
    }
    if twice:
        terminalreporter.section("run twice: the database of Prefect's server was locked")
        for nodeid in sorted(twice):
            terminalreporter.write_line(nodeid)


def _has_stood_still(reports: list[pytest.TestReport]) -> bool:
    said = [text for one in reports for _, text in one.sections]
    return any(one.failed for one in reports) and any(
        words in text for text in said for words in SAID_MEANWHILE
    )
