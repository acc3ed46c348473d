"""When a model is asked, what that may cost, and what reaches it."""

import json
from pathlib import Path
from typing import Any

import pytest

from aletheia.adapters.mock.chat import MockChat
from aletheia.adapters.mock.reasoning import WRITERS
from aletheia.documents import Documents
from aletheia.errors import RateLimited, Unavailable
from aletheia.llm.messages import read_quoted
from aletheia.reasoning.aliases import Aliases
from aletheia.reasoning.catalogue import listed_paths
from aletheia.reasoning.claims import Claim, Relation
from aletheia.reasoning.explaining import (
    Explained,
    Explainer,
    check_explanation,
    describe_findings,
    describe_values,
)
from aletheia.reasoning.findings import find, score_of
from aletheia.reasoning.prompts.explain_findings import (
    ClaimedAdvice,
    Explanation,
    build_prompt,
)
from aletheia.reasoning.references import Evidence
from aletheia.reasoning.settings import FindingSettings, ReasoningSettings
from tests.fakes.chat import ScriptedChat
from tests.fakes.clock import MovableClock
from tests.fakes.reasoning import free_of_charge, make_snapshot

BUSY = {"queue_pending": 1200}

SNAPSHOT = Path(__file__).with_name("prompts") / "explain_findings.txt"

ANSWER: dict[str, Any] = {
    "insights": [{"text": "There are {1}", "refs": ["queue_pending"], "relation": "equal"}],
    "concerns": [
        {
            "text": "{1} is above {2}",
            "refs": ["queue_pending", "bounds.queue_backlog"],
            "relation": "above",
        },
        {"text": "all {1}", "refs": ["queue_pending"], "relation": "equal"},
    ],
    "positives": [],
    "advice": [],
    "order": ["queue_backlog", "made_up"],
    "score_shift": 40.0,
}


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


def make_explainer(
    documents: Documents, chat: Any, clock: MovableClock, **settings: Any
) -> Explainer:
    return Explainer(
        documents, chat, "m", ReasoningSettings(**settings), free_of_charge, clock.both
    )


def evidence(values: dict[str, Any] | None = None) -> Evidence:
    snapshot = make_snapshot(BUSY if values is None else values)
    return Evidence.of(snapshot, find(snapshot.view, FindingSettings()))


async def explain(explainer: Explainer, values: dict[str, Any] | None = None) -> Explained:
    known = evidence(values)
    return await explainer.explain(known, score_of(known.findings.values()))


def test_the_prompt_is_as_it_was():
    known = evidence()
    aliases = Aliases.of(listed_paths(known.view))
    messages = build_prompt(
        describe_values(known, aliases), describe_findings(known, aliases), 93.0
    )
    written = "\n\n".join(f"[{message.role}]\n{message.text}" for message in messages)
    assert written + "\n" == SNAPSHOT.read_text("utf-8")


async def test_what_holds_is_kept_and_the_rest_is_counted(
    documents: Documents, clock: MovableClock
):
    explainer = make_explainer(documents, ScriptedChat(json.dumps(ANSWER)), clock)
    explained = await explain(explainer)
    assert explained.insights == ["There are 1,200 pending tasks."]
    assert explained.concerns == ["1,200 pending tasks are above the bound of 1,000."]
    assert explained.dropped == {"quantifier": 1}
    assert explained.order == ["queue_backlog"]
    assert explained.shift == 10, "a model moves the score by at most 10"
    assert explained.model == "m-2026"


def advise(finding: str, text: str, *refs: str, relation: Relation = "equal") -> Explained:
    """Check an answer that advises about a finding, of a system with two."""
    claim = Claim(text=text, refs=refs, relation=relation)
    answer = Explanation(
        insights=(),
        concerns=(),
        positives=(),
        advice=(ClaimedAdvice(finding=finding, claim=claim),),
        order=(),
        score_shift=0.0,
    )
    return check_explanation(answer, evidence({"queue_pending": 1200, "queue_failed": 700}))


@pytest.mark.parametrize(
    ("text", "refs", "relation"),
    [
        ("{1}", ["queue_failures"], "equal"),
        ("{1}", ["queue_failed"], "equal"),
        ("{1} is above {2}", ["queue_failed", "bounds.queue_failures"], "above"),
        ("{1} is below {2}", ["bounds.queue_failures", "queue_failed"], "below"),
    ],
)
def test_the_reason_of_an_advice_is_about_its_finding(
    text: str, refs: list[str], relation: Relation
):
    explained = advise("queue_failures", text, *refs, relation=relation)
    assert list(explained.advice) == ["queue_failures"]
    assert explained.dropped == {}


@pytest.mark.parametrize("ref", ["queue_backlog", "queue_pending", "bounds.queue_backlog"])
def test_a_true_reason_that_is_about_something_else_is_dropped(ref: str):
    explained = advise("queue_failures", "{1}", ref)
    assert (explained.advice, explained.dropped) == ({}, {"wrong_path": 1})


def test_an_answer_of_which_nothing_holds_moves_no_score():
    said = Claim(text="all is 5", refs=("queue_pending",), relation="equal")
    empty = Explanation(
        insights=(said,), concerns=(), positives=(), advice=(), order=(), score_shift=10.0
    )
    explained = check_explanation(empty, evidence())
    assert (explained.kept, explained.shift) == (0, 0.0)


async def test_the_same_findings_are_explained_once_until_they_are_old(
    documents: Documents, clock: MovableClock
):
    chat = ScriptedChat(*[json.dumps(ANSWER)] * 2)
    explainer = make_explainer(documents, chat, clock)
    for _ in range(30):
        await explain(explainer)
        clock.move(seconds=30)
    assert len(chat.requests) == 1
    await explain(explainer)
    assert len(chat.requests) == 2


