"""A model's opinion on quality, and how far it is followed (SPEC §4, Quality).

A judge is asked near the threshold, or when nothing moves: three times at once within `NEAR_WITHIN`
points, else once. A department whose mean has reached the threshold, but whose bound has not, gets
further rounds over the same items until either is decided (`gate`): so it passes or fails on what
it is, and not on how often a judge was asked. An answer that is missing (none was given, or it
cannot be read) changes nothing; where no judge answers at all, the counted score decides.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from aletheia.errors import AletheiaError, Deferred
from aletheia.items.departments import Department
from aletheia.llm.answers import SavedAnswers
from aletheia.llm.asking import AskPlan, ask_once, check_finish
from aletheia.llm.json_text import UnreadableAnswer
from aletheia.llm.messages import ChatModel, Completion, Fault
from aletheia.llm.structured import MAX_ERROR_CHARS, read_answer
from aletheia.quality.gate import (
    MAX_ANSWERS,
    Estimate,
    JudgeState,
    estimate_quality,
    make_opinion,
)
from aletheia.quality.prompts.judge_quality import (
    FORM,
    VOTES,
    JudgedPart,
    JudgedQuality,
    build_prompt,
)
from aletheia.quality.rating import QualityItem
from aletheia.quality.scores import PARTS, Part, Quality

log = logging.getLogger(__name__)

JUDGED_WITHIN: Final = 10.0
"""Points from the threshold, inclusive, within which a judge is asked (SPEC §4)."""

NEAR_WITHIN: Final = 5.0
"""Points from the threshold, inclusive, within which three are asked (SPEC §4)."""

STALLED_ITERATIONS: Final = 2
"""Iterations without a move of the deterministic score after which a judge is asked (SPEC §4)."""

MAX_JUDGE_ROUNDS: Final = 15
"""Scorings of a run for which a judge is asked (SPEC §4)."""


@dataclass(frozen=True, slots=True)
class Vote:
    """One judge's answer: scores of the parts, 0 to 100, each with its reason in a sentence."""

    step: str
    scores: Mapping[Part, float]
    reasons: Mapping[Part, str]
    model: str
    is_mock: bool

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON."""
        document = asdict(self)
        document["mock"] = document.pop("is_mock")
        return document


@dataclass(frozen=True, slots=True)
class RefinedQuality:
    """A department's quality with judges' opinions in it."""

    counted: Quality
    estimate: Estimate
    asked: int  # how many answers were asked for; 0 if no judge was due
    votes: tuple[Vote, ...]  # those that could be read
    faults: tuple[Fault, ...]  # why the others could not, or why none was asked though one was due
    state: JudgeState  # for the next judgement

    @property
    def scores(self) -> Mapping[Part, float]:
        """The means of the parts, 0 to 100."""
        return self.estimate.scores

    @property
    def total(self) -> float:
        """The whole, 0 to 100: what the gate goes by."""
        return self.estimate.mean

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON: what was counted, what was answered, and the result."""
        return {
            "score": self.total,
            "scores": self.scores,
            "counted": self.counted.to_document(),
            "gate": self.estimate.to_document(),
            "judge": {
                "asked": self.asked,
                "votes": [vote.to_document() for vote in self.votes],
                "faults": [asdict(fault) for fault in self.faults],
            },
        }


def count_votes(score: float, threshold: float, stalled_iterations: int) -> int:
    """Return how many answers are asked for at once: three near the threshold, one, or none."""
    distance = abs(score - threshold)
    if distance <= NEAR_WITHIN:
        return VOTES
    return int(distance <= JUDGED_WITHIN or stalled_iterations >= STALLED_ITERATIONS)


