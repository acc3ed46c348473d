"""A snapshot's values are found by their paths."""

import pytest
from pydantic import ValidationError

from aletheia.reasoning.snapshot import View, key_of, keyed
from tests.fakes.reasoning import make_snapshot


def test_a_value_is_found_by_its_path_and_what_is_not_there_is_none():
    view = make_snapshot().view
    assert view.number("additional_metrics.gather.last_items_created") == 42
    assert view.text("additional_metrics.breakers.openai.state") == "closed"
    assert view.keys("additional_metrics.breakers") == ["openai", "secret_shop"]
    for path in ("x", "queue_pending.x", "additional_metrics.x.y", ""):
        assert view.get(path) is None
        assert view.number(path) is None


@pytest.mark.parametrize("value", [True, "3", None, float("nan"), float("inf"), [3]])
def test_only_finite_numbers_are_numbers(value: object):
    assert View({"a": value}).number("a") is None


def test_the_rate_of_publications_is_a_fraction():
    with pytest.raises(ValidationError):
        make_snapshot(publish_success_rate=94.2)


def test_names_become_keys_without_dots_and_none_is_lost():
    assert key_of("gpt-4.1 mini") == "gpt-4_1_mini"
    assert key_of("…") == "unnamed"
    rows = {name: {"n": number} for number, name in enumerate(["a.b", "a_b", "a b"])}
    found = keyed(rows)
    assert sorted(found) == ["a_b", "a_b_2", "a_b_3"]
    assert {it["name"]: it["n"] for it in found.values()} == {"a.b": 0, "a_b": 1, "a b": 2}
