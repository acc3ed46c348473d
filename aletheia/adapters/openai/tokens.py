"""Counting tokens by the tables that tiktoken downloads; a text's bytes bound them without."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Final, TypeAlias

import tiktoken
from tiktoken import Encoding

from aletheia.adapters.embedding.parts import halve

log = logging.getLogger(__name__)

BYTES_PER_TOKEN: Final = 128
"""Length of the longest token in OpenAI's tables: 128 blanks."""

SLACK: Final = 8
"""Tokens left free in a window: what is cut off may be read differently without what follows."""

REACH: Final = 64
"""Tokens that a cut moves back at most to find a blank."""


Load: TypeAlias = Callable[[str], Encoding]  # by the encoding's name; blocking


class TokenTables:
    """The encodings of OpenAI's models; the first call waits `wait_s` for one, others do not."""

    def __init__(self, load: Load = tiktoken.get_encoding, *, wait_s: float = 5.0) -> None:
        self._load, self._wait_s = load, wait_s
        self._fetches: dict[str, _Fetch] = {}

    def ready(self, model: str) -> Encoding | None:
        """Return a model's encoding if it is there, and begin to fetch it if it is not."""
        fetch = self._fetch(model)
        return None if fetch is None else fetch.encoding

    async def find(self, model: str) -> Encoding | None:
        """Return a model's encoding, waiting for it as long as is allowed; `None` without one."""
        fetch = self._fetch(model)
        if fetch is None:
            return None
        left_s = fetch.started + self._wait_s - time.monotonic()
        if left_s > 0 and not fetch.is_over.is_set():
            await asyncio.to_thread(fetch.is_over.wait, left_s)
        return fetch.encoding

    def _fetch(self, model: str) -> "_Fetch | None":
        try:
            name = tiktoken.encoding_name_for_model(model)
        except KeyError:
            return None
        if name not in self._fetches:
            self._fetches[name] = _Fetch(name, self._load)
        return self._fetches[name]


class _Fetch:
    """An encoding on its way, in a daemon thread: tiktoken downloads without a timeout."""

    def __init__(self, name: str, load: Load) -> None:
        self.encoding: Encoding | None = None
        self.is_over = threading.Event()
        self.started = time.monotonic()
        threading.Thread(
            target=self._run, args=(name, load), daemon=True, name=f"tables of {name}"
        ).start()

    def _run(self, name: str, load: Load) -> None:
        try:
            self.encoding = load(name)
        except Exception as error:  # noqa: BLE001 - whatever it is, counting goes on without
            reason = f"{type(error).__name__}: {str(error)[:200]}"
            log.warning("tokens are counted as bytes, without the tables of %s: %s", name, reason)
        finally:
            self.is_over.set()


def count_bytes(text: str) -> int:
    """Return the upper bound of a text's tokens that needs no tables."""
    return len(text.encode())


def split_text(encoding: Encoding, text: str, max_tokens: int) -> list[tuple[str, int]]:
    """Cut a text, between words if possible, into windows and the tokens of each."""
    tokens = encoding.encode_ordinary(text)
    if len(tokens) <= max_tokens:
        return [(text, len(tokens))]
    capacity = max(1, max_tokens - min(SLACK, max_tokens // 8))
    _, starts = encoding.decode_with_offsets(tokens)
    windows: list[str] = []
    first = 0
    while len(tokens) - first > capacity:
        cut = first + capacity
        lowest = max(first + capacity // 2, cut - REACH)
        while cut > lowest and not text[starts[cut]].isspace():
            cut -= 1
        if cut == lowest:
            cut = first + capacity
        windows.append(text[starts[first] : starts[cut]])
        first = cut
    windows.append(text[starts[first] :])
    return [fitting for window in windows for fitting in _fit(encoding, window, max_tokens)]


def _fit(encoding: Encoding, window: str, max_tokens: int) -> list[tuple[str, int]]:
    """Count a window's tokens again, and halve it if need be."""
    if not window.strip():
        return []
    count = len(encoding.encode_ordinary(window))
    halves = halve(window) if count > max_tokens else None
    if halves is None:
        return [(window, count)]
    return [fitting for half in halves for fitting in _fit(encoding, half, max_tokens)]
