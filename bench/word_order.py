"""Count which words follow each other in sentences: `python -m bench.word_order [--write]`.

In the labelled texts that come with Aletheia, in each language whose sentences are read. Prints how
many sentences were counted, and writes `aletheia/quality/word_order.json`.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Final

from aletheia.items.labelled_pairs import SPLITS, read_texts
from aletheia.quality.grammar import grammar_of
from aletheia.quality.sentences import split_sentences
from aletheia.quality.word_order import OrderCounts, count_order, read_tags
from bench.figures import print_json

COUNTS: Final = Path(__file__).parents[1] / "aletheia" / "quality" / "word_order.json"


def read_rows() -> Mapping[str, Sequence[Sequence[str]]]:
    """Return the labelled sentences of each language, as word order reads them."""
    rows: dict[str, list[list[str]]] = {}
    for split in SPLITS:
        for labelled in read_texts(split):
            grammar = grammar_of(labelled.language)
            if grammar is not None:
                found = split_sentences(labelled.text, grammar)
                tags = [read_tags(sentence, grammar) for sentence in found]
                rows.setdefault(grammar.language, []).extend(tags)
    return dict(sorted(rows.items()))


def make_document(rows: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, dict[str, object]]:
    """Return the counts of each language as JSON, in a stable order."""
    return {
        language: {
            field.name: dict(sorted(getattr(counted, field.name).items()))
            for field in fields(OrderCounts)
        }
        for language, counted in ((name, count_order(found)) for name, found in rows.items())
    }


def main(*, is_written: bool) -> None:
    """Count, print and, where asked, write."""
    rows = read_rows()
    document = make_document(rows)
    if is_written:
        text = json.dumps(document, ensure_ascii=False, indent=0)
        COUNTS.write_text(text + "\n", encoding="utf-8")
    print_json({language: len(found) for language, found in rows.items()})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.word_order", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the counts that are shipped")
    main(is_written=parser.parse_args().write)
