"""Asking a model a question once: a saved answer is not asked for again."""

from dataclasses import dataclass

from aletheia.errors import AletheiaError
from aletheia.llm.answers import AnswerLog
from aletheia.llm.json_text import UnreadableAnswer
from aletheia.llm.messages import AnswerForm, ChatRequest, Completion, Message
from aletheia.llm.ports import ChatModel
from aletheia.llm.structured import MAX_ERROR_CHARS
from aletheia.llm.thoughts import is_spent


@dataclass(frozen=True, slots=True)
class AskPlan:
    """How a model is asked for a judgement."""

    model: str
    max_answer_tokens: int = 1200
    temperature: float | None = 0.3  # 0 to 2; `None` leaves it to the provider


async def ask_once(
    chat: ChatModel,
    answers: AnswerLog,
    step: str,
    messages: tuple[Message, ...],
    form: AnswerForm,
    *,
    plan: AskPlan,
) -> Completion | AletheiaError:
    """Return the answer of a step: the saved one, or else a new one, which is saved first.

    Returns:
        The answer, or the error of the call. Errors of the log are raised.
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
            "answer began: it needs more room, or to think less"
        )
        raise UnreadableAnswer("no_room", said)
