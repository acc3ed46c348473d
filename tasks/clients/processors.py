"""Everything that can be computed, and what processors are given (SPEC §3)."""

from collections.abc import Mapping
from typing import Final

from aletheia.analysis.built_in import BUILT_IN
from aletheia.analysis.document_text import DocumentCollector
from aletheia.analysis.model_manager import ModelHolder
from aletheia.analysis.other_types import OtherTypes
from aletheia.analysis.registry import Processors, load_processors
from aletheia.analysis.result_cache import ResultCache
from aletheia.analysis.settings import WorkerSettings
from aletheia.analysis.tools import BuildTool, Toolbox, WorkerChat
from aletheia.analysis.transcripts import TranscriptCollector
from aletheia.errors import Misconfigured
from tasks.clients.audio import SEGMENTS, build_transcripts, get_analyser
from tasks.clients.embedding import get_embedder, get_embedding_settings
from tasks.clients.files import PAGES, build_collector, get_fetcher
from tasks.clients.models import HOLDERS, build_model_holder
from tasks.clients.store import get_volatile_store
from tasks.clients.translation import get_translator
from tasks.session import current_session, once


@once
async def get_processors() -> Processors:
    """Return everything that can be computed; a model is loaded when there is work for it.

    Raises:
        Misconfigured: a built-in type lacks something that it needs.
    """
    time_limit_s = current_session().settings.workers.task_timeout
    return await load_processors(BUILT_IN, Toolbox(BUILDERS), time_limit_s=time_limit_s)


@once
async def get_worker_chat() -> WorkerChat:
    """Return the chat model of processors. Raises `Misconfigured`: as `get_chat`."""
    # Most processors ask no model, and what does takes a while to import.
    from tasks.clients.chat import get_chat, get_default_model  # noqa: PLC0415 - see above

    model = current_session().settings.workers.worker_llm_model or await get_default_model()
    return WorkerChat(await get_chat(), model)


@once
async def get_result_cache() -> ResultCache:
    """Return the cache of what processors made."""
    ttl_s = current_session().settings.intake.result_cache_ttl
    cache = ResultCache(await get_volatile_store(), scope="", ttl_s=ttl_s)
    await cache.prepare()
    return cache


@once
async def _get_models() -> ModelHolder:
    mode = (await get_embedding_settings()).processing_mode
    if (provider := HOLDERS.get(mode)) is None:
        raise Misconfigured("PROCESSING_MODE", f"no models are held where it is {mode!r}")
    return await build_model_holder(provider)


async def _get_documents() -> DocumentCollector:
    return await build_collector((await get_result_cache()).scoped(PAGES))


async def _get_types() -> OtherTypes:
    return OtherTypes(get_processors)


async def _get_speech() -> TranscriptCollector:
    return await build_transcripts((await get_result_cache()).scoped(SEGMENTS))


async def _get_settings() -> WorkerSettings:
    return current_session().settings.workers


BUILDERS: Final[Mapping[str, BuildTool]] = {
    "chat": get_worker_chat,
    "embedder": get_embedder,
    "cache": get_result_cache,
    "fetcher": get_fetcher,
    "documents": _get_documents,
    "recordings": get_analyser,
    "speech": _get_speech,
    "translator": get_translator,
    "models": _get_models,
    "types": _get_types,
    "settings": _get_settings,
}
"""What builds each tool of `aletheia.analysis.tools.TOOLS`."""
