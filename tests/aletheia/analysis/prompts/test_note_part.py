"""What a model is asked for about a part of a document."""

from pathlib import Path

from aletheia.analysis.prompts.note_part import build_prompt


def test_the_words_of_the_prompt_are_known():
    system, user = build_prompt("The silos are full.", number=2, count=7)
    snapshot = Path(__file__).with_name("note_part.txt").read_text("utf-8")
    assert f"{system.text}\n\n=====\n\n{user.text}\n" == snapshot
