"""The result of a multi-modal analysis, and how its parts are put together."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, Field

from aletheia.analysis.fusion import Claim, Fusion
from aletheia.analysis.modalities import Material, ModalityName, Place
from aletheia.analysis.summaries import Summary
from aletheia.analysis.written_fusion import WrittenFusion

RULES: Final = "rules"
"""Provider and model of an analysis without any text to analyse."""

_BETWEEN_CHARS: Final = 2
"""Characters between the texts of modalities that are summarised together."""


class Findings(BaseModel):
    """What was found out about a modality."""

    error: dict[str, str] | None = Field(
        default=None, description="Code and message of what it failed of; the others still count."
    )
    lacking: dict[str, str] | None = Field(
        default=None, description="Task types that could not add to it, with the code of why."
    )
    length: int | None = Field(default=None, description="Characters of its text.")
    language: str | None = Field(default=None, description="Its language (ISO 639-1).")
    key_terms: list[str] | None = Field(default=None, description="Its key terms.")
    sentiment: str | None = Field(
        default=None, description="How it sounds: `positive`, `negative`, `neutral`."
    )
    sentiment_confidence: float | None = Field(
        default=None, description="Probability of that, 0 to 1."
    )
    emotions: dict[str, float] | None = Field(default=None, description="Emotions, by name.")
    confidence: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="How sure what was read of it is, where that is known.",
    )
    contribution: float = Field(
        default=0, ge=0, le=1, description="Its share of the places in the fused analysis."
    )


class TextFindings(Findings):
    """What was found out about the text; `confidence` is that of its sentiment."""


class AudioFindings(Findings):
    """What was found out about the recording; `confidence` is that of its transcription."""

    transcription: str | None = Field(default=None, description="What is said.")
    sound: dict[str, Any] | None = Field(
        default=None, description="What `audio_analysis` measured."
    )


class DocumentFindings(Findings):
    """What was found out about the document; `confidence` is the share of pages that were read."""

    document_type: str | None = Field(default=None, description="Its type.")
    page_count: int | None = Field(default=None, description="Its pages, where it has some.")
    lost_pages: dict[str, str] | None = Field(
        default=None, description="Pages that could not be read, by number, with why."
    )
    truncated: bool | None = Field(
        default=None, description="True where the end of its text was left out."
    )


class Modalities(BaseModel):
    """What was found out about each modality that was given."""

    text: TextFindings | None = Field(default=None, description="The text.")
    audio: AudioFindings | None = Field(default=None, description="The recording.")
    document: DocumentFindings | None = Field(default=None, description="The document.")


class SummaryPart(BaseModel):
    """A sentence of the account of all modalities."""

    text: str = Field(description="The sentence.")
    places: list[Place] = Field(description="Where it stands, or what it rests on.")


class FusedAnalysis(BaseModel):
    """What all modalities say together."""

    summary: str = Field(description="One account of all modalities.")
    sentences: list[SummaryPart] = Field(description="The same, with where each sentence rests.")
    extractive: bool = Field(description="Whether all of it stands there word for word.")
    agreements: list[Claim] = Field(description="What modalities agree on.")
    conflicts: list[Claim] = Field(description="What modalities conflict in.")
    languages: list[str] = Field(description="Languages of the modalities.")
    provider: str = Field(description="Who made the account.")
    model: str = Field(description="The model that wrote it, or that compared the sentences.")
    dropped: int | None = Field(
        default=None, description="What a model claimed that could not be checked: left out."
    )
    fallback: str | None = Field(
        default=None, description="Why no model wrote it, where one was asked: an error's code."
    )


class MultimodalAnalysisResult(BaseModel):
    """One analysis of several modalities."""

    fused_analysis: FusedAnalysis = Field(description="What they say together.")
    modalities: Modalities = Field(description="What each says; one that failed says why.")
    confidence: float | None = Field(
        description="Mean of the modalities' own, weighted by what they contributed; null where "
        "none that contributed has one."
    )
    provider: str = Field(description="Who made the account.")
    model: str = Field(description="The model that wrote it, or that compared the sentences.")


def fuse_analysis(
    fusion: Fusion,
    materials: Sequence[Material],
    *,
    written: WrittenFusion | None = None,
    summary: Summary | None = None,
    fallback: str = "",
) -> FusedAnalysis:
    """Combine what rules found and what was written; `summary` is of all texts joined."""
    parts: list[SummaryPart] = []
    if written is not None:
        parts = [
            SummaryPart(text=sentence.text, places=list(sentence.places))
            for sentence in written.summary
        ]
    elif summary is not None:
        parts = _place_summary(summary, materials)
    source = written or summary
    return FusedAnalysis(
        summary=" ".join(part.text for part in parts),
        sentences=parts,
        extractive=written is None,
        agreements=[*fusion.agreements, *(written.agreements if written else ())],
        conflicts=[*fusion.conflicts, *(written.conflicts if written else ())],
        languages=[],
        provider=source.provider if source else RULES,
        model=source.model if source else RULES,
        dropped=(written.dropped or None) if written else None,
        fallback=fallback or None,
    )


def share_contributions(analysis: FusedAnalysis, findings: Mapping[ModalityName, Findings]) -> None:
    """Fill in what each modality contributed: its share of all places that are named."""
    claims = [*analysis.agreements, *analysis.conflicts]
    named = [place for part in (*analysis.sentences, *claims) for place in part.places]
    counts = Counter(place.modality for place in named)
    for name, found in findings.items():
        found.contribution = counts[name] / len(named) if named else 0.0
    languages = (found.language for found in findings.values())
    analysis.languages = sorted({language for language in languages if language})


def mean_confidence(findings: Sequence[Findings]) -> float | None:
    """Return the mean of confidences, weighted by contributions; `None` where there is none."""
    known = [
        (found.confidence, found.contribution)
        for found in findings
        if found.confidence is not None and found.contribution > 0
    ]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None


def _place_summary(summary: Summary, materials: Sequence[Material]) -> list[SummaryPart]:
    """Return the sentences of a summary of all texts, each with its place in its own text."""
    starts: list[int] = []
    at = 0
    for material in materials:
        starts.append(at)
        at += len(material.text) + _BETWEEN_CHARS
    parts: list[SummaryPart] = []
    for sentence in summary.sentences_of("medium"):
        assert sentence.start is not None
        assert sentence.end is not None
        index = bisect_right(starts, sentence.start) - 1
        shift, material = starts[index], materials[index]
        place = material.place(sentence.start - shift, sentence.end - shift)
        parts.append(SummaryPart(text=" ".join(sentence.text.split()), places=[place]))
    return parts
