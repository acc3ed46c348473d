"""The held-out material of the judgement bench: as much as is promised, and in order."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from itertools import chain
from typing import Any, Final, Literal, cast

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter

Language = Literal["en", "de", "es", "fr"]
Kind = Literal[
    "number",
    "glued_number",
    "unit",
    "date",
    "month",
    "weekday",
    "ordinal",
    "quarter",
    "version",
    "comparison",
    "sign",
    "negation",
    "antonym",
    "swapped_roles",
    "swapped_numbers",
    "name",
    "scope",
    "strength",
    "actor",
    "near_synonym",
    "relation",
    "part_elsewhere",
]

LANGUAGES: Final = ("en", "de", "es", "fr")
MAX_PAIRS_OF_A_FRAME: Final = 5
FRAME_WORDS: Final = 3
MIN_SHARE_OF_A_LANGUAGE: Final = 0.22
MIN_SHARED_WORDS: Final = 0.5
"""Of a minimal pair's shorter text; the shortest have few words beside what differs."""

MAX_SHARED_WORDS: Final = 0.95
"""Of a paraphrase's shorter text: above, it would be a copy in another order."""


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    language: Language


class _Pair(_Row):
    a: str
    b: str


class Paraphrase(_Pair):
    """Two texts that make one point."""

    kind: Literal["close", "free"]


class MinimalPair(_Pair):
    """Two texts that make different points; `kind` says by what."""

    kind: Kind


class Item(BaseModel):
    """An item, and the point that it makes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    text: str
    group: str


class CandidateSet(_Row):
    """Items of one department."""

    topic: str
    items: tuple[Item, ...]


@cache
def read_minimal_pairs() -> list[MinimalPair]:
    return TypeAdapter(list[MinimalPair]).validate_python(_read("minimal_pairs"))


@cache
def read_paraphrases() -> list[Paraphrase]:
    return TypeAdapter(list[Paraphrase]).validate_python(_read("paraphrases"))


@cache
def read_candidates() -> list[CandidateSet]:
    return TypeAdapter(list[CandidateSet]).validate_python(_read("candidates"))


def _read(name: str) -> Any:
    source = files("bench").joinpath("data", "judgement", f"{name}.yaml")
    return yaml.load(source.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)


def _all_pairs() -> list[_Pair]:
    return [*read_minimal_pairs(), *read_paraphrases()]


def _all_texts() -> list[str]:
    pairs = [text for pair in _all_pairs() for text in (pair.a, pair.b)]
    return pairs + [item.text for found in read_candidates() for item in found.items]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _share_words(pair: _Pair) -> float:
    common = Counter(_words(pair.a)) & Counter(_words(pair.b))
    return common.total() / min(len(_words(pair.a)), len(_words(pair.b)))


def _sentences(text: str) -> int:
    return len(re.findall(r"[^\W\d_]{2,}[»”)%]*[.!?](?=\s|$)", text))


def _strings(data: object) -> Iterator[str]:
    if isinstance(data, str):
        yield " ".join(data.split())
    elif isinstance(data, dict):
        yield from chain.from_iterable(map(_strings, cast("dict[str, object]", data).values()))
    elif isinstance(data, list):
        yield from chain.from_iterable(map(_strings, cast("list[object]", data)))


def test_there_are_as_many_pairs_and_sets_as_are_promised():
    assert len(read_minimal_pairs()) >= 600
    assert len(read_paraphrases()) >= 440
    assert len(read_candidates()) >= 16


def test_every_kind_of_minimal_pair_is_there_four_times_in_every_language():
    counts = Counter((pair.kind, pair.language) for pair in read_minimal_pairs())
    kinds = {pair.kind for pair in read_minimal_pairs()}
    assert len(kinds) == 22
    few = {(k, lang) for k in kinds for lang in LANGUAGES if counts[k, lang] < 4}
    assert not few


@pytest.mark.parametrize("rows", [read_minimal_pairs, read_paraphrases, read_candidates])
def test_languages_have_about_equal_shares(rows: Any):
    counts = Counter(row.language for row in rows())
    assert set(counts) == set(LANGUAGES)
    assert min(counts.values()) >= MIN_SHARE_OF_A_LANGUAGE * counts.total()


def test_no_pair_is_of_equal_texts_and_no_text_is_used_twice():
    for pair in _all_pairs():
        assert pair.a.casefold() != pair.b.casefold()
    twice = [text for text, count in Counter(map(str.casefold, _all_texts())).items() if count > 1]
    assert not twice


def test_texts_are_clean_sentences():
    for text in _all_texts():
        assert text == " ".join(text.split())
        assert text == unicodedata.normalize("NFC", text)
        assert text.isprintable()
        assert 15 <= len(text) <= 600, text
        assert text[0].isupper() or text[0] in "0123456789¿¡«", text
        assert text[-1] in ".!?»", text
        assert not set(text) & set("{}|#"), text


def test_few_pairs_share_their_first_words():
    for pairs in (read_minimal_pairs(), read_paraphrases()):
        frames = Counter((p.language, *_words(p.a)[:FRAME_WORDS]) for p in pairs)
        assert max(frames.values()) <= MAX_PAIRS_OF_A_FRAME


def test_texts_of_a_minimal_pair_align_but_for_a_few_words():
    far = [pair for pair in read_minimal_pairs() if _share_words(pair) < MIN_SHARED_WORDS]
    assert not far


def test_a_swap_changes_the_order_of_words_and_nothing_else():
    swaps = [pair for pair in read_minimal_pairs() if pair.kind.startswith("swapped")]
    for pair in swaps:
        assert sorted(_words(pair.a)) == sorted(_words(pair.b)), pair


def test_a_glued_number_is_part_of_a_word_or_has_a_sign():
    for pair in read_minimal_pairs():
        if pair.kind == "glued_number":
            for text in (pair.a, pair.b):
                assert re.search(r"(?:[^\W\d_]|§)\d|\d[^\W\d_]", text), pair


def test_minimal_pairs_are_one_liners_and_longer_texts():
    lengths = Counter(_sentences(pair.a) for pair in read_minimal_pairs())
    assert lengths[1] >= 200
    assert lengths[2] >= 25
    assert lengths[3] >= 20


def test_a_third_of_the_paraphrases_is_close_and_the_others_are_free():
    for language in LANGUAGES:
        kinds = Counter(pair.kind for pair in read_paraphrases() if pair.language == language)
        assert 0.3 <= kinds["close"] / kinds.total() <= 0.6


def test_a_paraphrase_is_not_a_copy():
    copies = [pair for pair in read_paraphrases() if _share_words(pair) > MAX_SHARED_WORDS]
    assert not copies


@pytest.mark.parametrize("found", read_candidates(), ids=lambda found: found.topic)
def test_a_set_has_40_to_60_items_of_which_a_part_makes_the_same_points(found: CandidateSet):
    assert 40 <= len(found.items) <= 60
    sizes = Counter(item.group for item in found.items)
    assert max(sizes.values()) <= 3
    repeated = sum(size for size in sizes.values() if size > 1)
    assert 0.15 <= repeated / len(found.items) <= 0.25


def test_topics_are_different():
    topics = [found.topic for found in read_candidates()]
    assert len(set(topics)) == len(topics)


@pytest.mark.parametrize(
    ("package", "folder"), [("bench.judgement", "data"), ("aletheia.items", "labelled")]
)
def test_no_text_is_in_other_material(package: str, folder: str):
    own = set(_all_texts())
    for source in files(package).joinpath(folder).iterdir():
        if source.name.endswith(".yaml"):
            data = yaml.load(source.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
            assert own.isdisjoint(_strings(data)), source.name
