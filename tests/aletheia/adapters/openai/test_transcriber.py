"""Speech by an API, part by part."""

import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from aletheia.adapters.audio import cutting
from aletheia.adapters.audio.cutter import ChildCutter
from aletheia.adapters.children.pool import Children
from aletheia.adapters.openai.transcriber import OpenAITranscriber
from aletheia.adapters.openai.wire import Api
from aletheia.analysis.audio_settings import AudioSettings
from aletheia.analysis.ports import FetchedFile
from aletheia.analysis.speech_ports import SpeechEnd, SpeechProgress, SpeechSegment
from aletheia.errors import AletheiaError
from aletheia.llm.calls import PlannedCall, Sent
from aletheia.llm.prices import Kind
from tests.fakes.recordings import Sound, make_noise, write_sound
from tests.fakes.speech import Piece
from tests.fakes.transcriptions import FakeTranscriptions

SAID = [
    {"id": 0, "start": 0.0, "end": 4.0, "text": " Good morning.", "avg_logprob": -0.2},
    {"id": 1, "start": 4.0, "end": 9.5, "text": " Goodbye.", "avg_logprob": -0.4},
]


class NotingGuard:
    """Sends every request, and notes what it may cost."""

    def __init__(self) -> None:
        self.plans: list[tuple[str, str, int]] = []

    async def __call__(self, call: PlannedCall[Any], probe: object = None) -> Any:
        del probe
        plan = call.plan
        self.plans.append((plan.provider, plan.kind, plan.max_tokens.total))
        sent: Sent = await call.send()
        assert sent.used.total <= plan.max_tokens.total
        return sent

    async def capacity(
        self, provider: str, model: str, kind: Kind, requests: Sequence[Sequence[int]]
    ) -> int:
        del provider, model, kind
        return len(requests)


@pytest.fixture
async def children() -> AsyncGenerator[Children]:
    opened = Children(AudioSettings().audio_memory_max)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def server() -> AsyncGenerator[FakeTranscriptions]:
    fake = FakeTranscriptions(segments=[dict(segment) for segment in SAID])
    await fake.start()
    yield fake
    await fake.stop()


async def transcribe(
    children: Children,
    server: FakeTranscriptions,
    sound: Sound,
    *,
    model: str = "whisper-1",
    key: str | None = None,
    language: str | None = None,
    from_s: float = 0.0,
    guard: NotingGuard | None = None,
) -> tuple[list[Piece], AletheiaError | None]:
    api = Api("openai", key or server.api_key, server.url)
    engine = OpenAITranscriber(
        *(api, ChildCutter(children, AudioSettings())),
        model=model,
        timeout_s=10,
        guard=guard or NotingGuard(),
    )
    data = write_sound(sound, 16_000, container="FLAC")
    found: list[Piece] = []
    await engine.open()
    try:
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.flush()
            fetched = FetchedFile(file.fileno(), len(data), "0" * 64, "flac", "a file")
            pieces = engine.transcribe(fetched, language=language, from_s=from_s)
            async with aclosing(pieces):
                async for piece in pieces:
                    found.append(piece)  # noqa: PERF401 - what came before an error is the point
    except AletheiaError as error:
        return found, error
    finally:
        await engine.close()
    return found, None


async def test_segments_come_with_their_times(children: Children, server: FakeTranscriptions):
    guard = NotingGuard()
    pieces, error = await transcribe(children, server, make_noise(10, rate=16_000), guard=guard)
    assert error is None
    assert [piece for piece in pieces if isinstance(piece, SpeechSegment)] == [
        SpeechSegment(0.0, 4.0, "Good morning.", -0.2, "en"),
        SpeechSegment(4.0, 9.5, "Goodbye.", -0.4, "en"),
    ]
    assert pieces[-2:] == [SpeechProgress(10.0), SpeechEnd(10.0, is_broken=False)]
    assert guard.plans == [("openai", "transcription", 10)]
    (heard,) = server.heard
    assert (heard.rate, heard.channels, heard.seconds) == (16_000, 1, 10.0)
    assert "language" not in heard.fields


