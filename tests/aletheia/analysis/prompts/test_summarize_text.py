"""What a model is asked for about a text that is to be shortened."""

from pathlib import Path

from aletheia.analysis.prompts.summarize_text import build_prompt


def test_the_words_of_the_prompt_are_known():
    system, user = build_prompt("The silos are full.", max_chars=150, is_notes=False)
    written = f"{system.text}\n\n=====\n\n{user.text}\n"
    assert written == Path(__file__).with_name("summarize_text.txt").read_text("utf-8")


def test_notes_are_not_called_the_text():
    _, user = build_prompt("- full silos", max_chars=150, is_notes=True)
    assert '<data name="notes">' in user.text
    assert "in at most 150 characters, that is about 21 words." in user.text
