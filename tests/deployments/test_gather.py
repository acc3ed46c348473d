"""How a gather run is followed on the command line."""

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from aletheia.errors import InvalidTask
from aletheia.events.log import SavedEvent
from aletheia.gather.progress import DepartmentProgress, Iteration, Run, RunProgress
from aletheia.items.departments import Department
from deployments.event_lines import describe
from deployments.gather import read_thresholds, show_end
from tests.deployments.printing import printed
from tests.fakes.webhook import FIELDS

SAID: dict[str, Any] = {
    "department": "legal",
    "department_name": "Legal [red]and[/red] risk",
    "threshold": 80.0,
    "model": "some/model",
    "iteration": 2,
    "total_iterations": 7,
    "quality_score": 61.25,
    "final_quality_score": 61.25,
    "items_created": 5,
    "items_created_so_far": 5,
    "iterations_used": 3,
    "departments_processed": 1,
    "summary": [],
}


def event_of(kind: str) -> SavedEvent:
    body = {name: SAID[name] for name in FIELDS[kind]} | {"type": kind}
    said = json.dumps(body).encode()
    return SavedEvent("shop", 1, datetime(2026, 1, 1, tzinfo=UTC), "r", said, is_last=False)


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("department_started", "Legal [red]and[/red] risk  to 80, by some/model"),
        ("deduplicating", "  legal: comparing a batch with what is saved"),
        ("iteration_complete", "  iteration 2 (7 in all): 5 items, quality 61.2"),
        ("max_iterations_reached", "  its iterations are spent at 61.2"),
        ("department_complete", "  done at 61.2 after 3 iterations"),
        ("automation_complete", "Complete: 5 items in 7 iterations"),
        ("automation_cancelled", "Cancelled: 5 items stay"),
    ],
)
def test_each_event_is_a_line_of_plain_words(kind: str, line: str):
    shown = io.StringIO()
    Console(file=shown, width=200).print(describe(event_of(kind)), highlight=False)
    assert shown.getvalue() == f"{line}\n"


@pytest.mark.parametrize(
    ("kind", "failure", "begins", "is_complete"),
    [
        ("automation_complete", "", "Complete: 5 items", True),
        ("automation_complete", "not_json", "odd\nno answer of a model could be used", False),
        ("automation_cancelled", "", "Cancelled: 5 items stay", False),
    ],
)
def test_a_run_that_fails_is_not_called_complete(
    kind: str, failure: str, begins: str, is_complete: bool
):
    done = Iteration(number=1, generated=0, kept=0, item_ids=(), score=1.0, failure=failure)
    legal = Department(
        id="1", slug="legal", name="Legal", code_dep_number=1, gather_check=True, is_active=True
    )
    ended = DepartmentProgress(legal, 80.0, iterations=(done,))
    run = Run("r", "shop", "u", 1, RunProgress(1, (ended,)), 1, 0.0, 0.0, warnings=("odd",))
    verdicts: list[bool] = []
    shown = printed(lambda: verdicts.append(show_end(event_of(kind), run)))
    assert verdicts == [is_complete]
    assert shown.startswith(begins)
    assert "odd" in shown


def test_thresholds_are_read_from_words():
    assert read_thresholds(["legal=85", "hr.eu=0", "a=b=70.5"]) == {
        "legal": 85.0,
        "hr.eu": 0.0,
        "a=b": 70.5,
    }


@pytest.mark.parametrize("word", ["legal", "legal=", "=80", "legal=much", ""])
def test_a_word_that_is_no_threshold_is_refused(word: str):
    with pytest.raises(InvalidTask, match="--threshold takes DEPARTMENT=X"):
        read_thresholds([word])
