"""What reads recordings, and what transcribes them, in processes with limits."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from importlib.util import find_spec
from typing import Final

from aletheia.adapters.audio.analyser import ChildAnalyser
from aletheia.adapters.audio.cutter import ChildCutter
from aletheia.adapters.audio.models import ENGLISH, SpeechHub, find_packaged, find_speech_model
from aletheia.adapters.audio.transcriber import SPHINX_JOB, WHISPER_JOB, ChildTranscriber
from aletheia.adapters.children.pool import Children
from aletheia.analysis.audio_ports import AudioAnalyser
from aletheia.analysis.audio_settings import SpeechChoice
from aletheia.analysis.document_text import PageCache
from aletheia.analysis.speech_ports import SpeechEngine
from aletheia.analysis.transcripts import TranscriptCollector
from aletheia.errors import Misconfigured, ModelUnavailable
from blocks import OpenAICredentials
from tasks.clients.embedding import get_hub
from tasks.clients.metering import get_meter
from tasks.session import current_session, load_block, once

log = logging.getLogger(__name__)

SEGMENTS: Final = "segments 1"
"""Scope of segments in the cache of results; the number changes when they are made otherwise."""


@once
async def get_analyser() -> AudioAnalyser:
    """Return what measures recordings; its processes are started when they are needed."""
    session = current_session()
    settings = session.settings
    children = Children(settings.audio.audio_memory_max, count=settings.decoders.decoder_processes)
    return ChildAnalyser(await session.clients.open(children), settings.audio)


async def build_transcripts(cache: PageCache) -> TranscriptCollector:
    """Build what transcribes recordings, by all engines that are here, in order."""
    chosen = current_session().settings.speech.speech_engine
    wanted = ENGINES if chosen == "auto" else {chosen: ENGINES[chosen]}
    found = [await find() for find in wanted.values()]
    return TranscriptCollector([engine for engine in found if engine is not None], cache=cache)


async def _find_whisper() -> SpeechEngine | None:
    settings = current_session().settings
    if not all(find_spec(name) for name in ("faster_whisper", "ctranslate2", "onnxruntime")):
        return None
    try:
        model = await asyncio.to_thread(
            find_speech_model,
            settings.speech.speech_model,
            directory=settings.embedding.local_model_dir,
            hub=await get_hub(SpeechHub),
            packaged=find_packaged(),
        )
    except ModelUnavailable as missing:
        log.warning("speech is transcribed without Whisper: %s", missing)
        return None
    return ChildTranscriber(
        await _get_speakers(),
        job=WHISPER_JOB,
        provider="faster-whisper",
        model=model.name,
        languages=model.languages,
        arguments={"directory": str(model.directory), "threads": settings.speech.speech_threads},
        audio=settings.audio,
        speech=settings.speech,
    )


async def _find_openai() -> SpeechEngine | None:
    session = current_session()
    settings = session.settings
    try:
        account = await load_block(OpenAICredentials)
    except Misconfigured:
        return None
    if not account.has_key:
        return None
    # It cuts recordings, which needs little memory.
    children = Children(settings.audio.audio_memory_max, count=settings.decoders.decoder_processes)
    cutter = ChildCutter(await session.clients.open(children), settings.audio)
    model, guard = settings.speech.speech_api_model, await get_meter()
    transcriber = account.get_transcriber(cutter, model=model, guard=guard)
    return await session.clients.open(transcriber)


async def _find_sphinx() -> SpeechEngine | None:
    settings = current_session().settings
    if find_spec("pocketsphinx") is None:
        return None
    return ChildTranscriber(
        await _get_speakers(),
        job=SPHINX_JOB,
        provider="pocketsphinx",
        model="en-us",
        languages=ENGLISH,
        arguments={},
        audio=settings.audio,
        speech=settings.speech,
    )


@once
async def _get_speakers() -> Children:
    session = current_session()
    return await session.clients.open(Children(session.settings.speech.speech_memory_max))


ENGINES: Final[Mapping[SpeechChoice, Callable[[], Awaitable[SpeechEngine | None]]]] = {
    "whisper": _find_whisper,
    "openai": _find_openai,
    "pocketsphinx": _find_sphinx,
}
"""What finds each engine, the best first; `None` where it is not here."""
