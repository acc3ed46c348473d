"""Speech by https://platform.openai.com/docs/api-reference/audio/createTranscription."""

import hashlib
import io
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Final, cast

import aiohttp

from aletheia.adapters.audio.cutter import ChildCutter, SoundPart
from aletheia.adapters.http_answers import as_object, as_text
from aletheia.adapters.openai.wire import Api, ErrorAnswer, check_model_name
from aletheia.analysis.audio_ports import AudioHead
from aletheia.analysis.ports import FetchedFile
from aletheia.analysis.speech_ports import SpeechEnd, SpeechProgress, SpeechSegment
from aletheia.errors import AletheiaError, BadAnswer, InvalidTask
from aletheia.llm.calls import CallPlan, Guard, PlannedCall, unguarded
from aletheia.llm.prices import Tokens
from aletheia.text.language import guess_language
from aletheia.text.language_names import code_of

OPENAI: Final = "openai"

MAX_ANSWER_BYTES: Final = 8_000_000
MAX_SEGMENTS: Final = 10_000
MAX_TEXT_CHARS: Final = 100_000
"""Bounds of the answer about one part, of some minutes."""

MAX_NUMBER: Final = 1e9

NO_SPEECH: Final = 0.6
MIN_LOG_PROBABILITY: Final = -1.0
"""A segment that is less likely speech and that little sure is none: Whisper's own rule."""

_REFUSALS: Final = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)


@dataclass(frozen=True, slots=True)
class _Heard:
    """What was said in a part, and what it counts as."""

    segments: Sequence[SpeechSegment]
    used: Tokens


class OpenAITranscriber:
    """A `SpeechEngine` that sends parts of some minutes to `POST /audio/transcriptions`.

    A part counts as a token a second, see `Kind`. Nothing is retried here.
    """

    provider = OPENAI
    languages: frozenset[str] | None = None

    def __init__(
        self,
        api: Api,
        cutter: ChildCutter,
        *,
        model: str,
        timeout_s: float,
        guard: Guard = unguarded,
    ) -> None:
        self.model, self.open, self.close = model, api.open, api.close
        self._api, self._cutter, self._guard = api, cutter, guard
        self._timeout_s = timeout_s
        self._form = "verbose_json"  # with segments; newer models give their text alone

    def __repr__(self) -> str:
        return f"OpenAITranscriber({self._api.base_url!r}, ***)"

    async def transcribe(
        self, file: FetchedFile, *, language: str | None = None, from_s: float = 0.0
    ) -> AsyncGenerator[AudioHead | SpeechSegment | SpeechProgress | SpeechEnd]:
        """See `aletheia.analysis.speech_ports.SpeechEngine.transcribe`."""
        check_model_name(self.model)
        async with aclosing(self._cutter.cut(file, from_s)) as parts:
            async for part in parts:
                if not isinstance(part, SoundPart):
                    yield part
                    continue
                for segment in await self._hear(part, language):
                    yield segment
                yield SpeechProgress(part.begin_s + part.seconds)

    async def _hear(self, part: SoundPart, language: str | None) -> Sequence[SpeechSegment]:
        hashed = hashlib.sha256(part.flac).hexdigest()
        plan = CallPlan(
            provider=OPENAI,
            model=self.model,
            kind="transcription",
            key=f"speech/{self.model}/{language or ''}/{hashed}",
            max_tokens=count_seconds(part),
        )
        heard = await self._guard(PlannedCall(plan, partial(self._ask, part, language)))
        return heard.segments

    async def _ask(self, part: SoundPart, language: str | None) -> _Heard:
        answer = await self._send(part, language)
        if isinstance(answer, ErrorAnswer) and self._gives_in(answer):
            answer = await self._send(part, language)
        if isinstance(answer, ErrorAnswer):
            raise self._translate(answer)
        try:
            segments = read_segments(answer, part, language)
        except ValueError as error:
            raise BadAnswer(OPENAI, str(error), status=HTTPStatus.OK) from None
        return _Heard(segments, count_seconds(part))

    async def _send(self, part: SoundPart, language: str | None) -> dict[str, Any] | ErrorAnswer:
        form = aiohttp.FormData({"model": self.model, "response_format": self._form})
        if language is not None:
            form.add_field("language", language)
        if self._form == "verbose_json":
            form.add_field("timestamp_granularities[]", "segment")
        # Bytes of more than a megabyte would hold up the event loop.
        form.add_field(
            "file", io.BytesIO(part.flac), filename="part.flac", content_type="audio/flac"
        )
        return await self._api.ask(
            *("POST", "audio/transcriptions", form),
            timeout_s=max(self._timeout_s, part.seconds),
            max_bytes=MAX_ANSWER_BYTES,
        )

    def _gives_in(self, answer: ErrorAnswer) -> bool:
        """Ask for the text alone from now on, if a refusal speaks against the form."""
        said = f"{answer.param} {answer.message}"
        is_form = "response_format" in said or "verbose_json" in said or "granularities" in said
        if not is_form or self._form == "json" or answer.status not in _REFUSALS:
            return False
        self._form = "json"
        return True

    def _translate(self, answer: ErrorAnswer) -> AletheiaError:
        said = answer.show(self._api.key) or f"{OPENAI} refused it with {answer.status}"
        if answer.is_missing_model:
            return InvalidTask("model_not_found", said)
        if answer.is_about_request and answer.status in _REFUSALS:
            is_language = answer.param == "language" or "language" in answer.message.lower()
            return InvalidTask("unsupported_language" if is_language else "audio_refused", said)
        return answer.to_error(OPENAI, self._api.key)


