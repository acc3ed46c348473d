"""Repetition of a test while the database of Prefect's server is locked, and of nothing else.

SQLite lets one connection write at a time, and some connection of the server holds its lock until
another one has waited for 60 s. What is tested meanwhile cannot pass.
"""

import functools
import gc
import logging
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final, cast

import pytest

from tests.distribution import ByServer, rank

LOCK_MESSAGES: Final = (
    "database is locked",
    "Prefect server is unavailable: TimeoutError",
    "prefect is unavailable: not sent within",
)
"""What the server, or whoever writes to it, logs then."""

LOCKED_S: Final = 60.0
"""How long the lock is held at most, seconds."""

WAS_LOCKED: Final = pytest.StashKey[bool]()

# Worker processes of pytest-xdist have a width and a height, and rich reads them once for good.
for name in ("COLUMNS", "LINES"):
    os.environ.pop(name, None)

# The servers of the tests send no analytics.
os.environ |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}

# Servers write changes of task runs one by one, which is half of their work; `Local` says the same.
os.environ["PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE"] = "200"
os.environ["PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL"] = "1"

# Prefect's servers are on this machine, without TLS; each client would read some 150 certificates.
os.environ["PREFECT_API_SSL_CERT_FILE"] = str(Path(__file__).parent / "one_certificate.pem")

# Client and server are of one version; each client would ask for the server's first.
os.environ["PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED"] = "false"

# Nothing here is an automation.
os.environ["PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED"] = "false"

# An idle server looks for things to do every 5 s, and several are idle for most of the time.
for service in ("LATE_RUNS", "PAUSE_EXPIRATIONS", "CLEANUP_RECONCILER", "FOREMAN", "REPOSSESSOR"):
    os.environ[f"PREFECT_SERVER_SERVICES_{service}_LOOP_SECONDS"] = "60"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByServer:
    """Share the tests out as `distribution` says."""
    return ByServer(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes long; repeat each test once that fails while the database is locked."""
    items.sort(key=lambda item: rank(item.nodeid))
    if not config.pluginmanager.hasplugin("rerunfailures"):
        return
    for item in items:
        condition = functools.partial(_was_locked, item)
        item.add_marker(pytest.mark.flaky(reruns=1, reruns_delay=LOCKED_S, condition=condition))


@pytest.fixture(autouse=True)
def collected_garbage(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> Generator[None]:
    """Collect what a test left open after its other fixtures, so that no later test is blamed.

    A handler of logs is left by a command that is run in this process, and its stream is closed.
    """
    root = logging.getLogger()
    handlers = list(root.handlers)
    yield
    root.handlers[:] = handlers
    # pytest keeps longer what fixtures gave, and what the tracebacks of log records refer to.
    cast("pytest.Function", request.node).funcargs.clear()
    for phase in ("setup", "call", "teardown"):
        caplog.get_records(phase).clear()
    logging_plugin: Any = request.config.pluginmanager.getplugin("logging-plugin")
    logging_plugin.report_handler.records.clear()
    gc.collect()
    # What is still there is of imports and wider fixtures: no later collection scans it.
    gc.freeze()


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note whether one of the messages is in what the test printed or logged."""
    report = yield
    if any(message in text for _, text in report.sections for message in LOCK_MESSAGES):
        item.stash[WAS_LOCKED] = True
    return report


@pytest.hookimpl(optionalhook=True, trylast=True)
def pytest_handlecrashitem(report: pytest.TestReport) -> None:
    """Fail a test that crashed its process, which the plugin would repeat without a condition."""
    report.outcome = "failed"


def _was_locked(item: pytest.Item) -> bool:
    return item.stash.get(WAS_LOCKED, False)
