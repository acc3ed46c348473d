"""A chat model that gets more room where its thoughts leave none for an answer."""

import logging
from dataclasses import replace
from typing import Final

from aletheia.errors import InvalidTask, Refused, Unavailable
from aletheia.llm.messages import ChatRequest, Completion
from aletheia.llm.ports import ChatModel
from aletheia.llm.prices import Tokens
from aletheia.llm.thoughts import is_spent

log = logging.getLogger(__name__)

MORE_ROOM: Final = 4
"""Times the tokens of a question's limit, where that was spent before the answer began."""


class RoomyChat:
    """A `ChatModel` that asks once more, with more room, if an answer ended before it began."""

    def __init__(self, chat: ChatModel) -> None:
        self._chat = chat
        self.provider, self.is_mock = chat.provider, chat.is_mock
        self._rooms: dict[str, int] = {}

    async def complete(self, request: ChatRequest) -> Completion:
        """Ask a model; see `ChatModel.complete`."""
        room = self._rooms.get(request.model, 1)
        first = await self._chat.complete(_widen(request, room))
        is_known = self._rooms.get(request.model) == room
        if request.form is None or is_known or not is_spent(first):
            return first
        log.warning(
            "%r has spent %d tokens before its answer began; it is asked once more, for up to %d",
            request.model,
            first.used.output,
            request.max_tokens * MORE_ROOM,
        )
        self._rooms[request.model] = MORE_ROOM
        try:
            second = await self._chat.complete(_widen(request, MORE_ROOM))
        except (InvalidTask, Refused, Unavailable) as error:
            if isinstance(error, Unavailable) and error.retry_after_s is not None:
                raise
            log.warning("%r gets no more room: %s", request.model, error)
            self._rooms[request.model] = 1
            return first
        used = Tokens(first.used.input + second.used.input, first.used.output + second.used.output)
        return replace(second, used=used)


def _widen(request: ChatRequest, room: int) -> ChatRequest:
    return replace(request, max_tokens=request.max_tokens * room)