def count_seconds(part: SoundPart) -> Tokens:
    """Return what a part counts as: a token for each second that has begun."""
    return Tokens(max(1, math.ceil(part.seconds)))


def read_segments(
    answer: dict[str, Any], part: SoundPart, language: str | None
) -> list[SpeechSegment]:
    """Read the segments of an answer, or its text as one; `ValueError` if it has neither."""
    text = answer.get("text")
    if not isinstance(text, str):
        raise ValueError("no text")  # noqa: TRY004 - readers raise ValueError
    spoken = code_of(as_text(answer.get("language"))) or language or guess_language(text) or "und"
    listed = answer.get("segments")
    if not isinstance(listed, list) or not listed:
        said = text.strip()[:MAX_TEXT_CHARS]
        whole = SpeechSegment(part.begin_s, part.begin_s + part.seconds, said, None, spoken)
        return [whole] if said else []
    entries = [as_object(entry) for entry in cast("list[object]", listed)[:MAX_SEGMENTS]]
    segments = (_read_segment(entry, part, spoken) for entry in entries)
    return sorted((segment for segment in segments if segment), key=lambda found: found.start_s)


def _read_segment(entry: dict[str, Any], part: SoundPart, language: str) -> SpeechSegment | None:
    start, end = _number(entry.get("start")), _number(entry.get("end"))
    text = as_text(entry.get("text")).strip()[:MAX_TEXT_CHARS]
    if start is None or end is None:
        raise ValueError("a segment without its times")
    sure, silent = _number(entry.get("avg_logprob")), _number(entry.get("no_speech_prob"))
    is_doubtful = sure is not None and sure < MIN_LOG_PROBABILITY
    if not text or (is_doubtful and silent is not None and silent > NO_SPEECH):
        return None
    start = min(max(start, 0.0), part.seconds)
    end = min(max(end, start), part.seconds)
    known = None if sure is None else min(0.0, sure)
    begin = part.begin_s
    return SpeechSegment(round(begin + start, 3), round(begin + end, 3), text, known, language)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124 - NaN
        return None
    return float(max(-MAX_NUMBER, min(MAX_NUMBER, value)))
