"""The quality of a department within a run: counted, and refined by a judge where one is due."""

from collections.abc import Sequence
from typing import Any, Final

from aletheia.gather.models import Run
from aletheia.gather.ports import Scored
from aletheia.items.content import SavedItem
from aletheia.llm.answers import SavedAnswers
from aletheia.llm.asking import AskPlan
from aletheia.llm.messages import ChatModel
from aletheia.quality.judge import JudgeState, refine_quality
from aletheia.quality.scores import QualityItem, score_quality

_MIN_MOVE: Final = 0.005
"""Scores are rounded to two digits."""


class QualityScorer:
    """A `Scorer` that counts, and asks a judge, where there is one and it is due."""

    def __init__(self, chat: ChatModel | None = None, plan: AskPlan | None = None) -> None:
        self._chat, self._plan = chat, plan

    async def score(
        self, run: Run, position: int, items: Sequence[SavedItem], answers: SavedAnswers
    ) -> Scored:
        """Score a department; see `Scorer.score`."""
        progress = run.progress.departments[position]
        rows = [QualityItem(item.id, item.content, item.summary) for item in items]
        counted = score_quality(progress.department, rows)
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
        notes["judge"] = refined.state.to_document()
        return Scored(refined.total, refined.to_document(), notes)


def _judge_state(run: Run, position: int) -> JudgeState:
    """Return the state that the last judgement of the run left."""
    for place in range(position, -1, -1):
        for notes in reversed(run.progress.departments[place].notes):
            if "judge" in notes:
                state = JudgeState.from_document(notes["judge"])
                return state if place == position else state.for_department()
    return JudgeState()


def _count_stalled(scores: Sequence[float]) -> int:
    """Return for how many scorings in a row the last score has not moved."""
    earlier, last = scores[:-1], scores[-1]
    for stalled, score in enumerate(reversed(earlier)):
        if abs(score - last) > _MIN_MOVE:
            return stalled
    return len(earlier)
