"""What pages say."""

from datetime import UTC, datetime, timedelta, timezone
from typing import get_args

import pytest

from aletheia.gather.progress import StopReason
from aletheia.intake.models import RowState
from aletheia.reasoning.approvals import ApprovalState
from aletheia.service.pages import words
from aletheia.service.reasoning import PlanState, StepState
from aletheia.service.refusals import ServiceError


def test_every_reason_of_a_department_has_a_sentence():
    assert set(words.REASONS) == {str(reason) for reason in StopReason}


def test_every_state_of_a_task_has_a_meaning():
    pytest.importorskip("nicegui", reason="the extra `ui` is not installed")
    from aletheia.service.pages.operations import STATES  # noqa: PLC0415 - needs the extra `ui`

    assert set(STATES) == {str(state) for state in RowState}


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        ("0", "$0.00"),
        ("12.5", "$12.50"),
        ("1234.567", "$1,234.57"),
        ("0.0042", "$0.004200"),
        ("0.0000004", "under $0.000001"),
        ("much", "-"),
    ],
)
def test_dollars_are_cents_unless_there_is_none(amount: str, said: str):
    assert words.say_usd(amount) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-1, "0 s"), (59.6, "1 min 0 s"), (3_725, "1 h 2 min"), (90_000, "1 d 1 h")],
)
def test_a_duration_has_its_two_largest_units(seconds: float, said: str):
    assert words.say_duration(seconds) == said


def test_a_moment_is_said_in_utc():
    east = timezone(timedelta(hours=2))
    assert words.say_time(datetime(2026, 11, 30, 1, 30, tzinfo=east)) == "2026-11-29 23:30 UTC"
    assert words.say_time(datetime(2026, 11, 30, tzinfo=UTC)) == "2026-11-30 00:00 UTC"
    assert words.say_time(None) == words.NONE


def test_a_number_has_no_digits_that_say_nothing():
    said = [words.say_number(value) for value in (None, 1200, 61.25, 0.0)]
    assert said == ["-", "1,200", "61.2", "0"]


def test_a_refusal_is_said_in_words_or_with_its_code():
    known = ServiceError(409, "plan_changed", "the plan is another one")
    assert words.say_refusal(known).endswith("Read it again.")
    assert words.say_refusal(ServiceError(418, "teapot", "no tea")) == "no tea (teapot)"


def test_a_long_text_is_cut():
    assert len(words.cut("x" * 10_000)) == words.MAX_TEXT_CHARS + 1
    assert words.cut(None) == "Its text is not saved any more."
    assert words.say_title("many") == "Many"
    assert words.say_run_state("odd") == "odd"


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"code": "empty_text", "status": None}, "failed again for the same reason"),
        ({"code": "http_409", "status": 409}, "refused by the system that the task comes from"),
        ({"code": "unavailable", "status": None, "message": "it is away"}, "it is away."),
        ({}, "it says no more"),
    ],
)
def test_why_a_replay_changed_nothing(said: dict[str, object], sentence: str):
    assert sentence in words.say_failed_replay("empty_text", said)


def test_one_score_at_one_moment_is_no_range():
    first = datetime(2026, 11, 30, 1, 30, tzinfo=UTC)
    last = first + timedelta(minutes=5)
    assert words.say_scores([91.0], first, first) == "91, 2026-11-30 01:30 UTC."
    assert words.say_scores([91.0, 100.0], first, last) == (
        "Between 91 and 100, 2026-11-30 01:30 UTC to 2026-11-30 01:35 UTC."
    )


AT = datetime(2026, 11, 30, 1, 30, tzinfo=UTC)


def plan_state(state: str, *steps: StepState, is_open: bool = False) -> PlanState:
    return PlanState(
        plan_id="plan-1",
        state=state,
        is_open=is_open,
        approved_by=None if state == "open" else "anna",
        approved_at=AT,
        expires_at=AT,
        run_id=None,
        steps=list(steps),
    )


def test_every_state_of_an_approval_has_a_meaning():
    assert set(words.PLAN_STATES) == set(get_args(ApprovalState))
    assert set(words.PLAN_STATES) >= words.ENDED


def test_a_plan_that_nobody_has_approved_has_no_state_to_tell():
    assert words.say_plan_state(plan_state("open", is_open=True)) == []


def test_what_became_of_a_plan_is_said_step_by_step():
    began = StepState(at=AT, step=2, event="step_started", message="")
    ended = StepState(at=AT, step=2, event="step_done", message="5 were sent.")
    failed = StepState(at=AT, step=3, event="step_failed", message="it crashed")
    (line, step) = words.say_plan_state(plan_state("begun", began))
    assert line == "Approved by anna, 2026-11-30 01:30 UTC: it is being carried out."
    assert step == "Step 2 has begun, 2026-11-30 01:30 UTC."
    assert words.say_plan_state(plan_state("failed", began, ended, failed))[1:] == [
        "Step 2 is done, 2026-11-30 01:30 UTC: 5 were sent.",
        "Step 3 failed, 2026-11-30 01:30 UTC: it crashed",
    ]


def test_an_approval_that_was_not_used_in_time_says_so():
    (line,) = words.say_plan_state(plan_state("unused", is_open=True))
    assert line.endswith("it was not begun in time.")
