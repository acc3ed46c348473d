"""Stop rules, and the run's iterations (SPEC §4)."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aletheia.errors import InvalidTask
from aletheia.gather.progress import (
    DepartmentProgress,
    Iteration,
    RunProgress,
    StopReason,
    allowance,
    find_outer_reason,
    find_unreadable,
    is_saturated,
    is_stalled,
    report,
    share_done,
    stop_reason,
)
from aletheia.gather.resumption import Overrides
from aletheia.items.departments import Department
from aletheia.llm.usage import BudgetUsage


def department(number: int = 1) -> Department:
    return Department(
        id=str(number),
        slug=f"d{number}",
        name=f"Department {number}",
        code_dep_number=number,
        gather_check=True,
        is_active=True,
    )


def iterations(*scores: float, generated: int = 8, kept: int = 8) -> tuple[Iteration, ...]:
    return tuple(
        Iteration(number, generated, kept, (), score) for number, score in enumerate(scores, 1)
    )


def progress(
    *scores: float, first: float | None = 0.0, max_iterations: int = 50, to_come: int = 0
) -> RunProgress:
    one = DepartmentProgress(department(), 80.0, first, iterations=iterations(*scores))
    others = (DepartmentProgress(department(n), 80.0) for n in range(2, 2 + to_come))
    return RunProgress(max_iterations, (one, *others))


@pytest.mark.parametrize(
    ("state", "outer", "reason"),
    [
        pytest.param(progress(), None, None, id="goes on"),
        pytest.param(
            progress(first=80),
            StopReason.TOKEN_BUDGET,
            StopReason.THRESHOLD_REACHED,
            id="filled already",
        ),
        pytest.param(progress(first=79.999), None, None, id="just below"),
        pytest.param(
            progress(80.0),
            StopReason.TOKEN_BUDGET,
            StopReason.THRESHOLD_REACHED,
            id="threshold comes first",
        ),
        pytest.param(
            progress(1), StopReason.TOKEN_BUDGET, StopReason.TOKEN_BUDGET, id="then a budget"
        ),
        pytest.param(
            progress(0, 0, 0, max_iterations=3),
            StopReason.TIME_BUDGET,
            StopReason.TIME_BUDGET,
            id="then time",
        ),
        pytest.param(
            progress(0, 0, 0, max_iterations=3),
            None,
            StopReason.MAX_ITERATIONS_REACHED,
            id="then its iterations",
        ),
        pytest.param(progress(0, 0, 0), None, StopReason.NO_IMPROVEMENT, id="then no improvement"),
        pytest.param(
            progress(first=None),
            StopReason.TIME_BUDGET,
            StopReason.TIME_BUDGET,
            id="over before it was scored",
        ),
        pytest.param(
            progress(first=None, max_iterations=0),
            StopReason.TOKEN_BUDGET,
            StopReason.NO_ITERATIONS_LEFT,
            id="none left",
        ),
    ],
)
def test_reasons_are_checked_in_order(
    state: RunProgress, outer: StopReason | None, reason: StopReason | None
):
    assert stop_reason(state, 0, outer) == reason


@pytest.mark.parametrize(
    ("spent", "is_time_spent", "reason"),
    [
        ("", False, None),
        ("USD TOKENS", True, StopReason.TOKEN_BUDGET),
        ("USD", True, StopReason.COST_BUDGET),
        ("", True, StopReason.TIME_BUDGET),
    ],
)
def test_what_stops_a_run_from_outside_is_checked_in_order(
    spent: str, is_time_spent: bool, reason: StopReason | None
):
    budgets = [
        BudgetUsage(f"BUDGET_{unit}_PER_RUN", 1, int(unit in spent), None)
        for unit in ("USD", "TOKENS")
    ]
    found = find_outer_reason(budgets, is_time_spent=is_time_spent)
    assert found == reason


def test_saturation_is_checked_last():
    one = DepartmentProgress(
        department(), 80.0, 0.0, iterations=iterations(10, 20, generated=10, kept=0)
    )
    assert stop_reason(RunProgress(50, (one,)), 0) == StopReason.SATURATION
    stalled = replace(one, iterations=iterations(0, 0, 0, generated=10, kept=0))
    assert stop_reason(RunProgress(50, (stalled,)), 0) == StopReason.NO_IMPROVEMENT


def test_a_department_is_not_judged_before_it_was_scored():
    with pytest.raises(ValueError, match="has not been scored"):
        stop_reason(progress(first=None), 0)


@pytest.mark.parametrize(
    ("scores", "stalled"),
    [
        ((50.0, 50.0, 50.0), False),
        ((50.0, 50.9, 50.9, 50.9), True),
        ((50.0, 50.0, 50.0, 51.0), False),
        ((50.0, 51.0, 40.0, 40.0), False),
        ((50.0, 51.0, 40.0, 40.0, 40.0), True),
        ((90.0, 10.0, 20.0, 30.0), True),
        ((10.0, 20.0, 30.0, 40.0), False),
    ],
)
def test_a_department_stalls_when_three_iterations_do_not_beat_its_best_by_one(
    scores: tuple[float, ...], stalled: bool
):
    assert is_stalled(scores) is stalled


@pytest.mark.parametrize(
    ("batches", "saturated"),
    [
        ([(10, 0)], False),
        ([(10, 0), (10, 0)], True),
        ([(10, 1), (10, 0)], False),
        ([(11, 1), (10, 0)], True),
        ([(10, 0), (10, 5), (10, 0)], False),
        ([(10, 0), (0, 0), (10, 0)], True),
        ([(0, 0), (0, 0)], False),
    ],
)
def test_a_department_is_saturated_when_two_batches_in_a_row_keep_under_a_tenth(
    batches: list[tuple[int, int]], saturated: bool
):
    made = tuple(
        Iteration(number, generated, kept, (), 0.0)
        for number, (generated, kept) in enumerate(batches, 1)
    )
    assert is_saturated(made) is saturated


def unreadable(*failures: str, threshold: float = 80.0) -> DepartmentProgress:
    """A department whose iterations failed like this; an empty text is a good one."""
    made = tuple(
        Iteration(n, 0 if failure else 6, 0 if failure else 6, (), float(n), failure)
        for n, failure in enumerate(failures, 1)
    )
    return DepartmentProgress(department(), threshold, 0.0, iterations=made)


@pytest.mark.parametrize(
    ("failures", "reason"),
    [
        (("not_json",), None),
        (("not_json", "no_room"), StopReason.UNREADABLE_ANSWERS),
        (("not_json", "", "not_json"), None),
        (("", "empty_answer", "too_few_items"), StopReason.UNREADABLE_ANSWERS),
        (("refused", "refused"), None),
        (("not_json", "content_refused"), None),
    ],
)
def test_a_department_ends_when_two_iterations_in_a_row_got_no_usable_answer(
    failures: tuple[str, ...], reason: StopReason | None
):
    assert stop_reason(RunProgress(50, (unreadable(*failures),)), 0) == reason


@pytest.mark.parametrize(
    ("earlier", "is_given_up"),
    [
        ([("x", "x")], False),
        ([("x", "x"), ("x", "x")], True),
        ([("x",), ("x", "x")], True),
        ([("x", "x"), (), ("x", "x")], True),
        ([("x", "x"), ("",), ("x", "x")], False),
        ([("x", "x"), ("x", "x"), ("",)], False),
        ([("refused", "refused"), ("x", "x")], False),
    ],
)
def test_after_two_departments_in_a_row_nobody_is_asked(
    earlier: list[tuple[str, ...]], is_given_up: bool
):
    fresh = DepartmentProgress(department(9), 80.0)
    state = RunProgress(50, (*(unreadable(*failures) for failures in earlier), fresh))
    position = len(earlier)
    if is_given_up:
        assert stop_reason(state, position) == StopReason.UNREADABLE_ANSWERS
    else:
        with pytest.raises(ValueError, match="has not been scored"):
            stop_reason(state, position)
    filled = state.with_department(position, replace(fresh, first_score=90.0))
    assert stop_reason(filled, position) == StopReason.THRESHOLD_REACHED


def test_a_run_is_in_vain_if_no_answer_could_be_used_or_it_gave_up_on_departments():
    good, bad = unreadable("", ""), unreadable("not_json", "not_json")
    given_up = DepartmentProgress(department(3), 80.0, reason=StopReason.UNREADABLE_ANSWERS)
    none_left = DepartmentProgress(department(3), 80.0, reason=StopReason.NO_ITERATIONS_LEFT)
    assert find_unreadable(RunProgress(50, (good, bad))) == ""
    assert find_unreadable(RunProgress(50, ())) == ""
    assert find_unreadable(RunProgress(50, (unreadable("refused"),))) == ""
    said = find_unreadable(RunProgress(50, (good, bad, bad, given_up)))
    assert said.startswith("no answer of a model could be used in 4 of 6 iterations")
    assert "not_json" in find_unreadable(RunProgress(1, (unreadable("not_json"), none_left)))


def test_a_department_may_use_what_those_to_come_do_not_need():
    assert allowance(progress(to_come=6), 0) == 44
    assert allowance(progress(1, 2, to_come=6), 0) == 44, "what it has used is part of it"
    assert allowance(progress(1, 2, to_come=6), 1) == 43
    assert allowance(progress(max_iterations=3, to_come=6), 0) == 1
    assert allowance(progress(1, max_iterations=1, to_come=6), 1) == 0


def test_an_override_out_of_its_range_is_refused():
    with pytest.raises(InvalidTask, match="1 to 1,000,000, not 0"):
        Overrides(max_iterations=0)
    with pytest.raises(InvalidTask, match=r"'legal' must be in 0\.\.100"):
        Overrides(thresholds={"legal": 100.5})


def test_a_report_has_the_fields_and_the_order_that_were_promised():
    state = progress(50.0, first=20.0, to_come=2, max_iterations=1)
    stopped = replace(state.departments[0], reason=StopReason.MAX_ITERATIONS_REACHED)
    state = state.with_department(0, stopped)
    for position in (1, 2):
        rest = replace(state.departments[position], reason=StopReason.NO_ITERATIONS_LEFT)
        state = state.with_department(position, rest)
    made = report(state, status="completed", created={"d1": 7}, worked_s=1.2345)
    rest_of: list[dict[str, Any]] = [
        {
            "department": f"d{n}",
            "name": f"Department {n}",
            "quality_score": None,
            "iterations": 0,
            "items_created": 0,
        }
        for n in (2, 3)
    ]
    assert made.model_dump(mode="json") == {
        "status": "completed",
        "iterations": 1,
        "departments_processed": 1,
        "items_created": 7,
        "processing_time_ms": 1234,
        "summary": [
            {
                "department": "d1",
                "name": "Department 1",
                "quality_score": 50.0,
                "iterations": 1,
                "items_created": 7,
            },
            *rest_of,
        ],
    }
    assert list(made.model_dump()) == [
        "status",
        "iterations",
        "departments_processed",
        "items_created",
        "processing_time_ms",
        "summary",
    ]


SCORES = st.floats(0, 100, allow_nan=False)
BATCHES = st.tuples(st.integers(0, 10), st.floats(0, 1), SCORES)


@given(
    departments=st.integers(1, 8),
    max_iterations=st.integers(0, 30),
    firsts=st.lists(SCORES, min_size=8, max_size=8),
    outcomes=st.lists(BATCHES, max_size=40),
    happens=st.lists(st.sampled_from([None, StopReason.TIME_BUDGET]), max_size=40),
)
def test_every_run_ends_within_its_iterations_and_leaves_one_to_each_department(
    departments: int,
    max_iterations: int,
    firsts: list[float],
    outcomes: list[tuple[int, float, float]],
    happens: list[StopReason | None],
):
    state = RunProgress(
        max_iterations,
        tuple(DepartmentProgress(department(n), 80.0) for n in range(1, departments + 1)),
    )
    steps = 0
    while (position := state.position) is not None:
        one = state.departments[position]
        if one.first_score is None and allowance(state, position):
            one = replace(one, first_score=firsts[position])
            state = state.with_department(position, one)
        outer = happens[steps] if steps < len(happens) else None
        reason = stop_reason(state, position, outer)
        if reason is None:
            generated, share, score = outcomes.pop() if outcomes else (8, 1.0, 0.0)
            done = Iteration(
                len(one.iterations) + 1, generated, int(share * generated), (), min(score, 79.0)
            )
            one = replace(one, iterations=(*one.iterations, done))
        else:
            one = replace(one, reason=reason)
        state = state.with_department(position, one)
        steps += 1
        assert steps <= max_iterations + departments, "each step is an iteration or a verdict"

    assert state.iterations <= max_iterations
    for position, one in enumerate(state.departments):
        assert len(one.iterations) <= allowance(state, position)
        had_a_chance = position < max_iterations
        assert (one.reason is not StopReason.NO_ITERATIONS_LEFT) or not had_a_chance


@pytest.mark.parametrize(
    ("state", "share"),
    [
        pytest.param(progress(to_come=3), 0.0, id="nothing yet"),
        pytest.param(progress(5, 10, max_iterations=7, to_come=3), 2 / 4 / 4, id="2 of 4"),
        pytest.param(progress(5, max_iterations=1, to_come=3), 1 / 4, id="no iteration left"),
        pytest.param(progress(*range(9), max_iterations=4), 1.0, id="a lowered budget"),
        pytest.param(RunProgress(50, ()), 1.0, id="nobody to work for"),
    ],
)
def test_how_much_of_a_run_is_done_is_counted_by_departments(state: RunProgress, share: float):
    assert share_done(state) == pytest.approx(share)


def test_a_run_whose_departments_are_done_is_done():
    state = progress(5, to_come=1)
    for position, one in enumerate(state.departments):
        assert share_done(state) < 1
        done = replace(one, reason=StopReason.SATURATION)
        state = state.with_department(position, done)
    assert share_done(state) == 1
