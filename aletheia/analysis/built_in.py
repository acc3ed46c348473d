"""The task types that come with Aletheia."""

from collections.abc import Mapping
from typing import Final

from aletheia.analysis import (
    audio_analysis,
    document_summarization,
    multimodal_analysis,
    pdf_analysis,
    sentiment_analysis,
    speech_to_text,
    text_embedding,
    text_summarization,
    translation,
)
from aletheia.analysis.tools import Build

BUILT_IN: Final[Mapping[str, Build]] = {
    text_embedding.TASK_TYPE: text_embedding.TextEmbedding,
    sentiment_analysis.TASK_TYPE: sentiment_analysis.SentimentAnalysis,
    text_summarization.TASK_TYPE: text_summarization.TextSummarization,
    translation.TASK_TYPE: translation.Translation,
    pdf_analysis.TASK_TYPE: pdf_analysis.PdfAnalysis,
    document_summarization.TASK_TYPE: document_summarization.DocumentSummarization,
    audio_analysis.TASK_TYPE: audio_analysis.AudioAnalysis,
    speech_to_text.TASK_TYPE: speech_to_text.SpeechToText,
    multimodal_analysis.TASK_TYPE: multimodal_analysis.MultimodalAnalysis,
}
"""Processors by task type; `docs/task-types.md` lists them in this order."""
