"""What gathering needs from outside."""

from typing import Protocol

from aletheia.gather.models import DepartmentList
from aletheia.llm.messages import ChatRequest, Completion


class ChatModel(Protocol):
    """Answers questions with one kind of provider.

    Attributes:
        provider: such as `openrouter` or `mock`.
        is_mock: whether its answers are made up.
    """

    provider: str
    is_mock: bool

    async def complete(self, request: ChatRequest) -> Completion:
        """Ask once.

        Raises:
            InvalidTask: `model_not_found`, `unsupported_model`; or, because of what is asked,
                `input_too_long`, `content_refused`.
            Unavailable: the provider is out of reach, over a limit, or answers nonsense.
            Refused: it refuses our credentials, or every request of this form.
            HeldUp: our own limits, budgets or breakers hold the request back.
        """
        ...


class DepartmentSource(Protocol):
    """Knows the departments that take part in gathering."""

    async def list_departments(self) -> DepartmentList:
        """Read all of them, in the order they are worked through.

        Raises:
            Unavailable: the application is out of reach or answers nonsense.
            Refused: it refuses our credentials, or has no departments.
            Misconfigured: its address is that of something else.
        """
        ...


class AnswerLog(Protocol):
    """Keeps what models answered in one iteration, unread, so that no answer is paid for twice.

    One is bound to a run, a department and an iteration; steps are `generate`, `repair-1` and
    `repair-2`.
    """

    async def find(self, step: str) -> Completion | None:
        """Give the answer that is kept for a step."""
        ...

    async def keep(self, step: str, completion: Completion) -> None:
        """Keep the answer of a step, durably, before it is read."""
        ...


class LanguageGuess(Protocol):
    """Tells languages apart."""

    def __call__(self, text: str) -> str | None:
        """Name the language of a text (ISO 639-1); `None` where that is not clear."""
        ...
