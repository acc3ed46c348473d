"""Sentiment that a chat model judges, in any language."""

import logging
from dataclasses import replace
from typing import Final

from aletheia.analysis.prompts.judge_sentiment import FORM, JudgedSentiment, build_prompt
from aletheia.analysis.sentiment_heads import Scores
from aletheia.analysis.sentiment_reading import Reading, SentimentReader
from aletheia.analysis.written_summaries import Asker
from aletheia.errors import AletheiaError, Deferred, Unavailable
from aletheia.llm.asking import check_finish
from aletheia.llm.json_text import UnreadableAnswer
from aletheia.llm.structured import read_answer

log = logging.getLogger(__name__)

MAX_CHARS: Final = 20_000
"""Characters that a model is shown: the beginning and the end of what is longer."""

_ANSWER_TOKENS: Final = 300
_MIN_SUM: Final = 0.5


class SentimentAsker:
    """Asks a chat model, and lets `otherwise` read where its answer cannot be used.

    `Deferred` and `Unavailable` pass: the task waits for our own limits and budgets, and for a
    provider that is down.
    """

    def __init__(self, chat: Asker, otherwise: SentimentReader) -> None:
        self._chat, self._otherwise = chat, otherwise

    async def ask(self, text: str) -> Reading:
        """Return what the model says about a text, or else what the reader does."""
        tokens = 0
        try:
            shown = shorten(text)
            completion = await self._chat.ask(
                *build_prompt(shown), form=FORM, max_tokens=_ANSWER_TOKENS
            )
            tokens = completion.used.total
            check_finish(completion)
            answer = read_answer(
                completion.text, JudgedSentiment, is_cut_off=completion.finish == "length"
            )
            return Reading(
                scores=_read_scores(answer),
                provider=completion.provider,
                model=completion.model,
                tokens=tokens,
                is_sampled=len(shown) < len(text),
                is_mock=completion.is_mock,
            )
        except (Deferred, Unavailable):
            raise
        except AletheiaError as error:
            log.warning("no model has judged the sentiment: %s", error)
            (found,) = await self._otherwise.read([text])
            return replace(found, tokens=found.tokens + tokens, fallback=error.code)


def shorten(text: str, limit: int = MAX_CHARS) -> str:
    """Return a text, of a longer one its beginning and its end."""
    if len(text) <= limit:
        return text
    half = limit // 2 - 2
    return f"{text[:half]}\n…\n{text[-half:]}"


def _read_scores(answer: JudgedSentiment) -> Scores:
    """Return the scores with probabilities that sum to 1."""
    said = answer.sentiment
    total = said.negative + said.neutral + said.positive
    if total < _MIN_SUM:
        raise UnreadableAnswer("wrong_shape", "the probabilities of the sentiments are all small")
    return Scores(
        {
            "negative": said.negative / total,
            "neutral": said.neutral / total,
            "positive": said.positive / total,
        },
        answer.emotions.model_dump(),
    )
