"""What it takes to have a gather run go on."""

import pickle

import pytest

from aletheia.gather.errors import NotResumable
from aletheia.gather.progress import DepartmentProgress, Iteration, Run, RunProgress, StopReason
from aletheia.gather.resumption import Overrides, Step, choose_step, describe_step
from tests.fakes.departments import make_department


def make_run(*reasons: StopReason | None, max_iterations: int = 10) -> Run:
    """A run with an iteration in each department."""
    departments = tuple(
        DepartmentProgress(
            make_department(f"d{number}", number),
            80.0,
            0.0,
            iterations=(Iteration(1, 8, 7, (), 10.0),),
            reason=reason,
        )
        for number, reason in enumerate(reasons)
    )
    progress = RunProgress(max_iterations, departments)
    return Run("run-1", "shop", "user-1", 1, progress, 1, 0.0, 0.0)


@pytest.mark.parametrize(
    ("state", "is_abandoned", "step"),
    [
        ("PAUSED", True, "resume"),
        ("PAUSED", False, "resume"),
        ("FAILED", False, "restart"),
        ("CRASHED", False, "restart"),
        ("RUNNING", True, "restart"),
        ("RUNNING", False, "leave"),
        ("SCHEDULED", True, "leave"),
        ("PENDING", True, "leave"),
    ],
)
def test_what_is_done_about_a_run_follows_from_its_state(
    state: str, is_abandoned: bool, step: Step
):
    assert choose_step("run-1", state, is_abandoned=is_abandoned) is step


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("CANCELLING", "it is being cancelled"),
        ("CANCELLED", "it is cancelled"),
        ("COMPLETED", "it is completed"),
    ],
)
def test_a_run_that_has_ended_for_good_does_not_go_on(state: str, reason: str):
    with pytest.raises(NotResumable, match=f"'run-1' cannot be resumed: {reason}; start another"):
        choose_step("run-1", state, is_abandoned=True)


@pytest.mark.parametrize(
    ("step", "state", "overrides", "said"),
    [
        ("resume", "suspended", Overrides(), "Run run-1 goes on from where it was."),
        ("restart", "crashed", Overrides(), "Run run-1 was crashed; it is started again"),
        ("restart", "lost", Overrides(), "Run run-1 was lost; it is started again"),
        ("leave", "running", Overrides(), "Run run-1 is at work; there is nothing to resume."),
        ("leave", "running", Overrides(7), "Run run-1 is at work; the change holds from its"),
        ("leave", "awaitingretry", Overrides(7), "Run run-1 is waiting for its retry and"),
        ("leave", "scheduled", Overrides(), "Run run-1 is scheduled and starts by itself."),
    ],
)
def test_an_operator_reads_what_becomes_of_a_run(
    step: Step, state: str, overrides: Overrides, said: str
):
    answer = describe_step(make_run(None), step, overrides, state=state)
    assert answer.startswith(said)
    assert "1 of 10 iterations are used." in answer


def test_who_raises_a_budget_reads_which_departments_it_comes_too_late_for():
    run = make_run(StopReason.MAX_ITERATIONS_REACHED, StopReason.SATURATION, None)
    raised = describe_step(run, "resume", Overrides(max_iterations=10), state="suspended")
    assert raised.endswith("Announced as complete, and left to another run: d0.")
    lowered = describe_step(run, "resume", Overrides(thresholds={"d2": 5}), state="suspended")
    assert "Announced" not in lowered


def test_the_refusal_can_be_carried_to_another_process():
    error = NotResumable("run-1", "it is cancelled")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
