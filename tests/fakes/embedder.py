"""An embedder whose answers are set in advance."""

from collections.abc import AsyncGenerator, Sequence

import numpy as np

from aletheia.analysis.ports import Embedded, Embedding
from aletheia.errors import AletheiaError, InvalidTask


class FakeEmbedder:
    """Embeds a text as its length, a token a character, in sets of two, the last text first.

    Args:
        provider: what it is called.
        models: what it serves; the first one is its default.

    Attributes:
        asked: model and texts of every call.
        breaks: what the next calls end with, and after how many texts.
        holds: what it raises the next times it is asked for its capacity.
        max_texts: its capacity, in texts.
        faults: by text, what it is answered with.
    """

    is_mock = False

    def __init__(self, provider: str = "ollama", models: Sequence[str] = ("small", "big")) -> None:
        self.provider, self._models = provider, models
        self.asked: list[tuple[str, list[str]]] = []
        self.breaks: list[tuple[AletheiaError, int]] = []
        self.holds: list[AletheiaError] = []
        self.max_texts: int | None = None
        self.faults: dict[str, AletheiaError] = {}

    def canonical_model(self, model: str | None) -> str:
        """Take a name in any case."""
        name = self._models[0] if model is None else model.lower()
        if name not in self._models:
            raise InvalidTask("unsupported_model", f"no model {model!r}")
        return name

    async def capacity(self, model: str, texts: Sequence[str]) -> int:
        """Return the capacity that was set."""
        assert model in self._models
        if self.holds:
            raise self.holds.pop(0)
        return len(texts) if self.max_texts is None else min(self.max_texts, len(texts))

    async def embed(self, model: str, texts: Sequence[str]) -> AsyncGenerator[Sequence[Embedded]]:
        """Embed texts, up to the first planned break."""
        assert model in self._models
        self.asked.append((model, list(texts)))
        error, max_texts = self.breaks.pop(0) if self.breaks else (None, len(texts))
        places = list(reversed(range(len(texts))))[:max_texts]
        for start in range(0, len(places), 2):
            yield [Embedded(i, self._answer(texts[i])) for i in places[start : start + 2]]
        if error is not None:
            raise error

    def _answer(self, text: str) -> Embedding | AletheiaError:
        vector = np.array([len(text), 1], np.float32)
        return self.faults.get(text) or Embedding(vector, len(text))
