"""pocketsphinx, in the process of the tests."""

from importlib.util import find_spec

import pytest

from aletheia.adapters.audio.sphinx import transcribe_sphinx
from aletheia.errors import InvalidTask
from tests.aletheia.adapters.audio.conftest import Open
from tests.fakes.speech import HARBOUR


def test_english_is_all_it_knows(opened: Open):
    pieces = transcribe_sphinx([opened(b"")], language="de", from_s=0, max_seconds=60)
    with pytest.raises(InvalidTask) as refused:
        next(pieces)
    assert refused.value.code == "unsupported_language"


@pytest.mark.skipif(find_spec("pocketsphinx") is None, reason="the extra `speech` is not installed")
def test_words_come_without_fillers_and_with_a_probability(opened: Open):
    file = opened(HARBOUR.read_bytes())
    pieces = list(transcribe_sphinx([file], language=None, from_s=0, max_seconds=60))
    segments = [piece for piece in pieces if piece["kind"] == "segment"]
    assert segments
    for segment in segments:
        assert not set("<>[]()+") & set(segment["text"])
        assert segment["log_probability"] <= 0
    assert pieces[-1]["kind"] == "end"
