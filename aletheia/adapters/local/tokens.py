"""Tokens of texts, and the windows that a model reads."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

SPLIT_SLACK: Final = 2
"""Tokens left free in a window: its first word may be read differently without what precedes."""


@dataclass(frozen=True, slots=True)
class Window:
    """What the model reads in one pass: a text, or a part of a long one, and its token ids."""

    index: int
    text: str
    ids: list[int]


class WindowTokenizer:
    """Turns texts, each behind the `prompt`, into token ids; a fast one knows their offsets."""

    def __init__(self, tokenizer: Any, *, prompt: str, max_tokens: int | None) -> None:
        self._tokenizer, self._prompt, self._max_tokens = tokenizer, prompt, max_tokens
        self._has_prompts = isinstance(tokenizer, PreTrainedTokenizerBase)
        self.is_fast: bool = self._has_prompts and tokenizer.is_fast

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of texts, with the prompt and what the model adds, not cut off."""
        if self._has_prompts:
            prompted = [self._prompt + text for text in texts]
            without = {"return_attention_mask": False, "return_token_type_ids": False}
            return self._tokenizer(prompted, **without, verbose=False)["input_ids"]
        if isinstance(self._tokenizer, Tokenizer):
            return [encoded.ids for encoded in self._tokenizer.encode_batch(list(texts))]
        return [list(range(len(text.split()))) for text in texts]

    def window(self, index: int, text: str) -> Window:
        """Return one text as a window, cut off at what the model reads."""
        if self._max_tokens is None or not self._has_prompts:
            return Window(index, text, self.tokenise([text])[0])
        prompted, limit = self._prompt + text, self._max_tokens
        ids = self._tokenizer(prompted, truncation=True, max_length=limit)
        return Window(index, text, ids["input_ids"])

    @property
    def overhead(self) -> int:
        """Number of tokens that every window has beside those of its text."""
        return len(self.tokenise([""])[0])

    def split(self, text: str) -> Iterator[str]:
        """Yield parts of a long text that the model reads whole, cut between words if possible."""
        assert self._max_tokens is not None
        capacity = max(1, self._max_tokens - self.overhead - SPLIT_SLACK)
        encoded = self._tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        starts = [start for start, _ in encoded["offset_mapping"]]
        words = encoded.word_ids(0)
        first = 0
        while len(starts) - first > capacity:
            cut = first + capacity
            while cut > first + 1 and words[cut] is not None and words[cut] == words[cut - 1]:
                cut -= 1
            if cut == first + 1:
                cut = first + capacity
            yield text[starts[first] : starts[cut]]
            first = cut
        yield text[starts[first] :]
