"""The held-out material of the similarity bench, as it is read."""

from aletheia.items.labelled_pairs import SPLITS, read_texts
from bench.judgement_similarity import read_corpora, read_minimal_pairs, read_paraphrases

LANGUAGES = {"en", "de", "es", "fr"}


def test_there_are_400_pairs_of_either_sort_in_four_languages():
    for pairs in (read_minimal_pairs(), read_paraphrases()):
        assert len(pairs) >= 400
        assert {pair.language for pair in pairs} >= LANGUAGES


def test_items_of_one_group_repeat_each_other():
    corpora = read_corpora()
    assert {corpus.language for corpus in corpora} >= LANGUAGES
    assert sum(len(corpus.repeats) for corpus in corpora) >= 100
    for corpus in corpora:
        assert all(0 <= one < other < len(corpus.items) for one, other in corpus.repeats)


def test_nothing_of_it_is_what_the_scale_is_fitted_to():
    fitted = {text.text for split in SPLITS for text in read_texts(split)}
    pairs = [*read_minimal_pairs(), *read_paraphrases()]
    own = {text for pair in pairs for text in (pair.a, pair.b)}
    own |= {text for corpus in read_corpora() for text in corpus.items}
    assert fitted.isdisjoint(own)
