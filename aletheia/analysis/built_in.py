"""The task types that come with Aletheia."""

from collections.abc import Mapping
from typing import Final

from aletheia.analysis import (
    audio_analysis,
    document_summarization,
    multimodal_analysis,
    pdf_analysis,
    speech_to_text,
    text_embedding,
)
from aletheia.analysis.tools import Build

BUILT_IN: Final[Mapping[str, Build]] = {
    text_embedding.TASK_TYPE: text_embedding.TextEmbedding,
    pdf_analysis.TASK_TYPE: pdf_analysis.PdfAnalysis,
    document_summarization.TASK_TYPE: document_summarization.DocumentSummarization,
    audio_analysis.TASK_TYPE: audio_analysis.AudioAnalysis,
    speech_to_text.TASK_TYPE: speech_to_text.SpeechToText,
    multimodal_analysis.TASK_TYPE: multimodal_analysis.MultimodalAnalysis,
}
"""Processors by task type; `docs/task-types.md` lists them in this order."""
