import re
from typing import Any

import pytest
from pydantic import ValidationError

from aletheia.errors import InvalidTask
from aletheia.items.content import Item
from aletheia.items.departments import Department, DepartmentList

GOOD: dict[str, Any] = {
    "id": "d1",
    "slug": "legal",
    "name": "Legal",
    "gatherCheck": True,
    "isActive": True,
}


def read(**changes: Any) -> Department:
    return Department.model_validate({**GOOD, **changes})


def test_a_department_has_the_applications_names_outside_and_ours_inside() -> None:
    department = read(
        description=" Reviews contracts. ",
        codeDepNumber=3,
        defaultModel="openai/gpt-5-mini",
        coordinationSettings={"minQualityThreshold": 72.5, "somethingElse": 1},
        updatedAt="2026-11-01",
    )
    assert department.code_dep_number == 3
    assert department.description == "Reviews contracts."
    assert department.quality_threshold == 72.5
    stored = department.model_dump(mode="json", by_alias=True)
    assert stored["codeDepNumber"] == 3
    assert "updatedAt" not in stored
    assert Department.model_validate(stored) == department


@pytest.mark.parametrize("settings", [None, {}, {"minQualityThreshold": None}])
def test_a_department_without_a_threshold_has_the_default(settings: Any) -> None:
    assert read(coordinationSettings=settings).quality_threshold == 80


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("id", 7, "7"),
        ("codeDepNumber", "4", 4),
        ("codeDepNumber", 4.0, 4),
        ("codeDepNumber", -1, -1),
        ("codeDepNumber", None, None),
        ("defaultModel", "  ", None),
        ("description", None, ""),
        ("description", "a\x00b", "ab"),
        (
            "description",
            {"root": {"children": [{"children": [{"text": "One."}, {"text": "Two."}]}]}},
            "One.\nTwo.",
        ),
        ("description", [{"children": [{"text": "Slate"}]}], "Slate"),
        ("coordinationSettings", {"minQualityThreshold": 0}, {"minQualityThreshold": 0.0}),
        ("coordinationSettings", {"minQualityThreshold": 100}, {"minQualityThreshold": 100.0}),
    ],
)
def test_what_payload_may_write_is_understood(name: str, given: Any, expected: Any) -> None:
    assert read(**{name: given}).model_dump(by_alias=True)[name] == expected


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("id", ""),
        ("id", None),
        ("id", True),
        ("slug", " "),
        ("name", "\x00"),
        ("name", "x" * 301),
        ("codeDepNumber", 2.5),
        ("codeDepNumber", "first"),
        ("codeDepNumber", True),
        ("codeDepNumber", 10**12),
        ("gatherCheck", "true"),
        ("isActive", 1),
        ("isActive", None),
        ("defaultModel", 5),
        ("description", 5),
        ("coordinationSettings", "high"),
        ("coordinationSettings", {"minQualityThreshold": 101}),
        ("coordinationSettings", {"minQualityThreshold": -1}),
    ],
)
def test_a_bad_department_is_refused(name: str, given: Any) -> None:
    with pytest.raises(ValidationError):
        read(**{name: given})


def test_a_rich_text_without_an_end_is_read_to_a_depth() -> None:
    node: dict[str, Any] = {"text": "deep"}
    for _ in range(500):
        node = {"children": [node]}
    assert read(description=node).description == ""


@pytest.mark.parametrize(
    "item",
    [
        {"content": "", "summary": "s", "context": ""},
        {"content": "string", "summary": "s", "context": ""},
        {"content": "x" * 6001, "summary": "s", "context": ""},
        {"content": "A sentence of some length.", "summary": " ", "context": ""},
        {"content": "A sentence of some length.", "summary": "s"},
        {"content": ["A sentence of some length."], "summary": "s", "context": ""},
        {"content": "A sentence of some length.", "summary": None, "context": ""},
        {"content": "\x00" * 40, "summary": "s", "context": ""},
    ],
)
def test_a_bad_item_is_refused(item: Any) -> None:
    with pytest.raises(ValidationError):
        Item.model_validate(item)


def test_an_item_is_cleaned_and_may_lack_a_context() -> None:
    item = Item.model_validate(
        {"content": " Check the\x00 list daily. ", "summary": "s", "context": "", "id": 5}
    )
    assert item == Item(content="Check the list daily.", summary="s", context="")


NUMBERS = {"legal": 1, "support": 2, "sales": 2, "board": None}
LISTED = DepartmentList(
    tuple(read(id=slug, slug=slug, codeDepNumber=number) for slug, number in NUMBERS.items())
)


@pytest.mark.parametrize(
    ("number", "slug", "chosen"),
    [
        (1, None, "legal"),
        (None, None, "board"),
        (2, "sales", "sales"),
        (None, "support", "support"),
        (None, "board", "board"),
    ],
)
def test_a_department_is_chosen_by_its_number_or_its_slug(
    number: int | None, slug: str | None, chosen: str
) -> None:
    assert LISTED.choose(number, slug).slug == chosen


@pytest.mark.parametrize(
    ("number", "slug", "code", "said"),
    [
        (2, None, "ambiguous_department", "2 departments have number 2: 'support', 'sales'"),
        (3, None, "unknown_department", "no department has number 3; there are: 1 'legal', 2 "),
        (1, "sales", "unknown_department", "no department has slug 'sales' and number 1"),
        (None, "hr", "unknown_department", "no department has slug 'hr'"),
    ],
)
def test_no_department_is_guessed(
    number: int | None, slug: str | None, code: str, said: str
) -> None:
    with pytest.raises(InvalidTask, match=re.escape(said)) as refused:
        LISTED.choose(number, slug)
    assert refused.value.code == code


def test_without_departments_none_is_chosen() -> None:
    with pytest.raises(InvalidTask, match="no department has no number; there are: none"):
        DepartmentList(()).choose(None)
