"""Asking a model a question once, with a higher limit if its thoughts spent the first one."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from aletheia.errors import AletheiaError, InvalidTask, Refused, Unavailable
from aletheia.llm.answers import SavedAnswers
from aletheia.llm.json_text import UnreadableAnswer
from aletheia.llm.messages import AnswerForm, ChatModel, ChatRequest, Completion, Message
from aletheia.llm.prices import Tokens
from aletheia.llm.structured import MAX_ERROR_CHARS
from aletheia.llm.thoughts import is_spent

log = logging.getLogger(__name__)

LIMIT_FACTOR: Final = 4
"""Times the tokens of a question's limit, where that was spent before the answer began."""


@dataclass(frozen=True, slots=True)
class AskPlan:
    """How a model is asked for a judgement."""

    model: str
    max_answer_tokens: int = 1200
    temperature: float | None = 0.3  # 0 to 2; `None` leaves it to the provider


async def ask_once(
    chat: ChatModel,
    answers: SavedAnswers,
    step: str,
    messages: tuple[Message, ...],
    form: AnswerForm,
    *,
    plan: AskPlan,
) -> Completion | AletheiaError:
    """Return the answer of a step, the saved one or else a new one, which is saved first.

    An error of the call is returned, one of the log is raised.
    """
    if (saved := await answers.find(step)) is not None:
        return saved
    request = ChatRequest(
        model=plan.model,
        messages=messages,
        form=form,
        max_tokens=plan.max_answer_tokens,
        temperature=plan.temperature,
    )
    try:
        completion = await chat.complete(request)
    except AletheiaError as error:
        return error
    await answers.save(step, completion)
    return completion


def check_finish(completion: Completion) -> None:
    """Check an answer's end. Raises `UnreadableAnswer`: `refused`, or `no_room` to begin it."""
    if completion.finish == "refused":
        said = completion.refusal or "the model, or a filter of its provider, refused to answer"
        raise UnreadableAnswer("refused", said[:MAX_ERROR_CHARS])
    if is_spent(completion):
        said = (
            f"the model had written {completion.used.output:,} tokens, its limit, before its "
            "answer began: it needs a higher limit, or to think less"
        )
        raise UnreadableAnswer("no_room", said)


class WideningChat:
    """A `ChatModel` that asks once more, with a higher limit, if no answer began within it."""

    def __init__(self, chat: ChatModel) -> None:
        self._chat = chat
        self.provider, self.is_mock = chat.provider, chat.is_mock
        self._factors: dict[str, int] = {}

    async def complete(self, request: ChatRequest) -> Completion:
        """Ask a model; see `ChatModel.complete`."""
        factor = self._factors.get(request.model, 1)
        first = await self._chat.complete(_widen(request, factor))
        is_known = self._factors.get(request.model) == factor
        if request.form is None or is_known or not is_spent(first):
            return first
        log.warning(
            "%r has spent %d tokens before its answer began; it is asked once more, for up to %d",
            request.model,
            first.used.output,
            request.max_tokens * LIMIT_FACTOR,
        )
        self._factors[request.model] = LIMIT_FACTOR
        try:
            second = await self._chat.complete(_widen(request, LIMIT_FACTOR))
        except (InvalidTask, Refused, Unavailable) as error:
            if isinstance(error, Unavailable) and error.retry_after_s is not None:
                raise
            log.warning("the limit of %r is not raised: %s", request.model, error)
            self._factors[request.model] = 1
            return first
        used = Tokens(first.used.input + second.used.input, first.used.output + second.used.output)
        return replace(second, used=used)


def _widen(request: ChatRequest, factor: int) -> ChatRequest:
    return replace(request, max_tokens=request.max_tokens * factor)


class NotedFailures:
    """A `ChatModel` that notes, as `first`, the first failure of some kind, and raises it."""

    def __init__(self, chat: ChatModel, is_noted: Callable[[AletheiaError], bool]) -> None:
        self._chat, self._is_noted = chat, is_noted
        self.provider, self.is_mock = chat.provider, chat.is_mock
        self.first: AletheiaError | None = None

    async def complete(self, request: ChatRequest) -> Completion:
        """Ask the model. Raises `AletheiaError`: see `ChatModel.complete`."""
        try:
            return await self._chat.complete(request)
        except AletheiaError as error:
            if self.first is None and self._is_noted(error):
                self.first = error
            raise
