"""What a model is asked for about a text that is to be translated."""

from pathlib import Path

from aletheia.analysis.prompts.translate_text import build_prompt


def test_the_words_of_the_prompt_are_known():
    system, user = build_prompt("Die Silos sind voll.", source=None, target="en")
    written = f"{system.text}\n\n=====\n\n{user.text}\n"
    assert written == Path(__file__).with_name("translate_text.txt").read_text("utf-8")


def test_a_language_that_is_known_is_named():
    _, user = build_prompt("Die Silos sind voll.", source="de", target="en")
    assert "from the language with the code 'de' into the language with the code 'en'" in user.text
