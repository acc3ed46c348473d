"""What is asked of chat models."""

from typing import Protocol

from aletheia.llm.messages import ChatRequest, Completion


class ChatModel(Protocol):
    """Answers questions with one kind of provider."""

    provider: str  # such as `openrouter` or `mock`
    is_mock: bool

    async def complete(self, request: ChatRequest) -> Completion:
        """Ask once.

        Raises:
            InvalidTask: `model_not_found`, `unsupported_model`; or, because of what is asked,
                `input_too_long`, `content_refused`.
            Unavailable: the provider is out of reach, over a limit, or answers nonsense.
            Refused: it refuses our credentials, or every request of this form.
            Deferred: our own limits, budgets or breakers hold the request back.
        """
        ...
