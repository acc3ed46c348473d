"""The task type `word_frequency`: the words that a text uses most often."""

import hashlib
import re
from collections import Counter
from typing import ClassVar

from pydantic import BaseModel, Field

from aletheia.analysis.inputs import check_text
from aletheia.analysis.processor import TypeSpec
from aletheia.analysis.result_cache import ResultCache
from aletheia.analysis.settings import WorkerSettings
from aletheia.analysis.single import Computed, SingleProcessor

_WORD = re.compile(r"[^\W\d_]+")


class WordFrequencyInput(BaseModel):
    """A text, and how many of its words are wanted."""

    text: str = Field(description="The text.")
    top: int = Field(default=10, ge=1, le=1000, description="Words, at most.")


class Frequency(BaseModel):
    """A word, and how often it is there."""

    word: str = Field(description="The word, in small letters.")
    count: int = Field(ge=1, description="How often it is in the text.")


class WordFrequencyResult(BaseModel):
    """The words that a text uses most often."""

    words: list[Frequency] = Field(description="The words, the most frequent one first.")
    total: int = Field(ge=0, description="Words in the text, each as often as it is there.")


class WordFrequency(SingleProcessor[WordFrequencyInput]):
    """Counts the words of texts."""

    spec: ClassVar[TypeSpec] = TypeSpec(
        input=WordFrequencyInput, result=WordFrequencyResult, lane="llm", time_limit_s=30
    )

    def __init__(self, settings: WorkerSettings, cache: ResultCache | None = None) -> None:
        self._max_text_bytes, self._cache = settings.max_text_bytes, cache

    def group(self, task_input: WordFrequencyInput) -> str:
        """Check what the model of the input cannot."""
        check_text(task_input.text, max_bytes=self._max_text_bytes)
        return ""

    async def compute(self, task_input: WordFrequencyInput) -> Computed:
        """Count the words of one text, or find them counted."""
        key = hashlib.sha256(task_input.text.encode()).hexdigest()
        found = None if self._cache is None else await self._cache.get(key, task_input.top)
        if found is not None:
            return Computed(found, {"cached": True})
        counted = Counter(word.lower() for word in _WORD.findall(task_input.text))
        words = [Frequency(word=w, count=n) for w, n in counted.most_common(task_input.top)]
        result = WordFrequencyResult(words=words, total=counted.total())
        if self._cache is not None:
            await self._cache.put(result.model_dump(), key, task_input.top)
        return Computed(result)
