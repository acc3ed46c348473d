"""Rules, weights and sources come from packages of users, too, without an edit of ours."""

from importlib.metadata import EntryPoint

import pytest

from aletheia.errors import Misconfigured
from aletheia.reasoning import collecting, findings
from aletheia.reasoning.collecting import collect_snapshot, load_collectors
from aletheia.reasoning.findings import RULES, find, load_rules, score_of
from aletheia.reasoning.settings import FindingSettings

PLUGIN = "tests.aletheia.reasoning.plugin"


def points(name: str, group: str) -> list[EntryPoint]:
    return [EntryPoint(name="weather", value=f"{PLUGIN}:{name}", group=group)]


async def test_a_source_and_a_rule_of_a_package_are_part_of_a_run():
    sources = load_collectors(points("make_collector", collecting.GROUP))
    rules = load_rules(points("RULES", findings.GROUP))
    snapshot = await collect_snapshot(sources, timeout_s=1)
    found = find(snapshot.view, FindingSettings(), rules=rules)
    assert [it.id for it in found] == ["rain"]
    assert score_of(found) == 97
    assert rules[: len(RULES)] == RULES


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("NOT_A_RULE", "is no Rule"),
        ("taken", "there is a rule 'no_worker' already"),
        ("missing", "cannot be loaded"),
    ],
)
def test_what_is_no_rule_is_refused_by_name(name: str, reason: str):
    with pytest.raises(Misconfigured, match=reason):
        load_rules(points(name, findings.GROUP))


def test_what_is_no_source_is_refused_by_name():
    with pytest.raises(Misconfigured, match="weather"):
        load_collectors(points("NOT_A_RULE", collecting.GROUP))


def test_without_packages_there_are_our_own():
    assert load_rules([]) == RULES
    assert load_collectors([]) == []
