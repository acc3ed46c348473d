"""The task type `translation`: a text in another language (SPEC §3)."""

import asyncio
import logging
import re
from dataclasses import dataclass
from typing import ClassVar, Final

from pydantic import BaseModel, Field

from aletheia.analysis.cached import compute_once
from aletheia.analysis.inputs import check_readable, check_text
from aletheia.analysis.ports import Translator
from aletheia.analysis.processor import TypeSpec
from aletheia.analysis.prompts.translate_text import FORM, TranslatedText, build_prompt
from aletheia.analysis.result_cache import ResultCache
from aletheia.analysis.settings import WorkerSettings
from aletheia.analysis.single import Computed, SingleProcessor
from aletheia.analysis.tools import WorkerChat
from aletheia.errors import AletheiaError, Deferred, InvalidTask, Unavailable
from aletheia.llm.asking import check_finish
from aletheia.llm.messages import clean_text, estimate_tokens
from aletheia.llm.structured import read_answer
from aletheia.text.language import MAX_CHARS, guess_language, identify_language

log = logging.getLogger(__name__)

TASK_TYPE: Final = "translation"

AUTO: Final = "auto"

MAX_ASKED_CHARS: Final = 30_000
"""Longest text that a chat model is asked to translate in one answer, characters."""

_CODE: Final = r"^(auto|[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*)$"
_MIN_ANSWER_TOKENS: Final = 500


class TranslationInput(BaseModel):
    """A text, its language, and the one it is wanted in."""

    text: str = Field(description="The text; at most `MAX_TEXT_BYTES` of UTF-8.")
    source_lang: str = Field(
        default=AUTO, pattern=_CODE, description="Its language (ISO 639-1); `auto` finds it out."
    )
    target_lang: str = Field(
        default="en", pattern=_CODE, description="The language wanted (ISO 639-1)."
    )


class TranslationResult(BaseModel):
    """A text in another language."""

    translation: str = Field(description="The translation.")
    source_language: str = Field(description="Language of the text (ISO 639-1).")
    target_language: str = Field(description="Language of the translation (ISO 639-1).")
    confidence: float | None = Field(
        ge=0, le=1, description="Mean probability of its tokens; null where no engine gives one."
    )
    provider: str = Field(
        description="Who translated; `none` where the text is in the language wanted already."
    )
    model: str = Field(description="The model that translated; `none` likewise.")
    fallback: str | None = Field(
        default=None,
        description="Why no chat model translated, where one was asked: an error's code.",
    )
    mock: bool | None = Field(default=None, description="True where the mock translated.")


@dataclass(slots=True)
class _Tried:
    """What asking a model took, and why its answer was not used."""

    tokens: int = 0
    fault: AletheiaError | None = None


