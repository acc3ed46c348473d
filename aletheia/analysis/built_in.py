"""The task types that come with Aletheia."""

from collections.abc import Mapping
from typing import Final

from aletheia.analysis import (
    document_summarization,
    pdf_analysis,
    sentiment_analysis,
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
}
"""Processors by task type; `docs/task-types.md` lists them in this order."""