async def refine_quality(
    chat: ChatModel,
    answers: SavedAnswers,
    department: Department,
    items: Sequence[QualityItem],
    counted: Quality,
    *,
    threshold: float,  # 0 to 100; where it is the counted score, three judges are asked
    stalled_iterations: int,  # for how many the counted score has not moved
    state: JudgeState,  # what the last call for this department returned
    plan: AskPlan,
    max_answers: int = MAX_ANSWERS,  # about the department in the run
) -> RefinedQuality:
    """Ask judges where they are due, and estimate the quality from all answers so far.

    A failure of the model changes nothing and is named in `faults`. Answers are saved under
    `judge-1`, `judge-2` and so on.
    """
    panel = _Panel(chat, answers, department, items, plan)
    estimate = estimate_quality(counted, state.opinions, items)
    due = _count_due(counted, estimate, threshold, stalled_iterations) if items else 0
    due = min(due, max_answers - state.answers)
    if due > 0 and state.rounds >= MAX_JUDGE_ROUNDS:
        said = f"a run has {MAX_JUDGE_ROUNDS} judge rounds, they are used up"
        panel.faults.append(Fault("no_judge_rounds_left", said))
        due = 0
    rounds = state.rounds
    while due > 0:
        votes = await panel.ask(due)
        if not votes:
            break
        opinion = make_opinion([vote.scores for vote in votes], counted, items)
        state = state.with_opinion(opinion)
        estimate = estimate_quality(counted, state.opinions, items)
        is_open = estimate.mean >= threshold and not estimate.is_assured(threshold)
        due = min(VOTES, max_answers - state.answers) if is_open else 0
    # A judgement is one round of the run, however many answers it took; one in which nothing could
    # be sent cost nothing.
    state = replace(state, rounds=rounds + panel.was_sent)
    return RefinedQuality(
        counted, estimate, panel.asked, tuple(panel.votes), tuple(panel.faults), state
    )


def _count_due(counted: Quality, estimate: Estimate, threshold: float, stalled: int) -> int:
    """Return how many answers are due: by what is counted, or by the mean where that is nearer."""
    nearest = min(counted.total, estimate.mean, key=lambda score: abs(score - threshold))
    return count_votes(nearest, threshold, stalled)


class _Panel:
    """The judges of one scoring; collects what they answer."""

    def __init__(
        self,
        chat: ChatModel,
        answers: SavedAnswers,
        department: Department,
        items: Sequence[QualityItem],
        plan: AskPlan,
    ) -> None:
        self._chat, self._answers, self._plan = chat, answers, plan
        self._department, self._items = department, items
        self.asked = 0
        self.votes: list[Vote] = []
        self.faults: list[Fault] = []
        self.was_sent = False

    async def ask(self, count: int) -> list[Vote]:
        """Ask so many judges at once; return the answers that could be read."""
        steps = {f"judge-{vote}": vote for vote in range(self.asked + 1, self.asked + count + 1)}
        self.asked += count
        asked = {step: asyncio.ensure_future(self._ask(step, vote)) for step, vote in steps.items()}
        await asyncio.gather(*asked.values(), return_exceptions=True)
        outcomes = {step: answer.result() for step, answer in asked.items()}
        faults = [
            Fault(outcome.code, f"{step}: {outcome}"[:MAX_ERROR_CHARS])
            for step, outcome in outcomes.items()
            if isinstance(outcome, AletheiaError)
        ]
        if faults:
            said = f"{len(faults)} of {count} judges of {self._department.slug!r} gave no score"
            log.warning("%s: %s", said, faults[0].message)
        votes = [outcome for outcome in outcomes.values() if isinstance(outcome, Vote)]
        self.faults += faults
        self.votes += votes
        were_sent = [not isinstance(outcome, Deferred) for outcome in outcomes.values()]
        self.was_sent = self.was_sent or any(were_sent)
        return votes

    async def _ask(self, step: str, vote: int) -> Vote | AletheiaError:
        messages = build_prompt(self._department, self._items, vote=vote)
        outcome = await ask_once(self._chat, self._answers, step, messages, FORM, plan=self._plan)
        try:
            return outcome if isinstance(outcome, AletheiaError) else _read_vote(step, outcome)
        except UnreadableAnswer as error:
            return error


def _read_vote(step: str, completion: Completion) -> Vote:
    check_finish(completion)
    answer = read_answer(completion.text, JudgedQuality, is_cut_off=completion.finish == "length")
    judged: dict[Part, JudgedPart] = {part: getattr(answer, part) for part in PARTS}
    return Vote(
        step=step,
        scores={part: said.score for part, said in judged.items()},
        reasons={part: said.reason for part, said in judged.items()},
        model=completion.model,
        is_mock=completion.is_mock,
    )