async def test_an_answer_in_use_is_filled_in_anew(documents: Documents, clock: MovableClock):
    explainer = make_explainer(documents, ScriptedChat(json.dumps(ANSWER)), clock)
    await explain(explainer)
    later = await explain(explainer, {"queue_pending": 1300})
    assert later.insights == ["There are 1,300 pending tasks."]


async def test_an_alias_means_what_it_meant_when_the_model_was_asked(
    documents: Documents, clock: MovableClock
):
    ref = "additional_metrics.breakers.dependency_1.failures"
    answer = {
        **ANSWER,
        "concerns": [],
        "insights": [{"text": "{1}", "refs": [ref], "relation": "equal"}],
    }
    explainer = make_explainer(documents, ScriptedChat(json.dumps(answer)), clock)
    first = await explain(explainer)
    new = {"name": "a new one", "state": "closed", "failures": 2}
    later = await explain(explainer, {**BUSY, "additional_metrics.breakers.a_new_one": new})
    assert first.insights == later.insights == ["1 failure of openai."]


async def test_other_findings_ask_anew(documents: Documents, clock: MovableClock):
    chat = ScriptedChat(*[json.dumps(ANSWER)] * 3)
    explainer = make_explainer(documents, chat, clock)
    for values in (BUSY, {"clips_ready": 3}, BUSY, {"queue_pending": 20_000}):
        await explain(explainer, values)
    assert len(chat.requests) == 3, "flapping between two states is paid for once each"


@pytest.mark.parametrize(
    "reply",
    [
        Unavailable("openrouter", "no route"),
        RateLimited("openai", None),
        "no JSON",
        '{"insights": []}',
        json.dumps({**ANSWER, "score_shift": "many"}),
    ],
)
async def test_a_failure_leaves_the_rules_and_is_not_repeated_at_once(
    documents: Documents, clock: MovableClock, reply: Any
):
    chat = ScriptedChat(reply, json.dumps(ANSWER))
    explainer = make_explainer(documents, chat, clock)
    assert (await explain(explainer)).kept == 0
    clock.move(seconds=20)
    assert (await explain(explainer)).kept == 0
    assert len(chat.requests) == 1
    assert await explainer.read_failures() == 1
    clock.move(seconds=60)
    assert (await explain(explainer)).kept > 0
    assert await explainer.read_failures() == 0


async def test_a_model_that_never_makes_sense_is_asked_ever_less(
    documents: Documents, clock: MovableClock
):
    chat = ScriptedChat(*["no JSON"] * 30)
    explainer = make_explainer(documents, chat, clock)
    for _ in range(2 * 60):
        await explain(explainer)
        clock.move(seconds=30)
    # An hour at pauses of 60, 120, 240, 480 and then 900 s, each at least half of it.
    assert 5 <= len(chat.requests) <= 12
    assert await explainer.read_failures() == len(chat.requests)


async def test_a_day_has_a_cap_of_calls(documents: Documents, clock: MovableClock):
    chat = ScriptedChat(*[json.dumps(ANSWER)] * 9)
    explainer = make_explainer(documents, chat, clock, reasoning_max_calls_per_day=2)
    for count in range(5):
        await explain(
            explainer, {"alerts_warning": 10, **({"clips_ready": 3} if count % 2 else {})}
        )
        clock.move(seconds=901)
    assert len(chat.requests) == 2
    clock.move(days=1)
    await explain(explainer)
    assert len(chat.requests) == 3


async def test_a_day_has_a_cap_of_cost(documents: Documents, clock: MovableClock):
    chat = ScriptedChat(json.dumps(ANSWER))
    explainer = make_explainer(documents, chat, clock, reasoning_usd_per_day=1e-9)
    assert (await explain(explainer)).kept == 0
    assert chat.requests == []


async def test_no_name_and_no_text_of_users_reaches_the_prompt(
    documents: Documents, clock: MovableClock
):
    chat = ScriptedChat(json.dumps(ANSWER))
    canary = "sk-canary-42"
    values = {
        **BUSY,
        "best_clips": {"video": {"name": canary, "score": 1}},
        "recent_events": [{"type": canary}],
        "rule_weights": {canary: 1.0},
        "platform_stats": {canary: {canary: 1.0}},
        f"additional_metrics.breakers.{canary}": {
            "name": canary, "state": "open", "failures": 9, "reason": canary,
        },
        "additional_metrics.intake.unacknowledged": {
            "count": 3, "answer": canary, "said": canary,
        },
        "additional_metrics.intake.clock_ahead": {"owner": canary, "ahead_s": 9.0},
        "additional_metrics.errors": {"platform": canary},
        f"additional_metrics.{canary}": {"secret": 42},
    }  # fmt: skip
    await explain(make_explainer(documents, chat, clock), values)
    (request,) = chat.requests
    assert canary not in request.messages[-1].text
    blocks = read_quoted(request.messages[-1].text)
    assert {"id": "breaker_open", "severity": "high"}.items() <= next(
        it for it in blocks["findings"] if it["id"] == "breaker_open"
    ).items()
    assert request.max_tokens <= 1000
    assert 0.3 <= (request.temperature or 0) <= 0.7


async def test_claims_of_the_mock_hold(documents: Documents, clock: MovableClock):
    explainer = make_explainer(documents, MockChat(writers=WRITERS), clock)
    values = {**BUSY, "additional_metrics.prefect.workers_online": 0, "clips_ready": 3}
    explained = await explain(explainer, values)
    assert explained.dropped == {}
    assert explained.is_mock
    assert "There are 300 tasks reported as succeeded." in explained.insights
    assert "Many tasks are pending because no worker is online." in explained.concerns
