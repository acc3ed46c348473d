"""What several modalities say, as text whose places can be named: offset, page, time."""

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, TypeAlias, cast, get_args

from pydantic import BaseModel, Field

from aletheia.analysis.document_text import DocumentText
from aletheia.text.extracts import choose_candidates, choose_central
from aletheia.text.spans import Span, split_spans

ModalityName: TypeAlias = Literal["text", "audio", "document"]

MODALITIES: Final[tuple[ModalityName, ...]] = get_args(ModalityName)

MAX_STATEMENTS: Final = 200
"""Sentences of a modality that are compared with those of the others."""

MAX_QUOTE: Final = 400
"""Characters of a quoted sentence that is longer."""

_BETWEEN: Final = " "


class Place(BaseModel):
    """Where something stands."""

    modality: ModalityName = Field(description="In which modality.")
    quote: str | None = Field(
        default=None, description="What stands there, word for word; absent: all of it."
    )
    start: int = Field(ge=0, description="Where it begins in the modality's text, in characters.")
    end: int = Field(ge=0, description="Where it ends there.")
    page: int | None = Field(default=None, description="Page of a document with pages, from 1 on.")
    start_s: float | None = Field(
        default=None, description="When it begins in the recording, seconds."
    )
    end_s: float | None = Field(default=None, description="When it ends there.")


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a recording's text: where it begins there, and when it is said, seconds."""

    start: int
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Material:
    """The text of a modality, and what tells where a place of it is."""

    name: ModalityName
    text: str
    document: DocumentText | None = None
    segments: Sequence[Segment] = ()

    @cached_property
    def spans(self) -> list[Span]:
        """Its sentences, in order; of a long document that takes seconds."""
        return split_spans(self.text)

    def statements(self, limit: int = MAX_STATEMENTS) -> list[Span]:
        """Return the sentences that say something, of every part of it, at most `limit`."""
        candidates = choose_candidates(self.spans)
        return [candidates[index] for index in choose_central(candidates, limit)]

    def place(self, start: int, end: int) -> Place:
        """Return the place of what stands from `start` to `end`, in characters."""
        first, last = self._segment_at(start), self._segment_at(max(start, end - 1))
        has_pages = self.document is not None and self.document.head.page_count is not None
        return Place(
            modality=self.name,
            quote=self.text[start:end][:MAX_QUOTE],
            start=start,
            end=end,
            page=self.document.page_at(start) if self.document and has_pages else None,
            start_s=first.start_s if first else None,
            end_s=last.end_s if last else None,
        )

    def whole(self) -> Place:
        """Return the place of all of it."""
        return self.place(0, len(self.text)).model_copy(update={"quote": None, "page": None})

    def find(self, phrase: str) -> Place | None:
        """Return where a phrase stands first, however its words are parted."""
        pattern = r"\s+".join(re.escape(word) for word in phrase.split())
        found = re.search(rf"(?<!\w){pattern}(?!\w)", self.text, re.IGNORECASE) if pattern else None
        return None if found is None else self.place(*found.span())

    def _segment_at(self, place: int) -> Segment | None:
        index = bisect_right([segment.start for segment in self.segments], place) - 1
        return self.segments[index] if index >= 0 else None


def read_transcription(result: Mapping[str, Any]) -> Material:
    """Return what a result of `speech_to_text` says.

    The text is that of its segments, where it has some, so that each place has its time.
    """
    texts: list[str] = []
    segments: list[Segment] = []
    at = 0
    for found in cast("Sequence[Mapping[str, Any]]", result.get("segments") or ()):
        text = str(found["text"]).strip()
        if text:
            segments.append(Segment(at, float(found["start"]), float(found["end"])))
            texts.append(text)
            at += len(text) + len(_BETWEEN)
    if not texts:
        return Material("audio", str(result.get("transcription") or ""))
    return Material("audio", _BETWEEN.join(texts), segments=segments)
