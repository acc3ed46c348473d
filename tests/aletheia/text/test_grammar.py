"""What stands beside a count agrees with it."""

import pytest

from aletheia.text.grammar import agree


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "tasks are"), (1, "task is"), (1.0, "task is"), (1.5, "tasks are"), (2, "tasks are")],
)
def test_one_thing_is_singular_and_everything_else_is_not(count: float, said: str):
    assert agree("[task is|tasks are] late", count) == f"{said} late"


@pytest.mark.parametrize("text", ["no forms", "[one]", "[a|b|c]", "a | b", "[a|b", ""])
def test_what_is_no_pair_of_forms_stays(text: str):
    assert agree(text, 1) == text


def test_a_form_may_be_empty_and_several_agree_at_once():
    assert agree("{value} item[|s] [was|were] kept", 1) == "{value} item was kept"
    assert agree("{value} item[|s] [was|were] kept", 2) == "{value} items were kept"
