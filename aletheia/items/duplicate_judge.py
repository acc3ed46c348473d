"""A model that decides the grey zone of deduplication (SPEC §4, Dedup)."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from aletheia.errors import AletheiaError
from aletheia.items.dedup import Question, Verdict
from aletheia.items.prompts.judge_duplicate import FORM, JudgedPair, build_prompt
from aletheia.llm.answers import SavedAnswers
from aletheia.llm.asking import AskPlan, ask_once, check_finish
from aletheia.llm.messages import ChatModel
from aletheia.llm.structured import read_answer

log = logging.getLogger(__name__)

MAX_OPEN: Final = 4
"""Questions asked at the same time."""

MAX_REASON_CHARS: Final = 300


class DuplicateJudge:
    """Asks a model about each pair on its own; a `Judge`.

    A pair that is called a duplicate is asked about once more, with its texts in the other order:
    what is dropped for an order that one of the texts gives, or for which one stands first, would
    be lost. Where the answers differ there is no verdict, nor where one cannot be read.

    A pair with a saved answer is not asked about again, in any batch or run. Answers are saved by
    project, under `duplicate-{key}` and `duplicate-{key}-turned`.
    """

    def __init__(self, chat: ChatModel, answers: SavedAnswers, *, plan: AskPlan) -> None:
        self._chat, self._answers, self._plan = chat, answers, plan

    async def __call__(self, questions: Sequence[Question]) -> list[Verdict | None]:
        """Return a verdict for each question, in order; `None` where there is none."""
        limit = asyncio.Semaphore(MAX_OPEN)

        async def ask(question: Question) -> Verdict | None:
            async with limit:
                return await self._ask(question)

        # Two pairs of the same two texts have one key, and one verdict.
        unique = {question.key: question for question in questions}
        asked = {key: asyncio.ensure_future(ask(question)) for key, question in unique.items()}
        await asyncio.gather(*asked.values(), return_exceptions=True)
        return [asked[question.key].result() for question in questions]

    async def _ask(self, question: Question) -> Verdict | None:
        new, other = question.new_excerpt, question.other_excerpt
        verdict = await self._judge(question, f"duplicate-{question.key}", new, other)
        if verdict is None or not verdict.is_duplicate:
            return verdict
        turned = await self._judge(question, f"duplicate-{question.key}-turned", other, new)
        if turned is not None and not turned.is_duplicate:
            said = "no verdict on %r and %r: the judge says otherwise in the other order"
            log.warning(said, question.new_id, question.other_id)
        return verdict if turned is not None and turned.is_duplicate else None

    async def _judge(self, question: Question, step: str, new: str, other: str) -> Verdict | None:
        messages = build_prompt(new, other)
        outcome = await ask_once(self._chat, self._answers, step, messages, FORM, plan=self._plan)
        try:
            if isinstance(outcome, AletheiaError):
                raise outcome
            check_finish(outcome)
            said = read_answer(outcome.text, JudgedPair, is_cut_off=outcome.finish == "length")
        except AletheiaError as error:
            log.warning("no verdict on %r and %r: %s", question.new_id, question.other_id, error)
            return None
        return Verdict(said.is_duplicate, outcome.model, said.reason[:MAX_REASON_CHARS])
