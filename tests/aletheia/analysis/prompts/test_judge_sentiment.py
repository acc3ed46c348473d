"""What a model is asked for about the sentiment of a text."""

from pathlib import Path

from aletheia.analysis.prompts.judge_sentiment import build_prompt


def test_the_words_of_the_prompt_are_known():
    system, user = build_prompt("The silos are full.")
    written = f"{system.text}\n\n=====\n\n{user.text}\n"
    assert written == Path(__file__).with_name("judge_sentiment.txt").read_text("utf-8")
