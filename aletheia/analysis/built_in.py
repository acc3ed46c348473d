"""The task types that come with Aletheia."""

from collections.abc import Mapping
from typing import Final

from aletheia.analysis import text_embedding
from aletheia.analysis.tools import Build

BUILT_IN: Final[Mapping[str, Build]] = {text_embedding.TASK_TYPE: text_embedding.TextEmbedding}
"""Processors by task type; `docs/task-types.md` lists them in this order."""
