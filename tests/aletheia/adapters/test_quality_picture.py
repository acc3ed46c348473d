"""The picture of a run's quality."""

import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from aletheia.adapters.quality_picture import draw_quality
from aletheia.gather.progress import DepartmentProgress, Iteration, RunProgress, StopReason
from tests.fakes.departments import make_department

REACHED = "#1b7837"
SHORT = "#b2500f"


def department(
    name: str, *scores: float, threshold: float = 80.0, reason: StopReason | None = None
) -> DepartmentProgress:
    return DepartmentProgress(
        make_department("one", 1, name=name),
        threshold,
        scores[0] if scores else None,
        iterations=tuple(
            Iteration(number, 8, 8, (), score) for number, score in enumerate(scores[1:], 1)
        ),
        reason=reason,
    )


def draw(*departments: DepartmentProgress, is_mock: bool = False) -> tuple[str, list[str]]:
    """Draw, and read the picture and the words in it."""
    drawn = draw_quality(RunProgress(50, departments), "shop", is_mock=is_mock).decode()
    words = [
        "".join(node.itertext()).strip() for node in ET.fromstring(drawn).iter() if is_text(node)
    ]
    return drawn, words


def is_text(element: Any) -> bool:
    return str(element.tag).endswith("}text")


def test_the_picture_names_what_it_shows():
    _, words = draw(department("Legal", 10, 50, 82.4, reason=StopReason.THRESHOLD_REACHED))
    assert "Quality over iterations, project shop" in words
    assert "quality, 0 to 100" in words
    assert "department, and its iterations (0: before the first)" in words
    assert {"threshold", "reached it", "did not", "Legal", "82"} <= set(words)


def test_what_the_mock_made_is_marked():
    _, words = draw(department("Legal", 10, 50), is_mock=True)
    assert "Quality over iterations, project shop (mock: the items are made up)" in words


def test_each_of_a_dozen_departments_has_its_name_its_last_quality_and_its_threshold():
    names = [f"Name{number}" for number in range(12)]
    drawn, words = draw(*(department(one, at, 30.0 + at) for at, one in enumerate(names)))
    assert {*names, *(str(30 + at) for at in range(12))} <= set(words)
    # One of them is in the legend.
    assert len(re.findall(r"stroke-dasharray: \d", drawn)) == 13


@pytest.mark.parametrize(
    ("reason", "colour"),
    [
        (StopReason.THRESHOLD_REACHED, REACHED),
        (StopReason.SATURATION, SHORT),
        (None, SHORT),
    ],
)
def test_the_last_point_says_whether_the_threshold_was_reached(
    reason: StopReason | None, colour: str
):
    drawn, _ = draw(department("Legal", 10, 71, reason=reason))
    text = next(node for node in ET.fromstring(drawn).iter() if is_text(node) and node.text == "71")
    assert f"fill: {colour}" in text.attrib["style"]


@pytest.mark.parametrize(
    "name", ["R&D <script>alert(1)</script>", "$x^2$ & \\frac", "产品", "Ω" * 300, "a\nb"]
)
def test_a_name_stays_a_name(name: str):
    drawn, words = draw(department(name, 10, 20), department("Legal", 5))
    assert "<script" not in drawn
    shown = " ".join(name.split())
    assert (shown if len(shown) <= 24 else f"{shown[:23]}…") in words


def test_departments_that_were_never_scored_are_left_out():
    _, words = draw(department("Legal", 10, 20), department("Never"))
    assert "Never" not in words
    assert ET.fromstring(draw()[0]).tag.endswith("}svg")
