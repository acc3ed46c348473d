"""One provider first, another one while it is down."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from aletheia.adapters.embedding.hybrid import ANY, HybridEmbedder
from aletheia.analysis.ports import Embedding
from aletheia.errors import (
    AletheiaError,
    BreakerOpen,
    BudgetExceeded,
    InvalidTask,
    RateLimited,
    Unauthorized,
    Unavailable,
)
from tests.fakes.embedder import FakeEmbedder

NOW = datetime(2026, 11, 18, tzinfo=UTC)
DOWN = Unavailable("ollama", "connection lost")
OPEN = BreakerOpen("ollama", NOW + timedelta(seconds=60))


class Pair:
    """A hybrid and its two providers."""

    def __init__(self, *, has_second: bool = True, **stand_ins: str) -> None:
        self.first = FakeEmbedder("ollama", ("small", "big"))
        self.second = FakeEmbedder("openai", ("large-3", "small-3"))
        self.hybrid = HybridEmbedder(
            self.first,
            self.second if has_second else None,
            default_model="small",
            default_stand_in="small-3",
            stand_ins=stand_ins,
            clock=NOW.timestamp,
        )

    async def embed(self, model: str | None, texts: Sequence[str]) -> dict[int, Embedding]:
        """Embed texts; the embeddings by index."""
        found: dict[int, Embedding] = {}
        async for answered in self.hybrid.embed(self.hybrid.canonical_model(model), texts):
            for answer in answered:
                assert isinstance(answer.result, Embedding)
                assert answer.index not in found
                found[answer.index] = answer.result
        return found


async def test_the_first_is_asked_as_long_as_it_is_there():
    pair = Pair()
    found = await pair.embed(None, ["a", "bb", "ccc"])
    assert [found[i].vector[0] for i in range(3)] == [1, 2, 3]
    assert {(answer.provider, answer.model, answer.is_fallback) for answer in found.values()} == {
        ("ollama", "small", False)
    }
    assert pair.second.asked == []


@pytest.mark.parametrize("problem", [DOWN, OPEN, Unavailable("ollama", "busy", status=503)])
async def test_another_model_stands_in_where_the_task_names_none(problem: AletheiaError):
    pair = Pair()
    pair.first.breaks = [(problem, 0)]
    found = await pair.embed(None, ["a", "bb"])
    assert [found[i].vector[0] for i in range(2)] == [1, 2]
    assert {(answer.provider, answer.model, answer.is_fallback) for answer in found.values()} == {
        ("openai", "small-3", True)
    }


async def test_only_what_was_not_done_goes_to_the_second():
    pair = Pair()
    pair.first.breaks = [(DOWN, 2)]
    found = await pair.embed(None, ["a", "bb", "ccc"])
    assert pair.second.asked == [("small-3", ["a"])]
    assert [found[i].provider for i in range(3)] == ["openai", "ollama", "ollama"]
    assert [found[i].vector[0] for i in range(3)] == [1, 2, 3]


async def test_a_named_model_waits_unless_the_operator_mapped_it():
    pair = Pair()
    pair.first.breaks = [(DOWN, 0)]
    with pytest.raises(Unavailable, match="connection lost"):
        await pair.embed("small", ["a"])
    assert pair.second.asked == []
    mapped = Pair(SMALL="large-3")
    mapped.first.breaks = [(DOWN, 0), (DOWN, 0)]
    assert (await mapped.embed("small", ["a"]))[0].model == "large-3"
    assert (await mapped.embed(None, ["a"]))[0].model == "large-3"


async def test_tasks_that_name_the_default_model_are_not_mixed_with_those_that_name_none():
    hybrid = Pair().hybrid
    assert hybrid.canonical_model(None) == ANY
    assert hybrid.canonical_model("small") == "small"
    with pytest.raises(InvalidTask, match="huge"):
        hybrid.canonical_model("huge")


@pytest.mark.parametrize(
    "error",
    [
        InvalidTask("model_not_found", "no such model"),
        RateLimited("ollama", NOW),
        BudgetExceeded("BUDGET_TOKENS_PER_DAY", 1, 1, 1, None),
        Unavailable("ollama", "slow down", 3, 429),
    ],
    ids=lambda error: error.code,
)
async def test_what_is_no_outage_never_falls_back(error: AletheiaError):
    pair = Pair()
    pair.first.breaks = [(error, 0)]
    with pytest.raises(type(error)):
        await pair.embed(None, ["a"])
    assert pair.second.asked == []


@pytest.mark.parametrize(
    ("refusal", "wait_s"),
    [
        (RateLimited("openai", NOW + timedelta(seconds=20)), 20),
        (RateLimited("openai", NOW + timedelta(seconds=90)), 60),
        (BudgetExceeded("BUDGET_USD_PER_RUN", 1, 1, 1, None), 60),
        (Unauthorized("openai", 401), 60),
    ],
)
async def test_when_neither_can_be_had_both_are_named_and_the_sooner_one_awaited(
    refusal: AletheiaError, wait_s: float
):
    pair = Pair()
    pair.first.breaks, pair.second.breaks = [(OPEN, 0)], [(refusal, 0)]
    with pytest.raises(Unavailable, match=r"ollama.*openai does not stand in") as caught:
        await pair.embed(None, ["a"])
    assert caught.value.retry_after_s == wait_s


async def test_a_first_that_may_be_back_any_moment_is_not_waited_for_longer_than_usual():
    pair = Pair()
    pair.first.breaks = [(DOWN, 0)]
    pair.second.breaks = [(RateLimited("openai", NOW + timedelta(days=25)), 0)]
    with pytest.raises(Unavailable) as caught:
        await pair.embed(None, ["a"])
    assert caught.value.retry_after_s is None


async def test_a_store_that_is_lost_is_no_outage_of_the_first():
    pair = Pair()
    pair.first.breaks = [(Unavailable("store", "disk full"), 0)]
    with pytest.raises(Unavailable, match="store"):
        await pair.embed(None, ["a"])
    assert pair.second.asked == []


async def test_a_stand_in_that_does_not_exist_fails_nobody():
    pair = Pair()
    pair.first.breaks = [(DOWN, 0)]
    pair.second.breaks = [(InvalidTask("model_not_found", "no such model"), 0)]
    with pytest.raises(Unavailable, match="no such model"):
        await pair.embed(None, ["a"])


async def test_a_text_too_long_for_the_stand_in_waits_for_the_first():
    pair = Pair()
    pair.first.breaks = [(DOWN, 0)]
    pair.second.faults = {"long": InvalidTask("input_too_long", "too long")}
    found: list[int] = []
    with pytest.raises(Unavailable, match="connection lost"):
        async for answered in pair.hybrid.embed(ANY, ["a", "long", "b"]):
            found += [answer.index for answer in answered]
    assert sorted(found) == [0, 2]


async def test_without_a_second_everything_waits():
    pair = Pair(has_second=False)
    pair.first.breaks = [(DOWN, 0)]
    with pytest.raises(Unavailable):
        await pair.embed(None, ["a"])
    pair.first.holds = [OPEN]
    with pytest.raises(BreakerOpen):
        await pair.hybrid.capacity(ANY, ["a"])


async def test_capacity_is_the_seconds_while_the_firsts_breaker_is_open():
    pair = Pair()
    pair.first.holds, pair.second.max_texts = [OPEN, OPEN], 1
    assert await pair.hybrid.capacity(ANY, ["a", "b"]) == 1
    with pytest.raises(BreakerOpen):
        await pair.hybrid.capacity("small", ["a"])
    pair.first.holds, pair.second.holds = [OPEN], [RateLimited("openai", NOW)]
    with pytest.raises(RateLimited):
        await pair.hybrid.capacity(ANY, ["a"])
    later = RateLimited("openai", NOW + timedelta(hours=20))
    pair.first.holds, pair.second.holds = [OPEN], [later]
    with pytest.raises(BreakerOpen):
        await pair.hybrid.capacity(ANY, ["a"])
    pair.first.holds = [RateLimited("ollama", NOW)]
    with pytest.raises(RateLimited, match="ollama"):
        await pair.hybrid.capacity(ANY, ["a"])
