"""A model's opinion on quality, and how far it is followed (SPEC §4, Quality).

The counted score decides. A judge moves it by at most `MAX_SHIFT` points, and never by one answer
alone. Every refined score is the median of three opinions:

    near the threshold   three answers, asked for at the same time
    elsewhere            one answer and those of the two judgements before it

A missing opinion (no answer, an unreadable one, no earlier judgement) is the counted score itself.
So one answer, whatever it says, neither passes a department nor stalls it.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, TypeAlias

from aletheia.errors import AletheiaError, Deferred
from aletheia.items.departments import Department
from aletheia.llm.answers import SavedAnswers
from aletheia.llm.asking import AskPlan, ask_once, check_finish
from aletheia.llm.json_text import UnreadableAnswer
from aletheia.llm.messages import ChatModel, Completion, Fault
from aletheia.llm.structured import MAX_ERROR_CHARS, read_answer
from aletheia.quality.prompts.judge_quality import (
    FORM,
    VOTES,
    JudgedPart,
    JudgedQuality,
    build_prompt,
)
from aletheia.quality.scores import PARTS, Part, Quality, QualityItem, weigh_parts

log = logging.getLogger(__name__)

JUDGED_WITHIN: Final = 10.0
"""Points from the threshold, inclusive, within which a judge is asked (SPEC §4)."""

NEAR_WITHIN: Final = 5.0
"""Points from the threshold, inclusive, within which three are asked (SPEC §4)."""

STALLED_ITERATIONS: Final = 2
"""Iterations without a move of the deterministic score after which a judge is asked (SPEC §4)."""

MAX_JUDGE_ROUNDS: Final = 15
"""Judgements in a run (SPEC §4)."""

MAX_SHIFT: Final = 10.0
"""Points by which a judge moves each part, and so the whole, at most; as far as `JUDGED_WITHIN`,
so that a judge can decide wherever one is asked for its nearness, and nowhere else."""

Shift: TypeAlias = tuple[float, ...]
"""By how much an opinion moves the parts, in their order, points."""

_NO_SHIFT: Final[Shift] = (0.0,) * len(PARTS)


@dataclass(frozen=True, slots=True)
class JudgeState:
    """State that one judgement passes to the next."""

    rounds: int = 0  # judgements of the run so far, over all its departments
    shifts: tuple[Shift, ...] = ()  # of the last two judgements of this department, newest last

    @classmethod
    def from_document(cls, rounds: int, shifts: Sequence[Sequence[float]]) -> "JudgeState":
        """Return what was saved with `asdict`."""
        return cls(rounds, tuple(map(tuple, shifts)))


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
    """A department's quality with a judge's opinion in it."""

    counted: Quality
    scores: Mapping[Part, float]  # of the parts, 0 to 100, after the judge
    asked: int  # how many answers were asked for; 0 if no judge was due
    votes: tuple[Vote, ...]  # those that could be read
    faults: tuple[Fault, ...]  # why the others could not, or why none was asked though one was due
    state: JudgeState  # for the next judgement

    @property
    def total(self) -> float:
        """The whole, 0 to 100."""
        return weigh_parts(self.scores)

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON: what was counted, what was answered, and the result."""
        return {
            "score": self.total,
            "scores": self.scores,
            "counted": self.counted.to_document(),
            "judge": {
                "asked": self.asked,
                "votes": [vote.to_document() for vote in self.votes],
                "faults": [asdict(fault) for fault in self.faults],
            },
        }


