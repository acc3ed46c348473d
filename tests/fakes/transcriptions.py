"""A strict `audio/transcriptions`, after OpenAI's reference.

https://platform.openai.com/docs/api-reference/audio/createTranscription
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final

import orjson
from aiohttp import BodyPartReader, web

from tests.fakes.faults import Faults

soundfile: Any = import_module("soundfile")  # which has no types

MAX_BYTES: Final = 25 * 2**20
_FIELDS: Final = frozenset(
    {
        *("file", "model", "language", "prompt", "response_format", "temperature"),
        *("timestamp_granularities[]", "include[]"),
    }
)


@dataclass(frozen=True, slots=True)
class Heard:
    """A request that was answered: its fields, and how long its sound plays."""

    fields: Mapping[str, str]
    seconds: float
    rate: int
    channels: int


@dataclass(slots=True)
class FakeTranscriptions(Faults):
    """Answers with segments that were set; `text_only` are models that give no segments."""

    api_key: str = "sk-test-0123456789abcdef"
    models: frozenset[str] = frozenset({"whisper-1", "gpt-4o-transcribe"})
    text_only: frozenset[str] = frozenset({"gpt-4o-transcribe"})
    languages: frozenset[str] = frozenset({"en", "de", "fr"})
    spoken: str = "english"
    segments: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    heard: list[Heard] = field(default_factory=list[Heard])
    url: str = ""
    _runner: web.ServerRunner | None = None

    def __post_init__(self) -> None:
        Faults.__init__(self)

    async def start(self) -> str:
        """Listen on a free port of 127.0.0.1; return the root of the API."""
        self._runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self.url

    async def stop(self) -> None:
        """Close all connections. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self.show_or(request, "transcriptions", lambda: self._answer(request))

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path != "/v1/audio/transcriptions" or request.method != "POST":
            return refuse(404, f"Invalid URL ({request.method} {request.path})")
        if request.headers.get("Authorization") != f"Bearer {self.api_key}":
            return refuse(401, "Incorrect API key provided.", code="invalid_api_key")
        fields, sound, name = await _read_form(request)
        refusal = self._check(fields, sound, name)
        if refusal is not None:
            return refusal
        with soundfile.SoundFile(io.BytesIO(sound)) as opened:
            seconds = opened.frames / opened.samplerate
            self.heard.append(Heard(fields, seconds, opened.samplerate, opened.channels))
        text = " ".join(str(segment["text"]).strip() for segment in self.segments)
        if fields.get("response_format") != "verbose_json":
            return answer({"text": text, "usage": {"type": "duration", "seconds": seconds}})
        shown = {"task": "transcribe", "language": self.spoken, "duration": seconds, "text": text}
        return answer({**shown, "segments": self.segments})

    def _check(
        self, fields: Mapping[str, str], sound: bytes, name: str
    ) -> web.StreamResponse | None:
        model = fields.get("model", "")
        if unknown := fields.keys() - _FIELDS:
            return refuse(400, f"Unrecognized request arguments: {sorted(unknown)}")
        if model not in self.models:
            said = f"The model `{model}` does not exist or you do not have access to it."
            return refuse(404, said, code="model_not_found")
        if not sound or not name.endswith((".flac", ".mp3", ".wav", ".ogg", ".webm", ".m4a")):
            return refuse(400, "Unrecognized file format.", param="file")
        if len(sound) > MAX_BYTES:
            return refuse(413, "Maximum content size limit (26214400) exceeded")
        return self._check_options(fields)

    def _check_options(self, fields: Mapping[str, str]) -> web.StreamResponse | None:
        model, form = fields["model"], fields.get("response_format", "json")
        if model in self.text_only and form not in ("json", "text"):
            said = f"response_format '{form}' is not compatible with model '{model}'."
            return refuse(400, said, param="response_format")
        if fields.get("language", "en") not in self.languages:
            return refuse(400, "Language is not supported.", param="language")
        return None


def answer(value: Mapping[str, Any], status: int = 200) -> web.StreamResponse:
    """Return a JSON object."""
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")


def refuse(
    status: int, message: str, *, code: str | None = None, param: str | None = None
) -> web.StreamResponse:
    """Return an error as OpenAI writes it."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return answer({"error": error}, status)


async def _read_form(request: web.BaseRequest) -> tuple[dict[str, str], bytes, str]:
    fields: dict[str, str] = {}
    sound, name = b"", ""
    whole = request.clone(client_max_size=2 * MAX_BYTES)
    async for part in await whole.multipart():
        assert isinstance(part, BodyPartReader)
        if part.name == "file":
            sound, name = await _read_part(part), part.filename or ""
        else:
            fields[part.name or ""] = (await part.read()).decode()
    return fields, sound, name


async def _read_part(part: BodyPartReader) -> bytes:
    """Read a file of any length; `part.read` takes a megabyte at most."""
    chunks: list[bytes] = []
    while chunk := await part.read_chunk(2**16):
        chunks.append(chunk)
    return b"".join(chunks)
