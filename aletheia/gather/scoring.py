"""The quality of a department within a run: counted, and refined by a judge where one is due."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from aletheia.gather.progress import Run
from aletheia.items.content import SavedItem
from aletheia.llm.answers import SavedAnswers
from aletheia.llm.asking import AskPlan
from aletheia.llm.messages import ChatModel
from aletheia.quality.embedding import QualityCounter
from aletheia.quality.gate import JudgeState
from aletheia.quality.judge import refine_quality
from aletheia.quality.rating import QualityItem

_MIN_MOVE: Final = 0.005
"""Scores are rounded to two digits."""


@dataclass(frozen=True, slots=True)
class Scored:
    """How good a department is."""

    score: float  # 0 to 100
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])  # what it rests on, JSON
    notes: Mapping[str, Any] = field(default_factory=dict[str, Any])  # for the next scoring, JSON


class QualityScorer:
    """Counts, and asks a judge, where there is one and it is due."""

    def __init__(
        self, counter: QualityCounter, chat: ChatModel | None = None, plan: AskPlan | None = None
    ) -> None:
        self._counter, self._chat, self._plan = counter, chat, plan

    async def score(
        self, run: Run, position: int, items: Sequence[SavedItem], answers: SavedAnswers
    ) -> Scored:
        """Score a department over its own saved items, oldest first.

        Raises:
            AletheiaError: nothing can be embedded now.
        """
        progress = run.progress.departments[position]
        rows = [QualityItem(item.id, item.content, item.summary) for item in items]
        counted = await self._counter.count(progress.department, rows)
        notes: dict[str, Any] = {"counted": counted.total}
        if self._chat is None or self._plan is None:
            return Scored(counted.total, counted.to_document(), notes)
        refined = await refine_quality(
            self._chat,
            answers,
            progress.department,
            rows,
            counted,
            threshold=progress.threshold,
            stalled_iterations=_count_stalled(
                [
                    *(float(notes["counted"]) for notes in progress.notes if "counted" in notes),
                    counted.total,
                ]
            ),
            state=_judge_state(run, position),
            plan=self._plan,
        )
        notes["judge"] = asdict(refined.state)
        notes["gate"] = refined.estimate.to_document()
        return Scored(refined.total, refined.to_document(), notes)


def _judge_state(run: Run, position: int) -> JudgeState:
    """Return the state that the last judgement of the run left."""
    for place in range(position, -1, -1):
        for notes in reversed(run.progress.departments[place].notes):
            if "judge" in notes:
                state = JudgeState.from_document(**notes["judge"])
                # Another department has the rounds of the run, and opinions of its own.
                return state if place == position else JudgeState(state.rounds)
    return JudgeState()


def _count_stalled(scores: Sequence[float]) -> int:
    """Return for how many scorings in a row the last score has not moved."""
    earlier, last = scores[:-1], scores[-1]
    for stalled, score in enumerate(reversed(earlier)):
        if abs(score - last) > _MIN_MOVE:
            return stalled
    return len(earlier)
