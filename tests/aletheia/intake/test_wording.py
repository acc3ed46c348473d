"""How reports are written: the letter case of states, and the names of the fields."""

from typing import Any

import numpy as np
import orjson
import pytest

from aletheia.errors import InvalidTask, Unavailable
from aletheia.intake.parsing import parse_entry, parse_page
from aletheia.intake.wording import ReportDialect, Wording, failure_in
from tests.aletheia.intake.conftest import Bench

EMPTY = InvalidTask("empty_text", "the text is empty")
RESULT = {"embedding": np.array([0.5, -0.25], np.float32), "model": "m"}


def test_a_success_is_written_without_unknown_keys():
    outcome = Wording().succeeded(RESULT, {"tokens": 3}, {"model": "m"})
    assert orjson.loads(outcome.body) == {
        "state": "succeeded",
        "result": {"embedding": [0.5, -0.25], "model": "m"},
        "usage": {"tokens": 3},
    }
    assert (outcome.result, outcome.usage, outcome.error) == ({"model": "m"}, {"tokens": 3}, None)


def test_a_failure_is_written_with_code_message_and_retryable():
    outcome = Wording().failed(EMPTY)
    assert orjson.loads(outcome.body) == {
        "state": "failed",
        "error": {"code": "empty_text", "message": "the text is empty", "retryable": False},
    }


def test_a_failure_says_whether_to_try_again():
    body = Wording().failed(Unavailable("x", "down")).body
    assert orjson.loads(body)["error"]["retryable"] is True


def test_a_message_from_outside_is_made_harmless():
    body = Wording().failed(InvalidTask("x", "a\x00\x1b[31m\ud800" + "b" * 2000)).body
    message = orjson.loads(body)["error"]["message"]
    assert message.isprintable()
    assert len(message) == 500


def test_the_other_dialect_has_its_own_names_and_no_more():
    wording = Wording("status")
    assert orjson.loads(wording.processing()) == {"status": "processing"}
    success = wording.succeeded(RESULT, {"tokens": 3}, {"model": "m"})
    assert orjson.loads(success.body) == {
        "status": "succeeded",
        "output_data": {"embedding": [0.5, -0.25], "model": "m"},
    }
    assert success.usage == {"tokens": 3}
    assert orjson.loads(wording.failed(EMPTY).body) == {
        "status": "failed",
        "error_message": "empty_text: the text is empty",
    }


@pytest.mark.parametrize("dialect", ["state", "status"])
@pytest.mark.parametrize("listed_state", [None, "pending", "PENDING", "Pending"])
def test_what_failed_can_be_read_from_its_report_and_written_again(
    dialect: ReportDialect, listed_state: str | None
):
    wording = Wording(dialect, listed_state)
    outcome = wording.failed(EMPTY)
    assert failure_in(outcome.body) == {"code": "empty_text", "message": "the text is empty"}
    assert outcome.error is not None
    assert wording.failure(outcome.error) == outcome.body
    assert failure_in(wording.processing()) is None
    assert failure_in(wording.succeeded(RESULT, None, {}).body) is None


@pytest.mark.parametrize(
    ("listed", "written"),
    [
        ({"state": "PENDING"}, "SUCCEEDED"),
        ({"status": "PENDING"}, "SUCCEEDED"),
        ({"state": "pending"}, "succeeded"),
        ({"state": "Pending"}, "Succeeded"),
        ({"state": " PENDING "}, "SUCCEEDED"),
        ({"state": None}, "succeeded"),
        ({}, "succeeded"),
    ],
)
def test_states_are_written_in_the_letter_case_of_the_list(listed: dict[str, Any], written: str):
    raw = {"id": "t1", "type": "echo", "data": {"text": "x"}, **listed}
    (entry,) = parse_page([raw], max_entry_bytes=1000).entries
    for read in (entry, parse_entry(entry.json)):
        body = Wording("state", read.listed_state).succeeded({}, None, {}).body
        assert orjson.loads(body)["state"] == written


async def test_every_report_of_a_task_is_in_its_letter_case(bench: Bench):
    bench.add("upper", state="PENDING")
    bench.add("bad", type="no_such_type", state="PENDING")
    bench.add("lower")
    bench.add("large", "x" * 100, state="PENDING", data={"x": "y" * 3_000_000})
    await bench.drain(max_text_bytes=150_000)
    states = {
        task_id: [orjson.loads(body)["state"] for body in bodies]
        for task_id, bodies in bench.upstream.bodies.items()
    }
    assert states == {
        "upper": ["PROCESSING", "SUCCEEDED"],
        "bad": ["FAILED"],
        "lower": ["processing", "succeeded"],
        "large": ["FAILED"],
    }


async def test_a_failure_listed_again_in_another_shift_has_the_same_bytes(bench: Bench):
    bench.add("bad", type="no_such_type", state="PENDING")
    await bench.drain()
    bench.upstream.relist("bad", forgets=True)
    await bench.drain()
    assert len(bench.upstream.bodies["bad"]) == 2
    assert len(set(bench.upstream.bodies["bad"])) == 1


async def test_all_reports_are_written_in_the_dialect_that_is_set(bench: Bench):
    bench.add("t1")
    bench.add("bad", type="no_such_type")
    await bench.drain(bench.poller(bench.ledger(report_dialect="status")))
    assert bench.upstream.states == {"t1": ["processing", "succeeded"], "bad": ["failed"]}
    reports = [orjson.loads(body) for bodies in bench.upstream.bodies.values() for body in bodies]
    assert set().union(*reports) == {"status", "output_data", "error_message"}
    assert (await bench.rows())["bad"]["dead_code"] == "unknown_type"
