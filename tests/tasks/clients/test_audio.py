"""What measures and transcribes recordings is built for a session, as its settings say."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from pydantic import SecretStr

from aletheia.adapters.audio.models import find_packaged
from aletheia.analysis.speech_ports import SpeechEngine
from aletheia.errors import InvalidTask
from aletheia.llm.calls import Guard, unguarded
from blocks import OpenAICredentials
from tasks.clients import audio
from tasks.clients.audio import build_transcripts, get_analyser
from tasks.clients.metering import get_meter
from tasks.session import load_block, open_session
from tests.fakes.files import MemoryCache

HAS_WHISPER = find_packaged() is not None and find_spec("faster_whisper") is not None


def find_nothing(name: str) -> None:
    """Find no package, as where none is installed."""
    del name


async def choose(language: str | None = None, key: str | None = None) -> SpeechEngine:
    """Return the engine of a session whose account at OpenAI has a key, or none."""

    async def read_account() -> OpenAICredentials:
        return OpenAICredentials(api_key=None if key is None else SecretStr(key))

    async def make_guard() -> Guard:
        return unguarded

    async with open_session("run") as session:
        await session.clients.build((load_block, OpenAICredentials), read_account)
        await session.clients.build((get_meter,), make_guard)
        return (await build_transcripts(MemoryCache())).choose(language)


async def test_what_measures_recordings_is_there_once_a_session():
    async with open_session("run"):
        assert await get_analyser() is await get_analyser()


@pytest.mark.skipif(not HAS_WHISPER, reason="the extras `speech` and `offline` are missing")
async def test_the_model_that_comes_along_is_the_first():
    engine = await choose()
    assert (engine.provider, engine.model) == ("faster-whisper", "tiny.en")
    assert engine.languages == frozenset({"en"})


@pytest.mark.skipif(not HAS_WHISPER, reason="the extras `speech` and `offline` are missing")
async def test_what_the_model_does_not_know_is_asked_of_the_api():
    engine = await choose("de", "sk-test")
    assert (engine.provider, engine.model) == ("openai", "whisper-1")
    assert (await choose("en", "sk-test")).provider == "faster-whisper"


@pytest.mark.skipif(find_spec("pocketsphinx") is None, reason="pocketsphinx is not installed")
async def test_a_model_that_cannot_be_had_leaves_the_last_resort(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("SPEECH_MODEL", "nobody/no-such-model")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    engine = await choose()
    assert (engine.provider, engine.model) == ("pocketsphinx", "en-us")


@pytest.mark.parametrize("chosen", ["openai", "pocketsphinx", "whisper"])
async def test_the_engine_that_is_chosen_is_the_only_one(
    monkeypatch: pytest.MonkeyPatch, chosen: str
):
    monkeypatch.setenv("SPEECH_ENGINE", chosen)
    monkeypatch.setattr(audio, "find_spec", find_nothing)
    with pytest.raises(InvalidTask) as refused:
        await choose()
    assert refused.value.code == "no_speech_engine"


async def test_an_account_without_a_key_transcribes_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPEECH_ENGINE", "openai")
    for key in (None, "your_openai_api_key_here"):
        with pytest.raises(InvalidTask):
            await choose(key=key)
