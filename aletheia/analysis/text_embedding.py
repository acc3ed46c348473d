"""The task type `text_embedding`: a text in, its vector out (SPEC §2)."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, ClassVar, Final

from pydantic import BaseModel, Field

from aletheia.analysis.inputs import check_text
from aletheia.analysis.ports import Embedded, Embedder
from aletheia.analysis.processor import Finished, TypeSpec
from aletheia.analysis.settings import WorkerSettings
from aletheia.errors import AletheiaError, InvalidTask

TASK_TYPE: Final = "text_embedding"

TIME_LIMIT_S: Final = 3600.0
"""From one set of vectors to the next, seconds: what embeds has limits of its own for each pass and
each request, and many texts may wait for one."""


class TextEmbeddingInput(BaseModel):
    """A text, and the model that embeds it."""

    text: str = Field(min_length=1, description="The text; at most `MAX_TEXT_BYTES` of UTF-8.")
    model: str | None = Field(
        default=None, description="Name of the model; without one `DEFAULT_EMBEDDING_MODEL`."
    )


class TextEmbeddingResult(BaseModel):
    """The text's vector, and what made it."""

    embedding: list[float] = Field(description="The vector; its numbers are finite, not all 0.")
    model: str = Field(description="Model that made it.")
    provider: str = Field(description="Who made it: `local`, `openai`, `ollama` or `mock`.")
    dimensions: int = Field(ge=1, description="How many numbers it has.")
    truncated: bool | None = Field(
        default=None, description="True where the model has read the beginning of the text alone."
    )
    mock: bool | None = Field(default=None, description="True where the vector means nothing.")


class TextEmbedding:
    """Embeds texts, those of one model together."""

    spec: ClassVar[TypeSpec] = TypeSpec(
        input=TextEmbeddingInput,
        result=TextEmbeddingResult,
        time_limit_s=TIME_LIMIT_S,
        max_inputs=None,
    )

    def __init__(self, embedder: Embedder, settings: WorkerSettings) -> None:
        self._embedder = embedder
        self._max_text_bytes = settings.max_text_bytes

    def admit(self, task_input: Mapping[str, Any]) -> str:
        """Check text and model, or raise `InvalidTask`; the model is the group."""
        text = task_input.get("text")
        if text is None:
            raise InvalidTask("missing_text", "the input has no text")
        if not isinstance(text, str):
            raise InvalidTask(
                "invalid_text", f"the text is not a string but a JSON {type(text).__name__}"
            )
        check_text(text, max_bytes=self._max_text_bytes)
        model = task_input.get("model")
        if not isinstance(model, str | None):
            raise InvalidTask("invalid_model", "the model is not a name")
        return self._embedder.canonical_model((model or "").strip() or None)

    async def capacity(self, group: str, inputs: Sequence[Mapping[str, Any]]) -> int:
        """Return how many of some inputs, from the first, may be embedded now."""
        return await self._embedder.capacity(group, [task_input["text"] for task_input in inputs])

    async def process(
        self, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> AsyncGenerator[Sequence[Finished]]:
        """Embed the texts of some inputs with the model `group`."""
        answers = self._embedder.embed(group, [task_input["text"] for task_input in inputs])
        async with aclosing(answers):
            async for embedded in answers:
                yield [self._finish(group, answer) for answer in embedded]

    def _finish(self, model: str, answer: Embedded) -> Finished:
        embedding = answer.result
        if isinstance(embedding, AletheiaError):
            return Finished(answer.index, error=embedding)
        facts: dict[str, Any] = {
            "model": embedding.model or model,
            "provider": embedding.provider or self._embedder.provider,
            "dimensions": len(embedding.vector),
        }
        if embedding.is_truncated:
            facts["truncated"] = True
        if self._embedder.is_mock:
            facts["mock"] = True
        record = dict(facts)
        if embedding.is_fallback:
            record["fallback"] = True
        if embedding.is_cached:
            record["cached"] = True
        result = {"embedding": embedding.vector, **facts}
        return Finished(answer.index, result, record, {"tokens": embedding.tokens})
