"""Recognises text in pages of a PDF, by rapidocr, whose models come with it."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cache
from importlib import import_module
from typing import Any, Final

import numpy as np

from aletheia.adapters.decoding.pdf import open_pdf
from aletheia.adapters.decoding.pieces import Piece, clean, make_page
from aletheia.errors import InvalidTask

DOTS_PER_INCH: Final = 150
"""At which a page is drawn: 10 point letters are 20 dots high, and the models read 12 well."""

MAX_SIDE: Final = 3000
"""Longest side of a picture, dots, however large the page is."""

_POINTS_PER_INCH: Final = 72
_MIN_CONFIDENCE: Final = 0.5


def recognise_pages(files: Sequence[int], *, numbers: Sequence[int]) -> Iterator[Piece]:
    """Yield pages of a PDF, by number, with the text that is recognised on them.

    Raises:
        InvalidTask: `no_ocr`, and as `open_pdf`.
    """
    engine = load_engine()
    with closing(open_pdf(files[0])) as document:
        for number in numbers:
            yield make_page(number, _recognise(engine, document, number), is_scanned=True)


def _recognise(engine: Any, document: Any, number: int) -> str:
    with closing(document[number - 1]) as page:
        width, height = page.get_size()
        longest = max(width, height, 1.0)
        scale = min(DOTS_PER_INCH / _POINTS_PER_INCH, MAX_SIDE / longest)
        with closing(page.render(scale=scale, grayscale=False)) as bitmap:
            picture = np.array(bitmap.to_numpy())
    found: Any = engine(picture)
    texts, scores = found.txts or (), found.scores or ()
    lines = (text for text, score in zip(texts, scores, strict=True) if score >= _MIN_CONFIDENCE)
    return clean("\n".join(lines))


@cache
def load_engine() -> Any:
    """Load the models, once in the life of a process, or raise `InvalidTask`."""
    # Imported here: it takes a second, and is an extra.
    try:
        rapidocr: Any = import_module("rapidocr")
    except ImportError as error:
        reason = "text in pictures is read where the extra `ocr` is installed"
        raise InvalidTask("no_ocr", reason) from error
    return rapidocr.RapidOCR(params={"Global.log_level": "error"})
