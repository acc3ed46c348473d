"""How an evaluation is shown on the command line and on the page of its run."""

import json

import pytest

from aletheia.quality.evaluation import EvaluationReport
from aletheia.quality.scores import PARTS
from deployments.evaluation import show
from tasks.evaluation import describe
from tests.deployments.printing import printed

IDS = [f"{number:024x}" for number in range(7)]
REPORT = EvaluationReport.model_validate(
    {
        "project_id": "shop",
        "department": "legal",
        "department_name": "Legal [red]*and*[/red] | risk",
        "department_number": 1,
        "version": "ab" * 32,
        "attempt": 1,
        "items": 7,
        "score": 81.25,
        "threshold": 80,
        "scores": dict.fromkeys(PARTS, 81.25),
        "counted": dict.fromkeys(PARTS, 77.5),
        "judges": 2,
        "judges_asked": 3,
        "findings": [
            {
                "source": "judge",
                "part": "depth",
                "severity": "high",
                "text": "Too\nshort | <b>[x](http://y)",
                "item_ids": IDS,
            }
        ],
        "suggestions": [
            {"source": "counted", "part": "coverage", "text": "Write more.", "item_ids": []}
        ],
        "faults": [{"code": "unavailable", "message": "judge-2: 503"}],
        "mock": False,
        "user_id": "u",
        "auto": False,
        "evaluated_at": "2026-03-01T00:00:00+00:00",
    }
)


def shown(report: EvaluationReport, *, as_json: bool = False) -> str:
    return printed(lambda: show(report, as_json=as_json))


def test_an_evaluation_is_a_table_of_plain_words():
    lines = [" ".join(line.split()) for line in shown(REPORT).splitlines()]
    assert lines[0] == (
        "Legal [red]*and*[/red] | risk: 81.2 of 100, threshold 80, 7 items, 2 of 3 judges"
    )
    assert "coverage 40% 81.2 77.5" in lines
    assert "suggestion coverage Write more." in lines
    assert "not used: unavailable: judge-2: 503" in lines
    assert not any("mock" in line or "--force" in line for line in lines)


def test_what_is_made_up_or_old_is_said():
    text = shown(REPORT.model_copy(update={"mock": True, "was_stored": True}))
    assert "mock: its judges were made up" in text
    assert "--force" in text
    page = describe(REPORT.model_copy(update={"mock": True, "was_stored": True}))
    assert "**⚠ mock**" in page
    assert "evaluated before" in page


def test_an_evaluation_is_plain_json_where_that_is_asked_for():
    assert json.loads(shown(REPORT, as_json=True)) == REPORT.model_dump(mode="json")


def test_on_the_page_others_words_are_no_markdown():
    page = describe(REPORT).splitlines()
    assert page[0] == "# Legal [red]\\*and\\*[/red] \\| risk: 81.2 of 100".replace(
        "[", "\\["
    ).replace("]", "\\]")
    (row,) = [line for line in page if line.startswith("| high |")]
    assert "Too short \\| \\<b\\>\\[x\\](http\\://y)" in row
    assert row.endswith("and 2 more |")
    assert row.replace("\\|", "").count("|") == 6
    assert "- unavailable: judge-2: 503" in page


@pytest.mark.parametrize(("score", "word"), [(80, "reached"), (79.9, "not reached")])
def test_whether_the_threshold_is_reached_is_said(score: float, word: str):
    assert f"threshold 80, {word}." in describe(REPORT.model_copy(update={"score": score}))


def test_without_remarks_that_is_said():
    bare = REPORT.model_copy(update={"findings": (), "suggestions": (), "faults": ()})
    page = describe(bare)
    assert page.count("None.") == 2
    assert "could not be used" not in page
