"""A model that decides the grey zone of deduplication (SPEC §4, Dedup)."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from aletheia.errors import AletheiaError
from aletheia.items.duplicates import Question, Verdict
from aletheia.items.prompts.judge_duplicate import FORM, JudgedPair, build_prompt
from aletheia.llm.answers import AnswerLog
from aletheia.llm.asking import AskPlan, ask_once, check_finish
from aletheia.llm.messages import Completion
from aletheia.llm.ports import ChatModel
from aletheia.llm.structured import read_answer

log = logging.getLogger(__name__)

MAX_REASON_CHARS: Final = 300


class DuplicateJudge:
    """Asks a model about each pair on its own; a `Judge` of `aletheia.items.dedup`.

    A pair whose answer is kept is not asked about again, in whatever batch or run it comes up.
    Where there is no answer, or none that can be read, there is no verdict, and the threshold
    decides.

    Args:
        chat: what judges.
        answers: keeps the answers of a project, under `duplicate-{key}`.
        plan: how it is asked.
        at_once: questions in flight.
    """

    def __init__(
        self, chat: ChatModel, answers: AnswerLog, *, plan: AskPlan, at_once: int = 4
    ) -> None:
        self._chat = chat
        self._answers = answers
        self._plan = plan
        self._at_once = at_once

    async def judge(self, questions: Sequence[Question]) -> list[Verdict | None]:
        """Answer questions in their order; `None` where there is no verdict to be had.

        Raises:
            AletheiaError: the log of answers is out of reach.
        """
        room = asyncio.Semaphore(self._at_once)

        async def ask(question: Question) -> Verdict | None:
            async with room:
                return await self._ask(question)

        # Two pairs of the same two texts have one key, and one verdict.
        unique = list({one.key: one for one in questions}.values())
        outcomes = await asyncio.gather(*map(ask, unique), return_exceptions=True)
        verdicts: dict[str, Verdict | None] = {}
        for question, outcome in zip(unique, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                raise outcome
            verdicts[question.key] = outcome
        return [verdicts[one.key] for one in questions]

    async def _ask(self, question: Question) -> Verdict | None:
        step = f"duplicate-{question.key}"
        messages = build_prompt(question.new_excerpt, question.other_excerpt)
        outcome = await ask_once(self._chat, self._answers, step, messages, FORM, plan=self._plan)
        try:
            if isinstance(outcome, AletheiaError):
                raise outcome
            return _read_verdict(outcome)
        except AletheiaError as error:
            log.warning("no verdict on %r and %r: %s", question.new_id, question.other_id, error)
            return None


def _read_verdict(completion: Completion) -> Verdict:
    """Read an answer.

    Raises:
        UnreadableAnswer: it holds no verdict.
    """
    check_finish(completion)
    said = read_answer(completion.text, JudgedPair)
    return Verdict(said.is_duplicate, completion.model, said.reason[:MAX_REASON_CHARS])
