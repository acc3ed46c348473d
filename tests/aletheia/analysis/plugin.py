"""Stands for a user's package with a processor of its own."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from aletheia.analysis.processor import Finished


class WordCount:
    """Counts words."""

    def admit(self, task_input: Mapping[str, Any]) -> str:
        """Take anything."""
        del task_input
        return "words"

    async def process(
        self, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> AsyncGenerator[Sequence[Finished]]:
        """Count the words of each text."""
        del group
        yield [Finished(i, {"words": len(one["text"].split())}) for i, one in enumerate(inputs)]
