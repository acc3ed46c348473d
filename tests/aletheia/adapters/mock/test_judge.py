from typing import Any

from aletheia.adapters.mock.chat import MOCK_MODEL, MockChat
from aletheia.adapters.mock.judge import SPREAD, WRITERS
from aletheia.gather.generation import GenerationPlan, generate_items
from aletheia.gather.prompts.generate_items import PromptContext
from aletheia.items.dedup import Question
from aletheia.items.duplicate_judge import DuplicateJudge
from aletheia.llm.asking import AskPlan
from aletheia.quality.embedding import QualityCounter
from aletheia.quality.evaluation import evaluate_items
from aletheia.quality.gate import JudgeState
from aletheia.quality.judge import RefinedQuality, refine_quality
from aletheia.quality.rating import QualityItem
from aletheia.quality.scores import PARTS, score_quality
from tests.aletheia.quality.quality_sets import FILLER, GOOD, department, items
from tests.fakes.chat import MemoryAnswers

LEGAL = department()
PLAN = AskPlan("m")


def mock() -> MockChat:
    return MockChat(writers=WRITERS)


async def refine() -> RefinedQuality:
    texts = items(GOOD)
    counted = score_quality(LEGAL, texts)
    return await refine_quality(
        mock(),
        MemoryAnswers(),
        LEGAL,
        texts,
        counted,
        threshold=counted.total,
        stalled_iterations=0,
        state=JudgeState(),
        plan=PLAN,
    )


async def test_mock_judges_differ_a_little_and_are_marked() -> None:
    refined = await refine()
    assert len(refined.votes) >= 3
    assert refined.faults == ()
    assert all(vote.is_mock and vote.model == MOCK_MODEL for vote in refined.votes)
    assert len({tuple(vote.scores.values()) for vote in refined.votes[:3]}) == 3
    assert all(reason.startswith("Mock: ") for reason in refined.votes[0].reasons.values())
    assert abs(refined.total - refined.counted.total) <= SPREAD


async def test_the_mock_says_the_same_again() -> None:
    assert (await refine()).to_document() == (await refine()).to_document()


async def test_the_mock_evaluates_with_citations_that_hold() -> None:
    evaluation = await evaluate_items(
        mock(),
        MemoryAnswers(),
        LEGAL,
        items(GOOD),
        counter=QualityCounter(None),
        project_id="p",
        plan=PLAN,
        version="v",
    )
    said = [finding for finding in evaluation["findings"] if finding["source"] == "judge"]
    assert len(said) == 1
    assert said[0]["text"].startswith("Mock: ")
    assert [suggestion["source"] for suggestion in evaluation["suggestions"]].count("judge") == 1
    assert evaluation["faults"] == []


async def test_the_mock_tells_good_items_from_filler() -> None:
    async def evaluate(texts: Any) -> float:
        found = await evaluate_items(
            mock(),
            MemoryAnswers(),
            LEGAL,
            items(texts),
            counter=QualityCounter(None),
            project_id="p",
            plan=PLAN,
            version="v",
        )
        return found["score"]

    assert await evaluate(GOOD) > await evaluate(FILLER) + 50


async def test_the_mock_gives_verdicts_on_pairs() -> None:
    text = "The clerk files every contract by date on the first Monday of the month."
    again = "In practice: the clerk files every contract by date on the first Monday of each month."
    pairs = [
        ("same", again, text),
        ("other", "Trademarks are watched by the assistant.", text),
        ("number", text.replace("first", "3"), text.replace("first", "4")),
    ]
    judge = DuplicateJudge(mock(), MemoryAnswers(), plan=PLAN)
    verdicts = await judge([Question(*pair[:1], "n", "o", *pair[1:]) for pair in pairs])
    assert [verdict and verdict.is_duplicate for verdict in verdicts] == [True, False, False]
    assert all(verdict is not None and verdict.reason.startswith("Mock: ") for verdict in verdicts)


async def test_the_mocks_own_items_reach_the_threshold_and_further_batches_add_to_it() -> None:
    texts: list[QualityItem] = []
    totals: list[float] = []
    for iteration in range(1, 6):
        batch = await generate_items(
            mock(), MemoryAnswers(), LEGAL, iteration, PromptContext(), plan=GenerationPlan("m")
        )
        texts += [
            QualityItem(f"{iteration}-{place}", one.content, one.summary)
            for place, one in enumerate(batch.items)
        ]
        totals.append(score_quality(LEGAL, texts).total)
    assert LEGAL.quality_threshold <= totals[0] < totals[-1]
    assert set(PARTS) == set(score_quality(LEGAL, texts).scores)
