"""An item, and the checked texts that items and departments are made of."""

from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from aletheia.llm.messages import clean_text

MAX_CONTENT_CHARS: Final = 6000
MAX_SUMMARY_CHARS: Final = 1000
MAX_CONTEXT_CHARS: Final = 2000
"""Longest parts of an item that are taken from a model."""

_MIN_CONTENT_CHARS: Final = 12
"""A shorter content is a placeholder such as `string`, in any script."""

Cleaned: TypeAlias = Annotated[str, AfterValidator(clean_text)]


def _require(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


Required: TypeAlias = Annotated[Cleaned, AfterValidator(_require)]

_Content: TypeAlias = Annotated[Cleaned, StringConstraints(max_length=MAX_CONTENT_CHARS)]


def _require_words(text: str) -> str:
    if len(text) < _MIN_CONTENT_CHARS:
        raise ValueError("must be at least a sentence")
    return text


class Item(BaseModel):
    """A piece of content, as a model writes it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    content: Annotated[_Content, AfterValidator(_require_words)] = Field(
        description="The item itself: two to five full sentences."
    )
    summary: Required = Field(
        max_length=MAX_SUMMARY_CHARS, description="The main point in one sentence."
    )
    context: Cleaned = Field(
        max_length=MAX_CONTEXT_CHARS,
        description="The situation that it is for and what it is based on, in one sentence.",
    )
