"""A chat model whose answers are set in advance, and a log of its answers."""

import re
from collections.abc import Callable
from typing import TypeAlias

from aletheia.errors import AletheiaError
from aletheia.llm.answers import SavedAnswers
from aletheia.llm.messages import ChatRequest, Completion, Finish
from aletheia.llm.prices import Tokens

Reply: TypeAlias = str | Completion | AletheiaError


def completion(text: str, *, finish: Finish = "stop", refusal: str = "") -> Completion:
    """Make what a model answered."""
    return Completion(
        text=text,
        finish=finish,
        provider="scripted",
        asked="m",
        model="m-2026",
        used=Tokens(100, 10),
        refusal=refusal,
    )


class ScriptedChat:
    """Gives its replies one after another; an error is raised.

    Like real models it takes a system message and one of the user, and needs a name to answer to.

    Attributes:
        requests: all it was asked.
        on_request: called with each request before it is answered.
    """

    provider = "scripted"
    is_mock = False

    def __init__(self, *replies: Reply) -> None:
        self._replies = list(replies)
        self.requests: list[ChatRequest] = []
        self.on_request: Callable[[ChatRequest], None] = lambda _: None

    @property
    def prompts(self) -> list[str]:
        """What the user said, request by request."""
        return [request.messages[-1].text for request in self.requests]

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer with the next reply."""
        assert [message.role for message in request.messages] == ["system", "user"]
        assert request.form is not None
        assert re.fullmatch(r"\w{1,64}", request.form.name)
        self.requests.append(request)
        self.on_request(request)
        reply = self._replies.pop(0)
        if isinstance(reply, AletheiaError):
            raise reply
        if isinstance(reply, Completion):
            return reply
        return Completion(
            text=reply,
            finish="stop",
            provider=self.provider,
            asked=request.model,
            model=f"{request.model}-2026",
            used=Tokens(100, 10),
        )


class MemoryAnswers(SavedAnswers):
    """Keeps answers in memory, by step; no step is ever written twice.

    Attributes:
        kept: what is kept.
    """

    def __init__(self) -> None:
        self.kept: dict[str, Completion] = {}

    async def find(self, step: str) -> Completion | None:
        """Return what is kept."""
        return self.kept.get(step)

    async def save(self, step: str, completion: Completion) -> None:
        """Keep an answer."""
        assert step not in self.kept, f"{step} was paid for twice"
        self.kept[step] = completion