def count_votes(counted: float, threshold: float, stalled_iterations: int) -> int:
    """Return how many answers are asked for: three near the threshold, one, or none."""
    distance = abs(counted - threshold)
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
) -> RefinedQuality:
    """Ask a judge where one is due, and move the score within bounds.

    A failure of the model leaves the counted score and is named in `faults`. Answers are saved
    under `judge-1` to `judge-3`.
    """
    due = count_votes(counted.total, threshold, stalled_iterations) if items else 0
    if not due:
        return _leave(counted, state)
    if state.rounds >= MAX_JUDGE_ROUNDS:
        said = f"a run has {MAX_JUDGE_ROUNDS} judge rounds, they are used up"
        return _leave(counted, state, Fault("no_judge_rounds_left", said))
    votes, faults, was_sent = await _collect(chat, answers, department, items, count=due, plan=plan)
    shifts = [_shift_of(vote, counted) for vote in votes]
    # A round in which nothing could be sent cost nothing.
    after = JudgeState(state.rounds + was_sent, state.shifts)
    if not shifts:
        return RefinedQuality(counted, _apply(counted, _NO_SHIFT), due, votes, faults, after)
    earlier = state.shifts if due < VOTES else ()
    chosen = _choose([*shifts, *earlier], counted)
    opinion = chosen if due == VOTES else shifts[0]
    after = replace(after, shifts=(*state.shifts, opinion)[1 - VOTES :])
    return RefinedQuality(counted, _apply(counted, chosen), due, votes, faults, after)


def _leave(counted: Quality, state: JudgeState, *faults: Fault) -> RefinedQuality:
    return RefinedQuality(counted, counted.scores, 0, (), faults, state)


def _shift_of(vote: Vote, counted: Quality) -> Shift:
    """Return the bounded shift of each part."""
    moves = (vote.scores[part] - counted.parts[part].score for part in PARTS)
    return tuple(max(-MAX_SHIFT, min(MAX_SHIFT, move)) for move in moves)


def _choose(shifts: Sequence[Shift], counted: Quality) -> Shift:
    """Return the median of three opinions by their whole score; a missing one shifts nothing.

    Opinions are not mixed part by part: the sum of medians may lie beyond all three.
    """
    opinions = [*shifts, *[_NO_SHIFT] * VOTES][:VOTES]
    ranked = sorted(opinions, key=lambda shift: (weigh_parts(_apply(counted, shift)), shift))
    return ranked[VOTES // 2]


def _apply(counted: Quality, shift: Shift) -> Mapping[Part, float]:
    return {
        part: round(max(0.0, min(100.0, counted.parts[part].score + move)), 2)
        for part, move in zip(PARTS, shift, strict=True)
    }


async def _collect(
    chat: ChatModel,
    answers: SavedAnswers,
    department: Department,
    items: Sequence[QualityItem],
    *,
    count: int,
    plan: AskPlan,
) -> tuple[tuple[Vote, ...], tuple[Fault, ...], bool]:
    """Ask judges at once; return what could be read, the other faults, and whether any was sent."""

    async def ask(step: str, vote: int) -> Vote | AletheiaError:
        messages = build_prompt(department, items, vote=vote)
        outcome = await ask_once(chat, answers, step, messages, FORM, plan=plan)
        try:
            return outcome if isinstance(outcome, AletheiaError) else _read_vote(step, outcome)
        except UnreadableAnswer as error:
            return error

    steps = {f"judge-{vote}": vote for vote in range(1, count + 1)}
    asked = {step: asyncio.ensure_future(ask(step, vote)) for step, vote in steps.items()}
    await asyncio.gather(*asked.values(), return_exceptions=True)
    outcomes = {step: answer.result() for step, answer in asked.items()}
    votes = tuple(outcome for outcome in outcomes.values() if isinstance(outcome, Vote))
    faults = tuple(
        Fault(outcome.code, f"{step}: {outcome}"[:MAX_ERROR_CHARS])
        for step, outcome in outcomes.items()
        if isinstance(outcome, AletheiaError)
    )
    if faults:
        said = f"{len(faults)} of {count} judges of {department.slug!r} gave no score"
        log.warning("%s: %s", said, faults[0].message)
    was_sent = not all(isinstance(outcome, Deferred) for outcome in outcomes.values())
    return votes, faults, was_sent


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
