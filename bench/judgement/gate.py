"""The gate as a run meets it: the same items, iteration after iteration, and a noisy judge."""

import json
import random
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from aletheia.items.departments import Department
from aletheia.llm.asking import AskPlan
from aletheia.llm.messages import ChatRequest, Completion
from aletheia.llm.prices import Tokens
from aletheia.quality.gate import JudgeState
from aletheia.quality.judge import refine_quality
from aletheia.quality.prompts.judge_quality import VOTES
from aletheia.quality.rating import QualityItem
from aletheia.quality.scores import PARTS, PartScore, Quality
from bench.dedup_corpus import NoAnswers
from bench.judgement.material import make_department, make_items

THRESHOLD: Final = 80.0
SIGMA: Final = 10.0
TRUE_SCORES: Final = (60.0, 70.0, 75.0, 85.0, 90.0, 95.0)
"""At 5 points from the threshold, and farther."""

ITERATIONS: Final = 12
"""Of a department at most: a run of 50 over four of them."""

RUNS: Final = 500
"""Of each true score and each kind of noise."""

AGREEING_GOOD: Final = 88.0
AGREEING_THIN: Final = 45.0
"""What a judge that agrees with the rubric says of each part: the middle of the grade's range."""


@dataclass(slots=True)
class NoisyJudge:
    """A chat model that answers with a true score and noise: no model."""

    truth: float
    noise: Callable[[], Sequence[float]]  # of the four parts
    provider: str = "bench"
    is_mock: bool = True
    asked: int = 0

    async def complete(self, request: ChatRequest) -> Completion:
        """Score the four parts."""
        self.asked += 1
        parts = {
            part: {"score": min(100.0, max(0.0, self.truth + noise)), "reason": "with noise"}
            for part, noise in zip(PARTS, self.noise(), strict=True)
        }
        text = json.dumps(parts)
        return Completion(text, "stop", "bench", request.model, "bench", Tokens(1, 1))


class _Constant:
    """The same error in all answers of a run."""

    def __init__(self, error: float) -> None:
        self._error = error

    def __call__(self) -> Sequence[float]:
        return [self._error] * len(PARTS)


class _Rounds:
    """The same error in the answers of a round, three of them, and another in the next."""

    def __init__(self, draw: random.Random) -> None:
        self._draw, self._given, self._error = draw, 0, 0.0

    def __call__(self) -> Sequence[float]:
        if self._given % VOTES == 0:
            self._error = self._draw.gauss(0, SIGMA)
        self._given += 1
        return [self._error] * len(PARTS)


async def pass_gate(
    department: Department,
    items: Sequence[QualityItem],
    counted: Quality,
    agreeing: float,
    threshold: float,
) -> float:
    """Return the highest score of a run with a judge that always says the same."""
    judge = NoisyJudge(agreeing, lambda: (0.0,) * len(PARTS))
    totals = [total async for total in _iterate(department, items, counted, judge, threshold)]
    return max(totals)


async def _iterate(
    department: Department,
    items: Sequence[QualityItem],
    counted: Quality,
    judge: NoisyJudge,
    threshold: float,
) -> AsyncGenerator[float]:
    state = JudgeState()
    for number in range(ITERATIONS):
        refined = await refine_quality(
            judge,
            NoAnswers(),
            department,
            items,
            counted,
            threshold=threshold,
            stalled_iterations=number,
            state=state,
            plan=AskPlan("bench"),
        )
        state = refined.state
        yield refined.total


async def measure_gate() -> tuple[dict[str, float], dict[str, Any]]:
    """Simulate departments on either side of the threshold to the end of their run."""
    draw = random.Random(11)
    kinds: Mapping[str, Callable[[], Callable[[], Sequence[float]]]] = {
        # So that the whole has this deviation, with parts of 40, 30, 20 and 10 %.
        "independent": lambda: lambda: [draw.gauss(0, SIGMA / 0.3**0.5) for _ in PARTS],
        "common to the parts": lambda: lambda: [draw.gauss(0, SIGMA)] * len(PARTS),
        "common to a round": lambda: _Rounds(draw),
        "common to a run": lambda: _Constant(draw.gauss(0, SIGMA)),
    }
    department = make_department("Bench", "Contracts, deliveries and complaints.")
    items = make_items([f"Item {number} of the bench." for number in range(8)])
    wrong: dict[str, float] = {}
    asked: list[int] = []
    for kind, noise in kinds.items():
        for truth in TRUE_SCORES:
            counted = Quality({part: PartScore(truth, {}) for part in PARTS}, len(items))
            failures = 0
            for _ in range(RUNS):
                judge = NoisyJudge(truth, noise())
                has_passed = False
                async for total in _iterate(department, items, counted, judge, THRESHOLD):
                    if total >= THRESHOLD:
                        has_passed = True
                        break
                failures += has_passed != (truth >= THRESHOLD)
                if judge.asked:
                    asked.append(judge.asked)
            wrong[f"{truth:g} ({kind})"] = failures / RUNS
    figures = {"gate_wrong": max(wrong.values()), "judge_answers": float(median(asked))}
    return figures, {"gate_wrong_by_score": wrong}
