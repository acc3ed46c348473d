"""What a processor may be given when it is built, by the names of its constructor's parameters.

    class Headlines:
        def __init__(self, chat: WorkerChat, fetcher: Fetcher) -> None: …

A name that is none of these, and has no default, makes the type unusable, with an error that lists
them. A tool that cannot be had, such as a chat model without a key, does likewise, unless its
parameter has a default, which is then taken.
"""

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, get_type_hints

from aletheia.analysis.audio_ports import AudioAnalyser
from aletheia.analysis.document_text import DocumentCollector
from aletheia.analysis.model_manager import ModelHolder
from aletheia.analysis.other_types import OtherTypes
from aletheia.analysis.ports import Embedder, Fetcher, Translator
from aletheia.analysis.processor import Processor, TypeSpec, spec_of
from aletheia.analysis.result_cache import ResultCache
from aletheia.analysis.settings import WorkerSettings
from aletheia.analysis.transcripts import TranscriptCollector
from aletheia.errors import Misconfigured
from aletheia.llm.messages import AnswerForm, ChatModel, ChatRequest, Completion, Message

log = logging.getLogger(__name__)

MAX_ANSWER_TOKENS: Final = 1024


@dataclass(frozen=True, slots=True)
class WorkerChat:
    """A chat model behind breakers, limits and budgets, and the model that is asked by default."""

    chat: ChatModel
    model: str  # `WORKER_LLM_MODEL`

    async def ask(
        self,
        *messages: Message,
        form: AnswerForm | None = None,
        max_tokens: int = MAX_ANSWER_TOKENS,
        temperature: float | None = 0.0,
        model: str | None = None,
    ) -> Completion:
        """Ask once; the call is reserved, paid and counted. Raises as `ChatModel.complete`."""
        asked = ChatRequest(model or self.model, messages, form, max_tokens, temperature)
        return await self.chat.complete(asked)


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool: its type, and what it is for."""

    type: Any
    sentence: str


TOOLS: Final[Mapping[str, Tool]] = {
    "chat": Tool(
        WorkerChat,
        "A chat model; each call is held to breakers, limits and budgets, and booked.",
    ),
    "embedder": Tool(Embedder, "What embeds texts, as `PROCESSING_MODE` says."),
    "fetcher": Tool(Fetcher, "What fetches the files that tasks name, within bounds."),
    "documents": Tool(DocumentCollector, "What reads documents, in processes with limits."),
    "recordings": Tool(AudioAnalyser, "What measures recordings, in processes with limits."),
    "speech": Tool(TranscriptCollector, "What transcribes speech, as `SPEECH_ENGINE` says."),
    "translator": Tool(
        Translator, "What translates on this machine, in processes with limits, pair by pair."
    ),
    "cache": Tool(ResultCache, "Values that were made before, of this type and version alone."),
    "models": Tool(ModelHolder, "The local models: listed, pulled, loaded, unloaded."),
    "types": Tool(OtherTypes, "The other task types, computed by name."),
    "settings": Tool(WorkerSettings, "The settings of workers."),
}
"""All tools, by the name of the parameter."""

BuildTool: TypeAlias = Callable[[], Awaitable[object]]
Build: TypeAlias = Callable[..., Processor]
"""A processor's class, or another callable with the same parameters."""


class Toolbox:
    """Builds processors with what they name; a tool is built when it is first named."""

    def __init__(self, builders: Mapping[str, BuildTool]) -> None:
        self._builders = builders

    async def build(self, task_type: str, build: Build) -> Processor:
        """Build the processor of a type.

        Raises:
            Misconfigured: its constructor names something else, or what cannot be had; or it
                failed; or what it built is no processor.
        """
        name, spec = f"processor of {task_type!r}", spec_of(build)
        parameters = _parameters_of(name, build)
        given = {
            parameter.name: await self._get(name, parameter, task_type, spec)
            for parameter in parameters
            if parameter.name in TOOLS or parameter.default is inspect.Parameter.empty
        }
        try:
            built = build(**given)
        except Misconfigured:
            raise
        except (Exception, SystemExit) as fault:
            said = f"cannot be built: {type(fault).__name__}: {fault}"
            raise Misconfigured(name, said) from fault
        for method in ("admit", "process"):
            if not callable(getattr(built, method, None)):
                raise Misconfigured(name, f"has no method {method!r}")
        spec_of(built)
        return built

    async def _get(
        self, name: str, parameter: inspect.Parameter, task_type: str, spec: TypeSpec
    ) -> object:
        if parameter.name not in TOOLS:
            known = ", ".join(TOOLS)
            reason = f"its constructor names {parameter.name!r}, which is none of: {known}"
            raise Misconfigured(name, reason)
        try:
            builder = self._builders.get(parameter.name)
            if builder is None:
                raise Misconfigured(name, f"there is no {parameter.name!r} here")
            tool = await builder()
        except Misconfigured as missing:
            if parameter.default is inspect.Parameter.empty:
                raise Misconfigured(name, f"needs {parameter.name!r}: {missing}") from missing
            log.warning("the %s works without %r: %s", name, parameter.name, missing)
            return parameter.default
        if isinstance(tool, ResultCache):
            return tool.scoped(f"{task_type} {spec.version}")
        return tool


def _parameters_of(name: str, build: Build) -> list[inspect.Parameter]:
    """Return a constructor's parameters; raise `Misconfigured` where one is annotated wrong."""
    try:
        parameters = list(inspect.signature(build).parameters.values())
    except (TypeError, ValueError) as fault:
        raise Misconfigured(name, f"cannot be built: {fault}") from fault
    init = build.__init__ if isinstance(build, type) else build
    try:
        hints = get_type_hints(init)
    except Exception:  # noqa: BLE001 - a hint may name what is imported for type checkers alone
        hints = {}
    of_tools = {tool.type: tool_name for tool_name, tool in TOOLS.items()}
    for parameter in parameters:
        meant = of_tools.get(hints.get(parameter.name), parameter.name)
        if parameter.name in TOOLS and meant != parameter.name:
            reason = f"{parameter.name!r} of its constructor is annotated as {meant!r} is"
            raise Misconfigured(name, reason)
    skipped = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [parameter for parameter in parameters if parameter.kind not in skipped]
