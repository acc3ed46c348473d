"""The task type `text_embedding`: a text in, its vector out (SPEC §2)."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from aletheia.analysis.ports import Embedded, Embedder
from aletheia.analysis.processor import Finished
from aletheia.errors import AletheiaError, InvalidTask

TASK_TYPE = "text_embedding"


class TextEmbedding:
    """Embeds texts of at most `max_text_bytes` of UTF-8, those of one model together."""

    def __init__(self, embedder: Embedder, *, max_text_bytes: int) -> None:
        self._embedder = embedder
        self._max_text_bytes = max_text_bytes

    def admit(self, task_input: Mapping[str, Any]) -> str:
        """Check text and model, or raise `InvalidTask`; the model is the group."""
        text = task_input.get("text")
        if text is None:
            raise InvalidTask("missing_text", "the input has no text")
        if not isinstance(text, str):
            raise InvalidTask(
                "invalid_text", f"the text is not a string but a JSON {type(text).__name__}"
            )
        if not text.strip():
            raise InvalidTask("empty_text", "the text is empty")
        # Half of a surrogate pair is a fault of its own, and not one of length.
        length = len(text.encode(errors="surrogatepass"))
        if length > self._max_text_bytes:
            raise InvalidTask(
                "input_too_long", f"the text is longer than {self._max_text_bytes:,} bytes"
            )
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
