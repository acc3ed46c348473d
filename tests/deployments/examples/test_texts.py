import pytest

from deployments.examples.texts import stdlib_texts


@pytest.mark.parametrize(("n", "words"), [(2000, 20), (300, 200), (300, 30)])
def test_texts_are_distinct_and_about_as_long_as_asked(n: int, words: int) -> None:
    texts = stdlib_texts(n, words)
    lengths = [len(text.split()) for text in texts]
    assert len(set(texts)) == n
    assert 0.95 * words <= min(lengths)
    assert max(lengths) <= 1.2 * words
    assert sum(lengths) / n == pytest.approx(words, rel=0.15)


def test_texts_are_the_same_every_time() -> None:
    assert stdlib_texts(50, 20) == stdlib_texts(100, 20)[:50]


def test_more_texts_than_there_are_is_an_error() -> None:
    with pytest.raises(ValueError, match="has only"):
        stdlib_texts(10_000, 500)
