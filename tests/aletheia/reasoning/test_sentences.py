"""Whatever is counted in a sentence, its nouns and verbs agree with the count."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aletheia.adapters.mock.reasoning import TELLING
from aletheia.intake.models import Unacknowledged
from aletheia.reasoning.actions import ACTIONS, describe_dry_run
from aletheia.reasoning.catalogue import MEASURES
from aletheia.reasoning.claims import Claim, check_claim
from aletheia.reasoning.findings import find
from aletheia.reasoning.references import Evidence
from aletheia.reasoning.settings import FindingSettings
from aletheia.reasoning.snapshot import SystemSnapshot
from aletheia.reasoning.summary import describe_facts
from tests.aletheia.reasoning.test_actions import COMPLETE
from tests.fakes.reasoning import AT, make_snapshot

NOUNS: Final = frozenset(
    {
        *("task", "run", "publication", "clip", "campaign", "alert", "request", "failure", "item"),
        *("event", "worker", "model", "evaluation", "lease", "department", "iteration", "letter"),
        *("report", "time", "source", "warning", "draft", "finding", "reading", "batch"),
    }
)
PLURAL: Final = {f"{noun}s": noun for noun in NOUNS - {"batch"}} | {"batches": "batch"}
VERBS: Final[Mapping[str, str]] = {
    "is": "are",
    "has": "have",
    "waits": "wait",
    "was": "were",
    "needs": "need",
    "sends": "send",
    "hides": "hide",
    "its": "their",
    "it": "them",
}
"""What goes with one, and with many."""

COUNTS: Final = st.sampled_from([0, 1, 2])

_COUNTED: Final = re.compile(r"(?<![\d.,:-])(\d+(?:,\d{3})*)((?: [A-Za-z]+)+)")
_THERE: Final = re.compile(r"\bThere (is|are) (\d+)")


def disagreements(sentence: str) -> list[str]:
    """Return what follows a count and does not go with it: its noun, or the verb behind it."""
    wrong: list[str] = []
    for count, following in _COUNTED.findall(sentence):
        words = following.split()
        noun = next((word for word in words[:4] if word in NOUNS or word in PLURAL), None)
        if noun is None:
            continue
        is_one = count == "1"
        if (noun in NOUNS) != is_one:
            wrong.append(f"{count} … {noun}")
        bad_verbs = VERBS.values() if is_one else VERBS
        behind = words[words.index(noun) + 1 :][:2]
        behind = behind[:1] if behind[:1] == ["must"] else behind  # which goes with any count
        wrong += [f"{count} {noun} … {word}" for word in behind if word in bad_verbs]
    wrong += [
        found[0] for found in _THERE.finditer(sentence) if (found[1] == "is") != (found[2] == "1")
    ]
    if re.search(r"[\[|\]{}]", sentence):
        wrong.append(sentence)
    return wrong


@pytest.mark.parametrize(
    "sentence",
    [
        *("There are 1 run begun.", "There is 2 runs begun.", "1 tasks wait", "2 task waits"),
        *("1 dead letters", "1 dead letter wait for a replay", "0 warning is open", "2 [a|b]"),
        *("1 run begun are fine", "refused 1 requests", "1 campaign are drafts"),
    ],
)
def test_the_check_itself_finds_what_is_wrong(sentence: str):
    assert disagreements(sentence)


def eager(count: int) -> FindingSettings:
    """Return bounds that make a finding of any value at all, or of one below 3."""
    bounds = dict.fromkeys(FindingSettings.model_fields, 0.0)
    bounds["finding_clips_ready"] = count + 1
    return FindingSettings().model_copy(update=bounds)


def counted(count: int) -> SystemSnapshot:
    """Return a snapshot in which everything that is counted is there so often."""
    values: dict[str, Any] = {}
    for pattern, measure in MEASURES.items():
        if measure.one:
            path = pattern.replace("*", "shop")
            values[path] = count
            if "*" in pattern:
                values[f"{path.rpartition('.')[0]}.name"] = "shop"
    errors = {f"source_{number}": "away" for number in range(count)}
    values["additional_metrics.errors"] = errors
    values["additional_metrics.reasoning.failures"] = 3 * count
    values["additional_metrics.intake.unacknowledged"] = {"count": count, "answer": "200"}
    return make_snapshot(values)


def sentences(count: int) -> Iterator[str]:
    """Yield every sentence that rules, facts, claims and dry runs say about such a snapshot."""
    snapshot = counted(count)
    findings = find(snapshot.view, eager(count))
    yield from (finding.text for finding in findings)
    evidence = Evidence.of(snapshot, findings)
    yield from describe_facts(evidence)
    yield from (describe_dry_run(name, COMPLETE[name], snapshot.view) for name in ACTIONS)
    yield str(Unacknowledged(count, AT, "an empty answer"))
    for path in TELLING:
        for text in ("There are {1}", "There is {1} now", "{1} are in the snapshot"):
            if path != "publish_success_rate":
                yield check_claim(Claim(text=text, refs=(path,), relation="equal"), evidence)


@given(COUNTS)
def test_nouns_and_verbs_agree_with_counts_in_all_sentences(count: int):
    said = list(sentences(count))
    assert len(said) > 40
    assert [wrong for sentence in said for wrong in disagreements(sentence)] == []


def test_every_counting_rule_is_among_them():
    """Each rule with a pair of forms in its text has said something, for 0, 1 and 2 together."""
    ids = {finding.id for count in (0, 1, 2) for finding in find(counted(count).view, eager(count))}
    assert ids >= {
        *("queue_backlog", "queue_failures", "blocked_head", "unacknowledged", "leases_expired"),
        *("tasks_deferred", "lane_backlog", "runs_late", "scheduler_backlog", "jobs_waiting"),
        *("runs_failed", "runs_crashed", "workers_lost", "breaker_failing", "limit_refusals"),
        *("explanations_fail", "source_failed", "gather_failed", "evaluations_waiting"),
        *("brain_behind", "brain_refused", "events_given_up", "publish_failures", "clips_low"),
        *("clips_unanalysed", "campaigns_drafts", "critical_alerts", "many_warnings"),
    }


@pytest.mark.parametrize(
    ("text", "refs", "said"),
    [
        ("There are {1}", ["queue_failed"], "There is 1 dead letter."),
        ("There is {1}", ["queue_pending"], "There are 1,200 pending tasks."),
        ("There are currently {1}", ["queue_failed"], "There is currently 1 dead letter."),
        (
            "{1} and {2} need attention",
            ["queue_pending", "queue_failed"],
            "1,200 pending tasks and 1 dead letter need attention.",
        ),
        ("{1} need attention", ["queue_failed"], "1 dead letter needs attention."),
    ],
)
def test_a_claim_is_written_with_the_verb_that_goes_with_its_values(
    text: str, refs: list[str], said: str
):
    snapshot = make_snapshot({"queue_failed": 1, "queue_pending": 1200})
    evidence = Evidence.of(snapshot, find(snapshot.view, FindingSettings(finding_queue_failed=1)))
    claim = Claim(text=text, refs=tuple(refs), relation="equal")
    assert check_claim(claim, evidence) == said


def test_a_name_with_brackets_stays_as_it_is():
    name = "a [one|many] {value} shop"
    path = "additional_metrics.lanes.odd"
    snapshot = make_snapshot({f"{path}.name": name, f"{path}.waiting": 1})
    (found,) = find(snapshot.view, FindingSettings(finding_lane_waiting=1))
    assert found.text == f"1 task waits in lane {name}; the bound is 1"
