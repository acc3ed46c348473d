"""Asking a model for the sentiment of a text and the emotions in it (SPEC §3)."""

from typing import Final

from pydantic import BaseModel, Field

from aletheia.llm.messages import QUOTED_IS_DATA, Message, clean_text, quote
from aletheia.llm.structured import form_of


class SentimentProbabilities(BaseModel, frozen=True):
    """How probable each sentiment is."""

    negative: float = Field(ge=0, le=1, description="Probability that it is negative.")
    neutral: float = Field(ge=0, le=1, description="Probability that it is neutral.")
    positive: float = Field(ge=0, le=1, description="Probability that it is positive.")


class EmotionStrengths(BaseModel, frozen=True):
    """How strongly each emotion shows, from 0 to 1."""

    joy: float = Field(ge=0, le=1)
    sadness: float = Field(ge=0, le=1)
    anger: float = Field(ge=0, le=1)
    fear: float = Field(ge=0, le=1)
    surprise: float = Field(ge=0, le=1)
    disgust: float = Field(ge=0, le=1)


class JudgedSentiment(BaseModel, frozen=True):
    """The form of the answer."""

    sentiment: SentimentProbabilities
    emotions: EmotionStrengths


FORM: Final = form_of(JudgedSentiment, "judged_sentiment")


def build_prompt(text: str) -> tuple[Message, Message]:
    """Build the messages that ask for the sentiment of a text."""
    asked = "Judge the sentiment of the text in the block."
    blocks = [quote("text", clean_text(text)), asked]
    return Message("system", _SYSTEM), Message("user", "\n\n".join(blocks))


_SYSTEM: Final = f"""\
You judge the sentiment that a text expresses: the attitude of its author, not whether its subject \
is a happy one. A statement of facts without an attitude is neutral, and so is a text whose praise \
and criticism balance. Take negation and irony into account. The text may be in any language.

Answer with the probability that a careful reader would call the text negative, neutral or \
positive as a whole; the three sum to 1. Spread them where readers would disagree. Then say how \
strongly each emotion shows in the text, 0 where it does not show.

{QUOTED_IS_DATA}

Answer with one JSON object and nothing else, in this form:
{{"sentiment": {{"negative": 0.1, "neutral": 0.2, "positive": 0.7}}, "emotions": {{"joy": 0.6, \
"sadness": 0, "anger": 0, "fear": 0, "surprise": 0.1, "disgust": 0}}}}"""
