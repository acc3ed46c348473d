"""Sentences of tweets, reviews and news that people rated, part of them held out.

They come with the source distribution of vaderSentiment (MIT): Hutto and Gilbert 2014, each rated
from -4 to 4 by twenty people. What is held out is chosen by document, so that no document has
sentences on both sides; of tweets and film reviews each sentence is a document.
"""

import hashlib
import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from aletheia.analysis.sentiment_heads import Sentiment
from bench.accuracy.packages import get_sdist, read_member

SOURCES: Final = {
    "tweets": "tweets",
    "films": "movieReviewSnippets",
    "products": "amazonReviewSnippets",
    "news": "nytEditorialSnippets",
}
"""Names of the files, by what they hold."""

CLEAR: Final = 0.5
"""Mean rating from which a sentence counts as positive, or negative below its inverse."""

HELD_OUT_PERCENT: Final = 30

_ARCHIVE: Final = (
    "vaderSentiment",
    "3.3.2",
    "vaderSentiment-3.3.2.tar.gz",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
)
_INNER: Final = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"


@dataclass(frozen=True, slots=True)
class Snippet:
    """A sentence with the mean of its ratings, -4 to 4."""

    source: str
    document: str
    text: str
    rating: float

    @property
    def label(self) -> Sentiment:
        """Its class."""
        if abs(self.rating) < CLEAR:
            return "neutral"
        return "positive" if self.rating > 0 else "negative"

    @property
    def is_held_out(self) -> bool:
        """Whether nothing may be fitted on it."""
        digest = hashlib.sha256(f"{self.source}:{self.document}".encode()).digest()
        return int.from_bytes(digest[:4], "big") % 100 < HELD_OUT_PERCENT


@cache
def read_snippets() -> Sequence[Snippet]:
    """Return all sentences, in the order of the files."""
    inner = io.BytesIO(read_member(get_sdist(*_ARCHIVE), _INNER))
    found: list[Snippet] = []
    with tarfile.open(fileobj=inner) as opened:
        for source, name in SOURCES.items():
            file = opened.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt")
            lines = b"" if file is None else file.read()
            for line in lines.decode("utf-8", "replace").splitlines():
                found += _read_line(source, line)
    return found


def _read_line(source: str, line: str) -> list[Snippet]:
    number, rating, text = [*line.split("\t", 2), "", ""][:3]
    if not text.strip():
        return []
    return [Snippet(source, number.partition("_")[0], text.strip(), float(rating))]