class Translation(SingleProcessor[TranslationInput]):
    """Translates texts: by a chat model where there is one, else by an engine for the pair."""

    spec: ClassVar[TypeSpec] = TypeSpec(
        input=TranslationInput, result=TranslationResult, lane="llm"
    )

    def __init__(
        self,
        settings: WorkerSettings,
        translator: Translator | None = None,
        chat: WorkerChat | None = None,
        cache: ResultCache | None = None,
    ) -> None:
        self._max_text_bytes, self._cache = settings.max_text_bytes, cache
        self._translator = translator
        # What the mock writes means nothing.
        self._chat = None if chat is None or chat.chat.is_mock else chat

    def group(self, task_input: TranslationInput) -> str:
        """Check text and languages; see `SingleProcessor.group`."""
        check_text(task_input.text, max_bytes=self._max_text_bytes)
        check_readable(task_input.text)
        if task_input.target_lang.lower() == AUTO:
            raise InvalidTask("invalid_target_lang", "the language wanted must be named")
        return ""

    async def compute(self, task_input: TranslationInput) -> Computed:
        """Translate a text; see `SingleProcessor.compute`."""
        named, wanted = task_input.source_lang.lower(), task_input.target_lang.lower()
        made_from = (task_input.text, named, wanted, self._chat.model if self._chat else "")
        return await compute_once(self._cache, made_from, lambda: self._compute(task_input))

    async def _compute(self, task_input: TranslationInput) -> Computed:
        text = await asyncio.to_thread(clean_text, task_input.text)
        target = _shorten(task_input.target_lang)
        source = await self._find_source(text, task_input.source_lang)
        if source == target:
            return _write(text, target, target, "none", "none")
        tried = _Tried()
        if self._chat is not None:
            try:
                return await self._ask(self._chat, text, source, target, tried)
            except (Deferred, Unavailable):
                raise
            except AletheiaError as error:
                log.warning("no model has translated the text: %s", error)
                tried.fault = error
        return await self._translate(text, source, target, tried)

    async def _ask(
        self, chat: WorkerChat, text: str, source: str | None, target: str, tried: _Tried
    ) -> Computed:
        if len(text) > MAX_ASKED_CHARS:
            said = f"a chat model translates {MAX_ASKED_CHARS:,} characters at most"
            raise InvalidTask("input_too_long", said)
        completion = await chat.ask(
            *build_prompt(text, source=source, target=target),
            form=FORM,
            max_tokens=_MIN_ANSWER_TOKENS + 3 * estimate_tokens(text),
        )
        tried.tokens += completion.used.total
        check_finish(completion)
        answer = read_answer(
            completion.text, TranslatedText, is_cut_off=completion.finish == "length"
        )
        if not (translation := clean_text(answer.translation)):
            raise InvalidTask("empty_answer", "the model wrote no translation")
        found = source or _read_code(answer.source_language)
        return _write(
            translation,
            found,
            target,
            completion.provider,
            completion.model,
            tokens=tried.tokens,
            is_mock=completion.is_mock,
        )

    async def _translate(
        self, text: str, source: str | None, target: str, tried: _Tried
    ) -> Computed:
        source = source or await asyncio.to_thread(identify_language, text)
        engine = self._translator
        known = frozenset[str]()
        if engine is not None:
            # The first call asks programs for their versions.
            known = await asyncio.to_thread(engine.sources_of, target)
        if engine is None or not known or (source is not None and source not in known):
            shown = ", ".join(sorted(known)) or "nothing"
            named = source or "a text"
            said = f"nothing here translates {named} to {target}; what can be: {shown}"
            raise tried.fault or InvalidTask("no_engine_for_pair", said)
        if source is None:
            said = "the language of the text is not clear: name it in source_lang"
            raise tried.fault or InvalidTask("unknown_language", said)
        done = await engine.translate(text, source, target)
        return _write(
            done.text,
            source,
            target,
            done.provider,
            done.model,
            confidence=done.confidence,
            tokens=tried.tokens,
            fallback=tried.fault.code if tried.fault else None,
        )

    async def _find_source(self, text: str, named: str) -> str | None:
        """Return the language of a text; `None` where nobody says it and it is not clear."""
        if named.lower() != AUTO:
            return _shorten(named)
        if self._chat is not None:
            # A model knows it better than a guess that is not sure.
            return await asyncio.to_thread(guess_language, text[:MAX_CHARS])
        return await asyncio.to_thread(identify_language, text)


def _shorten(code: str) -> str:
    """Return a language without its region, such as `pt` of `pt-BR`."""
    return re.split("[-_]", code.lower())[0]


def _read_code(said: str) -> str:
    """Return the code of a language that a model named; `und`, of ISO 639-2, where it is none."""
    code = said.strip().lower()
    return _shorten(code) if code != AUTO and re.match(_CODE, code) else "und"


def _write(
    translation: str,
    source: str,
    target: str,
    provider: str,
    model: str,
    *,
    confidence: float | None = None,
    tokens: int = 0,
    fallback: str | None = None,
    is_mock: bool = False,
) -> Computed:
    result = TranslationResult(
        translation=translation,
        source_language=source,
        target_language=target,
        confidence=confidence,
        provider=provider,
        model=model,
        fallback=fallback,
        mock=is_mock or None,
    )
    record = {"provider": provider, "model": model, "chars": len(translation)}
    return Computed(result, record, {"tokens": tokens})
