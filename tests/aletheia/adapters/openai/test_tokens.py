import asyncio
import logging
import threading
import time
from typing import cast

import pytest

from aletheia.adapters.openai.tokens import Encoding, TokenTables, count_bytes, split_text
from tests.fakes.openai import make_encoding

SMALL = "text-embedding-3-small"


class Source:
    """Where tables come from: at once, when they are let go, or never."""

    def __init__(self, *, is_held: bool = False, fails: bool = False) -> None:
        self.asked: list[str] = []
        self.may_continue = threading.Event()
        self._fails = fails
        if not is_held:
            self.may_continue.set()

    def __call__(self, name: str) -> Encoding:
        self.asked.append(name)
        self.may_continue.wait(10)
        if self._fails:
            raise OSError("no route to the tables")
        return make_encoding()


async def test_tables_are_fetched_once_and_for_an_encoding_rather_than_a_model() -> None:
    source = Source()
    tables = TokenTables(source)
    found = [await tables.find(model) for model in (SMALL, SMALL, "text-embedding-3-large")]
    assert found[0] is not None
    assert found[0] is found[1] is found[2] is tables.ready(SMALL)
    assert source.asked == ["cl100k_base"]


async def test_a_model_that_is_not_openais_has_no_tables() -> None:
    source = Source()
    tables = TokenTables(source)
    assert await tables.find("BAAI/bge-m3") is None
    assert tables.ready("BAAI/bge-m3") is None
    assert source.asked == []


async def test_tables_that_cannot_be_had_are_asked_for_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = Source(fails=True)
    tables = TokenTables(source)
    with caplog.at_level(logging.WARNING):
        assert [await tables.find(SMALL) for _ in range(3)] == [None] * 3
    assert source.asked == ["cl100k_base"]
    (record,) = caplog.records
    assert "without the tables of cl100k_base: OSError: no route" in record.message


async def test_tables_that_are_long_in_coming_are_waited_for_once_and_used_when_there() -> None:
    source = Source(is_held=True)
    tables = TokenTables(source, wait_s=0.1)
    started = time.monotonic()
    assert tables.ready(SMALL) is None
    assert await tables.find(SMALL) is None
    waited = time.monotonic() - started
    assert 0.09 < waited < 1
    for _ in range(100):
        assert await tables.find(SMALL) is None
    assert time.monotonic() - started - waited < 0.09
    source.may_continue.set()
    while tables.ready(SMALL) is None:
        await asyncio.sleep(0.005)
    assert source.asked == ["cl100k_base"]


@pytest.mark.parametrize("text", ["abc", "äöü", "😀", "", " "])
def test_bytes_are_never_fewer_than_tokens(text: str) -> None:
    assert count_bytes(text) >= len(make_encoding("abc").encode_ordinary(text))


def test_a_short_text_is_its_own_window() -> None:
    encoding = make_encoding("rain")
    assert split_text(encoding, "rain rain", 2) == [("rain rain", 2)]


def test_windows_are_cut_between_words_and_lose_nothing() -> None:
    encoding = make_encoding("rain", "spain", "plain")
    text = "rain in spain stays plain " * 40
    windows = split_text(encoding, text, 64)
    assert "".join(window for window, _ in windows) == text
    for window, count in windows[:-1]:
        assert count == len(encoding.encode_ordinary(window))
        assert 32 < count <= 64
        assert window[-1] != " "
    assert all(window[0] in "r " for window, _ in windows)


def test_names_of_special_tokens_are_text_like_any_other() -> None:
    assert split_text(make_encoding(), "a<|end|>b", 9) == [("a<|end|>b", 9)]


@pytest.mark.parametrize("text", ["x" * 1000, "漢字" * 200, "a😀" * 150, "\u0301" * 300])
def test_a_text_without_blanks_is_cut_between_characters(text: str) -> None:
    encoding = make_encoding()
    windows = split_text(encoding, text, 64)
    assert "".join(window for window, _ in windows) == text
    assert all(count == len(encoding.encode_ordinary(window)) for window, count in windows)
    assert all(count <= 64 for _, count in windows)


def test_a_window_of_nothing_but_blanks_is_left_out() -> None:
    windows = split_text(make_encoding(), "start" + " " * 300 + "end", 64)
    assert [window.strip() for window, _ in windows] == ["start", "end"]


class CostlyStarts:
    """An encoding that needs more tokens for a text the more its beginning is cut off."""

    def encode_ordinary(self, text: str) -> list[int]:
        return list(range(len(text) + (0 if text.startswith("^") else 10)))

    def decode_with_offsets(self, tokens: list[int]) -> tuple[str, list[int]]:
        return "", tokens


def test_a_window_that_turns_out_too_long_is_halved() -> None:
    text = "^" + "x" * 99
    windows = split_text(cast("Encoding", CostlyStarts()), text, 24)
    assert "".join(window for window, _ in windows) == text
    assert all(count <= 24 for _, count in windows)
