"""A chat model whose failures are noted, for whoever decides afterwards whether to try again."""

from collections.abc import Callable

from aletheia.errors import AletheiaError
from aletheia.llm.messages import ChatRequest, Completion
from aletheia.llm.ports import ChatModel


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
