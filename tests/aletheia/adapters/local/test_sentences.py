from aletheia.adapters.local.sentences import SENTENCES


def test_sentences_are_distinct_and_of_many_lengths():
    assert len(set(SENTENCES)) == len(SENTENCES) >= 50
    lengths = sorted(map(len, SENTENCES))
    assert lengths[0] < 5
    assert lengths[len(lengths) // 2] > 40
    assert lengths[-1] > 200
