"""Only what is on the list has a name, and every name has a unit."""

import pytest

from aletheia.reasoning.catalogue import (
    MEASURES,
    WHOLES,
    entity_of,
    entity_path,
    listed_paths,
    measure_of,
    pattern_of,
)
from aletheia.reasoning.snapshot import SystemSnapshot
from aletheia.reasoning.wording import COMPARING, NEUTRAL
from tests.fakes.reasoning import make_snapshot


@pytest.mark.parametrize("path", [it for it in MEASURES if "." not in it])
def test_a_top_level_path_is_a_field_of_the_snapshot(path: str):
    assert path in SystemSnapshot.model_fields


@pytest.mark.parametrize("pattern", MEASURES)
def test_a_measure_has_words_of_its_own(pattern: str):
    measure = MEASURES[pattern]
    assert measure.own_words - NEUTRAL
    assert not measure.own_words & COMPARING, "a claim could take them for its relation"
    assert ("*" in pattern) == bool(measure.entity)


def test_parts_and_wholes_have_one_unit_and_window():
    for part, whole in WHOLES.items():
        one, other = MEASURES[part], MEASURES[whole]
        assert one.unit == other.unit


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("queue_pending", "queue_pending"),
        ("additional_metrics.lanes.a-b_c.waiting", "additional_metrics.lanes.*.waiting"),
        ("additional_metrics.lanes.a.b.waiting", None),
        ("additional_metrics.lanes..waiting", None),
        ("rule_weights.freshness", None),
        ("queue_pending.x", None),
    ],
)
def test_a_path_has_a_pattern_or_is_not_on_the_list(path: str, pattern: str | None):
    assert pattern_of(path) == pattern
    assert (measure_of(path) is None) == (pattern is None)


def test_an_entity_is_named_by_its_name_and_not_by_its_key():
    view = make_snapshot().view
    path = "additional_metrics.breakers.secret_shop.failures"
    assert entity_path(path) == "additional_metrics.breakers.secret_shop"
    assert entity_of(path, view) == "secret shop"
    assert entity_of("queue_pending", view) == ""


def test_only_listed_numbers_are_listed():
    snapshot = make_snapshot({"rule_weights": {"a": 1.0}, "queue_pending": None})
    paths = set(listed_paths(snapshot.view))
    assert "rule_weights.a" not in paths
    assert "queue_pending" not in paths
    assert "additional_metrics.breakers.openai.failures" in paths


def test_one_thing_is_singular():
    assert MEASURES["queue_failed"].phrase(1) == "1 dead letter"
    assert MEASURES["queue_failed"].phrase(0) == "0 dead letters"
    assert MEASURES["publish_success_rate"].phrase(0.9999) == (
        "success rate of publications in the last 24 hours (99.9 %)"
    )