async def test_a_long_recording_is_sent_in_parts(children: Children, server: FakeTranscriptions):
    guard = NotingGuard()
    sound = make_noise(400, rate=16_000, level=0.01)
    pieces, error = await transcribe(children, server, sound, guard=guard, language="en")
    assert error is None
    assert len(server.heard) == 2
    assert sum(heard.seconds for heard in server.heard) == pytest.approx(400)
    assert [heard.fields["language"] for heard in server.heard] == ["en", "en"]
    starts = [piece.start_s for piece in pieces if isinstance(piece, SpeechSegment)]
    assert starts[:2] == [0.0, 4.0]
    assert starts[2] == pytest.approx(server.heard[0].seconds)
    assert len(guard.plans) == 2


async def test_what_was_paid_for_is_not_sent_again(children: Children, server: FakeTranscriptions):
    sound = make_noise(400, rate=16_000, level=0.01)
    pieces, error = await transcribe(children, server, sound, from_s=350)
    assert error is None
    assert [heard.seconds for heard in server.heard] == [pytest.approx(50)]
    segments = [piece for piece in pieces if isinstance(piece, SpeechSegment)]
    assert segments[0].start_s == 350


async def test_silence_is_not_sent(children: Children, server: FakeTranscriptions):
    pieces, error = await transcribe(children, server, np.zeros((1, 160_000), np.float32))
    assert error is None
    assert server.heard == []
    assert pieces[-1] == SpeechEnd(10.0, is_broken=False)


async def test_what_the_model_itself_doubts_is_left_out(
    children: Children, server: FakeTranscriptions
):
    server.segments[1] |= {"avg_logprob": -1.4, "no_speech_prob": 0.9}
    pieces, _ = await transcribe(children, server, make_noise(10, rate=16_000))
    said = [piece.text for piece in pieces if isinstance(piece, SpeechSegment)]
    assert said == ["Good morning."]


async def test_a_model_without_segments_gives_one_a_part(
    children: Children, server: FakeTranscriptions
):
    sound = make_noise(10, rate=16_000)
    pieces, error = await transcribe(children, server, sound, model="gpt-4o-transcribe")
    assert error is None
    segments = [piece for piece in pieces if isinstance(piece, SpeechSegment)]
    assert [(found.start_s, found.end_s, found.text) for found in segments] == [
        (0.0, 10.0, "Good morning. Goodbye.")
    ]
    assert segments[0].log_probability is None


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"model": "whisper-9"}, "model_not_found"),
        ({"language": "tlh"}, "unsupported_language"),
        ({"key": "sk-wrong"}, "unauthorized"),
    ],
)
async def test_refusals_have_their_codes(
    children: Children, server: FakeTranscriptions, given: dict[str, Any], code: str
):
    _, error = await transcribe(children, server, make_noise(2, rate=16_000), **given)
    assert error is not None
    assert error.code == code
    assert server.api_key not in str(error)


@pytest.mark.parametrize(
    ("body", "is_ours"),
    [
        (b"{}", True),
        (b'{"text": 7}', True),
        (b'{"text": "a", "segments": [{"text": "a"}]}', True),
        (b'{"text": "a", "segments": [7, null]}', True),
        (b"<html>", True),
        (b'{"text": "a", "segments": [{"start": -9, "end": 1e300, "text": "a"}]}', False),
    ],
)
async def test_answers_that_are_none_are_the_providers_fault(
    children: Children, server: FakeTranscriptions, body: bytes, is_ours: bool
):
    server.answer_next(body)
    pieces, error = await transcribe(children, server, make_noise(2, rate=16_000))
    assert (error is not None) == is_ours
    for piece in pieces:
        if isinstance(piece, SpeechSegment):
            assert 0 <= piece.start_s <= piece.end_s <= 2


async def test_a_server_that_is_over_its_limit_is_waited_for(
    children: Children, server: FakeTranscriptions
):
    server.fail_next(429, retry_after=7)
    _, error = await transcribe(children, server, make_noise(2, rate=16_000))
    assert error is not None
    assert error.retry_after_s == 7


def test_parts_are_not_larger_than_an_api_takes():
    # 16 bits of 16 kHz for 330 s, even where FLAC makes nothing smaller.
    assert 2 * 16_000 * 330 < 25 * 2**20
    assert cutting.SPEECH_RATE == 16_000
