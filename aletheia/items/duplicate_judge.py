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

    A pair with a saved answer is not asked about again, in any batch or run. Without a readable
    answer there is no verdict, and the threshold decides.

    Args:
        chat: the model that judges.
        answers: saves the answers of a project, under `duplicate-{key}`.
        plan: how it is asked.
        max_open: questions asked at the same time.
    """

    def __init__(
        self, chat: ChatModel, answers: AnswerLog, *, plan: AskPlan, max_open: int = 4
    ) -> None:
        self._chat = chat
        self._answers = answers
        self._plan = plan
        self._max_open = max_open

    async def judge(self, questions: Sequence[Question]) -> list[Verdict | None]:
        """Return a verdict for each question, in order; `None` where there is none.

        Raises:
            AletheiaError: the log of answers is out of reach.
        """
        limit = asyncio.Semaphore(self._max_open)

        async def ask(question: Question) -> Verdict | None:
            async with limit:
                return await self._ask(question)

        # Two pairs of the same two texts have one key, and one verdict.
        unique = list({question.key: question for question in questions}.values())
        outcomes = await asyncio.gather(*map(ask, unique), return_exceptions=True)
        verdicts: dict[str, Verdict | None] = {}
        for question, outcome in zip(unique, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                raise outcome
            verdicts[question.key] = outcome
        return [verdicts[question.key] for question in questions]

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
    """Return the verdict in an answer.

    Raises:
        UnreadableAnswer: it holds no verdict.
    """
    check_finish(completion)
    said = read_answer(completion.text, JudgedPair)
    return Verdict(said.is_duplicate, completion.model, said.reason[:MAX_REASON_CHARS])
