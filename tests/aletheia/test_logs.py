"""Lines are JSON, whatever is in them, and are found by run, task and trace."""

import io
import json
import logging
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from aletheia import telemetry
from aletheia.logs import (
    MAX_ID_CHARS,
    MAX_NAMED_TASKS,
    Repeated,
    about_request,
    about_run,
    about_task,
    about_tasks,
    configure_logs,
    use_json,
)
from tests.aletheia.intake.conftest import Bench, bench
from tests.fakes.service import calling, make_token, open_service
from tests.fakes.tracing import recording

__all__ = ["bench"]

log = logging.getLogger("aletheia.test_logs")


class Lines:
    """What a handler of ours wrote."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        self.handler = logging.StreamHandler(self._stream)

    def read(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]


@pytest.fixture
def lines() -> Generator[Lines]:
    found, root = Lines(), logging.getLogger("aletheia")
    use_json(found.handler)
    use_json(found.handler)
    level = root.level
    root.addHandler(found.handler)
    root.setLevel(logging.DEBUG)
    yield found
    root.removeHandler(found.handler)
    root.setLevel(level)


def test_a_line_is_one_json_object(lines: Lines):
    log.warning("it is %s", "odd\nand has two lines")
    (line,) = lines.read()
    assert line["message"] == "it is odd\nand has two lines"
    assert (line["level"], line["logger"]) == ("WARNING", "aletheia.test_logs")
    assert line["timestamp"].endswith("+00:00")
    assert "exception" not in line


@pytest.mark.parametrize(
    "text",
    ["half \ud800 a pair", "\0", "\x1b[31m", '"}{"level":"x"'],
    ids=["half a pair", "null", "colour", "braces"],
)
def test_no_text_breaks_a_line(lines: Lines, text: str):
    # Not by the logger: half a pair in what pytest captures ends a process of pytest-xdist.
    said = log.makeRecord(
        log.name, logging.INFO, __file__, 1, "%s", (text,), None, extra=about_task(text)
    )
    lines.handler.handle(said)
    (line,) = lines.read()
    assert line["message"] == text
    assert line["task_id"] == text


def test_an_exception_is_in_the_line(lines: Lines):
    try:
        raise ValueError("odd")
    except ValueError:
        log.exception("failed")
    assert "ValueError: odd" in lines.read()[0]["exception"]


def test_lines_of_a_run_are_marked_and_later_ones_are_not(lines: Lines):
    with about_run("run-1"):
        log.info("within", extra=about_task("t" * 1000))
        with about_run(None):
            log.info("of no run")
    log.info("after")
    within, none, after = lines.read()
    assert (within["run_id"], within["task_id"]) == ("run-1", "t" * MAX_ID_CHARS)
    assert "run_id" not in none
    assert "run_id" not in after


def test_a_line_within_a_span_names_its_trace(lines: Lines):
    traced = recording()
    with telemetry.span(telemetry.POLL):
        log.info("within")
    (line,) = lines.read()
    assert line["trace_id"] == f"{traced.spans[0].trace_id:032x}"
    assert line["span_id"] == f"{traced.spans[0].span_id:016x}"


async def test_every_line_about_a_task_is_found_by_its_id(lines: Lines, bench: Bench):
    bench.add("t-good")
    bench.add("t-bad", type="no_such_type")
    with about_run("run-7"):
        await bench.drain()
    found = lines.read()
    good = [line["message"] for line in found if line.get("task_id") == "t-good"]
    assert [said.partition(": ")[2] for said in good] == [
        "claimed, by us",
        "processing",
        "kept",
        "reported",
    ]
    bad = [line["message"] for line in found if line.get("task_id") == "t-bad"]
    assert any("unknown type" in said for said in bad)
    assert {line["run_id"] for line in found} == {"run-7"}


@pytest.fixture
def loggers() -> Generator[list[logging.Logger]]:
    found = [logging.getLogger(name) for name in (None, "aletheia", "uvicorn")]
    before = [(logger.level, logger.propagate, list(logger.handlers)) for logger in found]
    yield found
    for logger, (level, propagate, handlers) in zip(found, before, strict=True):
        logger.setLevel(level)
        logger.propagate = propagate
        logger.handlers[:] = handlers


def test_what_another_program_set_up_for_the_server_is_replaced(
    loggers: list[logging.Logger], capsys: pytest.CaptureFixture[str]
):
    foreign = logging.StreamHandler(io.StringIO())
    loggers[2].addHandler(foreign)
    loggers[2].propagate = False
    configure_logs("INFO", is_json=True)
    logging.getLogger("uvicorn.error").info("started", extra={"color_message": "\x1b[36mstarted"})
    logging.getLogger("uvicorn.error").debug("too much")
    with about_request("request-1"):
        log.info("asked")
    written = capsys.readouterr().err.splitlines()
    assert [json.loads(line)["message"] for line in written] == ["started", "asked"]
    assert json.loads(written[1])["request_id"] == "request-1"
    assert "\\u001b" not in written[0]
    assert foreign.stream.getvalue() == ""


@pytest.fixture
def configured(loggers: list[logging.Logger]) -> io.StringIO:
    """What a process writes that logs as much as it can."""
    loggers[0].handlers.clear()  # those of the tests, which would be closed
    configure_logs("DEBUG", is_json=True)
    (handler,) = loggers[0].handlers
    written = io.StringIO()
    vars(handler)["stream"] = written
    return written


async def test_no_level_writes_the_tokens_of_sockets(configured: io.StringIO, tmp_path: Path):
    token = make_token()
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        open_service(tmp_path) as service,
        calling(service, is_bounded=True) as client,
        client.session.ws_connect("/ws/automated-gather/p", headers=headers) as websocket,
    ):
        await websocket.send_str("what-somebody-says")
    logging.getLogger("uvicorn.error").info("what matters is written")
    said = configured.getvalue()
    assert "what matters is written" in said
    assert token not in said
    assert "what-somebody-says" not in said


def test_lines_of_a_computation_name_its_tasks_unless_they_are_about_one_of_them(lines: Lines):
    with about_tasks(["t1", "t2"]) as computation:
        log.info("sent")
        log.info("one of them", extra=about_task("t1"))
    log.info("over")
    sent, about_one, over = lines.read()
    assert (sent["computation_id"], sent["task_ids"]) == (computation.id, ["t1", "t2"])
    assert (about_one["computation_id"], about_one["task_id"]) == (computation.id, "t1")
    assert "task_ids" not in about_one
    assert not {"computation_id", "task_ids"} & set(over)


def test_the_tasks_of_a_large_computation_are_named_up_to_a_bound(lines: Lines):
    with about_tasks(["x" * 1000] * (MAX_NAMED_TASKS + 1)):
        log.info("sent")
    (sent,) = lines.read()
    assert sent["task_ids"] == ["x" * MAX_ID_CHARS] * MAX_NAMED_TASKS


def test_a_line_of_text_controls_no_terminal_either(loggers: list[logging.Logger]):
    loggers[0].handlers.clear()
    configure_logs("INFO", is_json=False)
    (handler,) = loggers[0].handlers
    written = io.StringIO()
    vars(handler)["stream"] = written
    logging.getLogger("aletheia.test_logs").warning("ollama: %s", "\x1b]0;owned\x07 \x9b2J\rnone")
    assert written.getvalue().endswith("ollama: ␛]0;owned␇ �2J␍none\n")


def test_what_comes_with_every_task_is_said_once_and_then_counted(lines: Lines):
    repeated = Repeated(log)
    for number in range(150):
        repeated.say("reports unavailable", logging.WARNING, "task %r waits", number, task_id="t")
    repeated.say("another kind", logging.WARNING, "something else")
    repeated.flush()
    repeated.flush()
    repeated.say("reports unavailable", logging.WARNING, "task %r waits", 150)
    assert [line["message"] for line in lines.read()] == [
        "task 0 waits",
        "something else",
        "reports unavailable: 149 more like it",
        "task 150 waits",
    ]


def test_what_goes_on_is_said_again_after_a_while_with_how_often_it_came(lines: Lines):
    repeated = Repeated(log, every_s=0.05)
    for _ in range(3):
        repeated.say("kind", logging.WARNING, "it waits")
    time.sleep(0.06)
    repeated.say("kind", logging.WARNING, "it waits")
    assert [line["message"] for line in lines.read()] == [
        *("it waits", "kind: 2 more like it", "it waits")
    ]
