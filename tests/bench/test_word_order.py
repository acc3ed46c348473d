import json

from aletheia.quality.grammar import LANGUAGES
from bench.word_order import COUNTS, make_document, read_rows


def test_the_shipped_counts_are_those_of_the_labelled_texts():
    rows = read_rows()
    assert set(rows) == set(LANGUAGES)
    assert json.loads(COUNTS.read_text(encoding="utf-8")) == make_document(rows)
