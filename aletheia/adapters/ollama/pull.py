"""The download of a model, as the server's stream reports it."""

from typing import Final

import aiohttp
from aiohttp.http_exceptions import LineTooLong

from aletheia.adapters.http_answers import as_text, excerpt, load_object
from aletheia.adapters.ollama.wire import OLLAMA, SAYS_NO_MODEL, read_error, read_number
from aletheia.analysis.model_manager import PullProgress
from aletheia.errors import BadAnswer, InvalidTask, Unavailable

MAX_LAYERS: Final = 10_000

_DOWNLOADING: Final = ("pulling", "downloading")
"""How a status begins while bytes are expected; to verify them takes long and says nothing."""


class Pull:
    """A download as far as its stream has been read."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._layers: dict[str, tuple[int, int]] = {}
        self._last: PullProgress | None = None
        self.expects_bytes = True

    def __str__(self) -> str:
        shown = f"the download of {self._model!r}"
        if self._last is None:
            return shown
        completed, total = self._last.completed_bytes, self._last.total_bytes
        return f"{shown}, {completed:,} of {total:,} bytes complete,"

    async def read_next(self, content: aiohttp.StreamReader) -> PullProgress | None:
        """Read the next line, `None` for nothing new; `InvalidTask` without such a model."""
        try:
            line = await content.readline()
            if not line:
                raise Unavailable(OLLAMA, f"{self} broke off")
            event = load_object(line)
        except (ValueError, LineTooLong) as error:
            raise BadAnswer(OLLAMA, f"{self} brought what is {error}") from None
        except aiohttp.ClientError as error:
            raise Unavailable(OLLAMA, f"{self} broke off ({type(error).__name__})") from error
        if said := read_error(event):
            said = excerpt(said)
            if SAYS_NO_MODEL.search(said):
                raise InvalidTask("model_not_found", f"{self._model!r}: {said}")
            raise Unavailable(OLLAMA, f"{self} failed: {said}")
        status = as_text(event.get("status"))[:200]
        if isinstance(digest := event.get("digest"), str):
            layer = read_number(event, "completed") or 0, read_number(event, "total") or 0
            self._layers[digest] = layer
            if len(self._layers) > MAX_LAYERS:
                raise BadAnswer(OLLAMA, f"{self} has more than {MAX_LAYERS:,} layers")
        progress = PullProgress(
            self._model,
            status,
            sum(completed for completed, _ in self._layers.values()),
            sum(total for _, total in self._layers.values()),
        )
        if progress == self._last:
            return None
        self._last = progress
        self.expects_bytes = status.startswith(_DOWNLOADING)
        return progress
