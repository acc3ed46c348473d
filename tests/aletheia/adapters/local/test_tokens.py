from typing import Any, cast

import pytest
from transformers import AutoTokenizer

from aletheia.adapters.local.source import packaged_copy
from aletheia.adapters.local.tokens import WindowTokenizer

LONG = " ".join(f"word{number} is not number {number + 1}." for number in range(300))


@pytest.fixture(scope="module")
def tokens() -> WindowTokenizer:
    tokenizer = cast("Any", AutoTokenizer).from_pretrained(str(packaged_copy()))
    return WindowTokenizer(tokenizer, prompt="", max_tokens=256)


@pytest.mark.parametrize(
    "text",
    [
        LONG,
        "antidisestablishment-" * 300,
        "ab" * 5_000,
        "汉字" * 400,
        "a\n\n" * 400,
        "é" * 90 + " x" * 600,
    ],
)
def test_parts_are_read_whole_and_leave_nothing_out(text: str, tokens: WindowTokenizer):
    parts = list(tokens.split(text))

    assert "".join(parts) == text
    assert all(len(tokens.tokenise([part])[0]) <= 256 for part in parts)


def test_parts_begin_at_words(tokens: WindowTokenizer):
    parts = list(tokens.split(LONG))

    assert all(LONG[at - 1] == " " for part in parts[1:] if (at := LONG.index(part)))
