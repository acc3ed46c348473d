"""What a model is asked for about a document."""

from pathlib import Path

from aletheia.analysis.prompts.summarize_document import build_prompt


def test_the_words_of_the_prompt_are_known():
    system, user = build_prompt("The silos are full.", is_notes=False)
    _, of_notes = build_prompt("- full silos", is_notes=True)
    between = "\n\n=====\n\n"
    written = f"{system.text}{between}{user.text}{between}{of_notes.text}\n"
    snapshot = Path(__file__).with_name("summarize_document.txt").read_text("utf-8")
    assert written == snapshot
