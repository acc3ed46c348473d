from collections.abc import Sequence

import pytest

from aletheia.errors import ComputeFailed, Deferred, Unavailable
from aletheia.quality.embedding import Embedded, QualityCounter
from aletheia.quality.scores import score_quality
from tests.aletheia.quality.quality_sets import GOOD, STRAY, department, items
from tests.aletheia.quality.word_vectors import word_vector

LEGAL = department()


class Embedder:
    """Embeds all but one text, and remembers what it was asked for."""

    def __init__(self, broken: str = "", error: Exception | None = None) -> None:
        self.asked: list[str] = []
        self._broken, self._error = broken, error

    async def __call__(self, texts: Sequence[str]) -> Embedded:
        if self._error is not None:
            raise self._error
        self.asked += texts
        fault = ComputeFailed("scripted", "a text could not be embedded")
        vectors = {n: word_vector(text) for n, text in enumerate(texts) if text != self._broken}
        return vectors, {n: fault for n, text in enumerate(texts) if text == self._broken}


async def test_no_text_is_embedded_twice() -> None:
    embedder = Embedder()
    counter = QualityCounter(embedder)
    first = await counter.count(LEGAL, items(GOOD))
    again = await counter.count(LEGAL, items((*GOOD, STRAY[0])))
    assert len(embedder.asked) == len(set(embedder.asked))
    assert first.warnings == ()
    assert again.items == len(GOOD) + 1


async def test_a_text_that_cannot_be_embedded_is_compared_by_its_words() -> None:
    quality = await QualityCounter(Embedder(GOOD[0])).count(LEGAL, items(GOOD))
    assert quality.total > 50


@pytest.mark.parametrize("error", [Unavailable("scripted", "503"), Deferred("scripted", None)])
async def test_where_nothing_can_be_embedded_there_is_no_score(error: Exception) -> None:
    with pytest.raises(type(error)):
        await QualityCounter(Embedder(error=error)).count(LEGAL, items(GOOD))


async def test_where_vectors_mean_nothing_words_count_and_a_warning_says_so() -> None:
    quality = await QualityCounter(None).count(LEGAL, items(GOOD))
    assert quality == score_quality(LEGAL, items(GOOD))
    assert "Words alone were compared, not their meaning." in quality.warnings
