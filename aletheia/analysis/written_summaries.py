"""Summaries that a chat model writes: notes of each part (map), and a summary of them (reduce)."""

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, TypeVar, cast

from pydantic import BaseModel

from aletheia.analysis.document_text import PageCache
from aletheia.analysis.ports import Embedder
from aletheia.analysis.prompts import note_part, summarize_document, summarize_text
from aletheia.analysis.prompts.note_part import MAX_NOTES, PartNotes
from aletheia.analysis.prompts.summarize_document import MAX_KEY_POINTS, DocumentSummary
from aletheia.analysis.prompts.summarize_text import TextSummary
from aletheia.analysis.summaries import ExtractiveSummarizer, KeyPoint, Sentence, Summary
from aletheia.analysis.tools import WorkerChat
from aletheia.errors import AletheiaError, Deferred, InvalidTask, Unavailable
from aletheia.llm.asking import check_finish
from aletheia.llm.messages import AnswerForm, Completion, Message, clean_text, estimate_tokens
from aletheia.llm.structured import read_answer
from aletheia.text.extracts import score_sentences
from aletheia.text.spans import Span, split_spans

log = logging.getLogger(__name__)

ModelT = TypeVar("ModelT", bound=BaseModel)

PART_TOKENS: Final = 8000
"""Estimated tokens of a part that notes are taken of, and of what a summary is written from."""

MAX_INPUT_TOKENS: Final = 120_000
"""Estimated tokens of a document that a model is shown; of a longer one it is shown the sentences
of every part that say most, in order."""

PARALLEL: Final = 4
"""Parts that are asked about at once."""

_NOTES_TOKENS: Final = 1200
_SUMMARY_TOKENS: Final = 2500
_MAX_ROUNDS: Final = 4
_MAX_TRIES: Final = 2
"""Times that a model is asked whose first sentence is longer than the summary may be."""


class Asker(Protocol):
    """Asks a chat model, held to breakers, limits and budgets."""

    async def ask(
        self, *messages: Message, form: AnswerForm | None = None, max_tokens: int = 1024
    ) -> Completion:
        """Ask once. Raises as `aletheia.llm.messages.ChatModel.complete`."""
        ...


@dataclass(slots=True)
class _Bill:
    """What the calls for one summary took, and who answered."""

    tokens: int = 0
    provider: str = ""
    model: str = ""
    is_mock: bool = False
    failure: AletheiaError | None = None  # of the first call that failed
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PARALLEL))

    def add(self, completion: Completion) -> None:
        self.tokens += completion.used.total
        self.provider, self.model = completion.provider, completion.model
        self.is_mock |= completion.is_mock


@dataclass(frozen=True, slots=True)
class _Material:
    """What a summary is written from."""

    text: str
    is_notes: bool
    is_condensed: bool  # whether a part of the document is not in it


class WritingSummarizer:
    """Lets a chat model write, and takes the text's own sentences where it cannot.

    `Deferred` and `Unavailable` pass: the task waits for our own limits and budgets, and for a
    provider that is down. Notes that were paid for by then are in `cache`, by their part and the
    `model`: a document with more parts than a limit allows in a minute would never be done.
    """

    def __init__(
        self,
        chat: Asker,
        otherwise: ExtractiveSummarizer,
        *,
        model: str = "",
        cache: PageCache | None = None,
        max_input_tokens: int = MAX_INPUT_TOKENS,
        part_tokens: int = PART_TOKENS,
    ) -> None:
        self._chat, self._otherwise, self._model, self._cache = chat, otherwise, model, cache
        self._max_input_tokens, self._part_tokens = max_input_tokens, part_tokens

    async def summarize(self, text: str) -> Summary:
        """See `aletheia.analysis.summaries.Summarizer.summarize`."""
        return await self.summarize_spans(split_spans(text))

    async def summarize_spans(self, spans: Sequence[Span]) -> Summary:
        """Summarise a text that has been split into sentences; see `summarize`."""
        if not spans:
            raise InvalidTask("no_text", "the document has no text to summarise")
        bill = _Bill()
        try:
            return await self._write(spans, bill)
        except (Deferred, Unavailable):
            raise
        except AletheiaError as error:
            log.warning("no model has written the summary: %s", error)
            summary = await self._otherwise.summarize_spans(spans)
            return replace(summary, tokens=summary.tokens + bill.tokens, fallback=error.code)

    async def summarize_within(self, spans: Sequence[Span], max_chars: int) -> Summary:
        """Summarise a text in at most `max_chars`, on one level; see `summarize`."""
        if not spans:
            raise InvalidTask("no_text", "there is no text to summarise")
        bill = _Bill()
        try:
            return await self._write_within(spans, max_chars, bill)
        except (Deferred, Unavailable):
            raise
        except AletheiaError as error:
            log.warning("no model has written the summary: %s", error)
            summary = await self._otherwise.summarize_within(spans, max_chars)
            return replace(summary, tokens=summary.tokens + bill.tokens, fallback=error.code)

    async def _write(self, spans: Sequence[Span], bill: _Bill) -> Summary:
        material = await self._condense(spans, bill)
        messages = summarize_document.build_prompt(material.text, is_notes=material.is_notes)
        answer = await self._ask(
            messages, summarize_document.FORM, DocumentSummary, _SUMMARY_TOKENS, bill
        )
        sentences = tuple(
            Sentence(said, sentence.level)
            for sentence in answer.sentences
            if (said := clean_text(sentence.text))
        )
        points = (clean_text(point) for point in answer.key_points)
        found = tuple(KeyPoint(point) for point in points if point)[:MAX_KEY_POINTS]
        return _make_summary(_with_short(sentences), found, material, bill)

    async def _write_within(self, spans: Sequence[Span], max_chars: int, bill: _Bill) -> Summary:
        material = await self._condense(spans, bill)
        asked_chars = max_chars
        for _ in range(_MAX_TRIES):
            messages = summarize_text.build_prompt(
                material.text, max_chars=asked_chars, is_notes=material.is_notes
            )
            answer = await self._ask(
                messages, summarize_text.FORM, TextSummary, _SUMMARY_TOKENS, bill
            )
            said = [text for each in answer.sentences if (text := clean_text(each))]
            if not said:
                raise InvalidTask("empty_answer", "the model wrote no sentence")
            if fitting := _take_first(said, max_chars):
                sentences = tuple(Sentence(text, "short") for text in fitting)
                return _make_summary(sentences, (), material, bill)
            asked_chars //= 2
        raise InvalidTask("answer_too_long", f"the model wrote more than {max_chars} characters")

    async def _condense(self, spans: Sequence[Span], bill: _Bill) -> _Material:
        """Return what a summary is written from: the text, or notes about all its parts."""
        shown = await asyncio.to_thread(shorten, spans, self._max_input_tokens)
        texts, is_notes = [span.shown for span in shown], False
        for _ in range(_MAX_ROUNDS):
            parts = pack(texts, self._part_tokens)
            if len(parts) == 1:
                break
            texts, is_notes = await self._take_notes(parts, bill), True
            if not texts:
                raise InvalidTask("no_text", "the model found nothing to note in the document")
        material, *left_out = pack(texts, self._part_tokens)
        return _Material(material, is_notes, len(shown) < len(spans) or bool(left_out))

    async def _take_notes(self, parts: Sequence[str], bill: _Bill) -> list[str]:
        """Return the notes of all parts, in order.

        After an error no further call is made; those under way are paid for, and come to their end.
        """
        asked = [
            asyncio.create_task(self._note(part, number, len(parts), bill))
            for number, part in enumerate(parts, start=1)
        ]
        try:
            await asyncio.wait(asked)
            if bill.failure is not None:
                raise bill.failure
            return [note for task in asked for note in task.result()]
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def _note(self, part: str, number: int, count: int, bill: _Bill) -> list[str]:
        messages = note_part.build_prompt(part, number=number, count=count)
        asked = "".join(message.text for message in messages)
        key = ("notes", hashlib.sha256(asked.encode()).hexdigest(), self._model)
        async with bill.slots:
            if bill.failure is not None:
                return []
            saved: object = None if self._cache is None else await self._cache.get(*key)
            if isinstance(saved, list):
                return [str(note) for note in cast("list[object]", saved)]
            try:
                answer = await self._ask(messages, note_part.FORM, PartNotes, _NOTES_TOKENS, bill)
            except AletheiaError as error:
                bill.failure = bill.failure or error
                return []
            notes = [found for note in answer.notes[:MAX_NOTES] if (found := clean_text(note))]
            if self._cache is not None:
                await self._cache.put(notes, *key)
        return notes

    async def _ask(
        self,
        messages: tuple[Message, ...],
        form: AnswerForm,
        model: type[ModelT],
        max_tokens: int,
        bill: _Bill,
    ) -> ModelT:
        completion = await self._chat.ask(*messages, form=form, max_tokens=max_tokens)
        bill.add(completion)
        check_finish(completion)
        return read_answer(completion.text, model, is_cut_off=completion.finish == "length")


def _make_summary(
    sentences: tuple[Sentence, ...],
    points: tuple[KeyPoint, ...],
    material: _Material,
    bill: _Bill,
) -> Summary:
    return Summary(
        sentences=sentences,
        key_points=points,
        is_extractive=False,
        provider=bill.provider,
        model=bill.model,
        tokens=bill.tokens,
        is_condensed=material.is_condensed,
        is_mock=bill.is_mock,
    )


def _take_first(sentences: Sequence[str], max_chars: int) -> list[str]:
    """Return the first of some sentences, as many as fit together; perhaps none."""
    taken: list[str] = []
    size = 0
    for text in sentences:
        size += len(" ".join(text.split())) + 1
        if size > max_chars + 1:
            break
        taken.append(text)
    return taken


def pack(texts: Sequence[str], max_tokens: int) -> list[str]:
    """Join texts in order into parts of about `max_tokens`; one text is never cut."""
    parts: list[str] = []
    held: list[str] = []
    size = 0
    for text in texts:
        tokens = estimate_tokens(text) + 1
        if held and size + tokens > max_tokens:
            parts.append("\n".join(held))
            held, size = [], 0
        held.append(text)
        size += tokens
    return [*parts, "\n".join(held)]


def shorten(spans: Sequence[Span], max_tokens: int) -> list[Span]:
    """Return the sentences that say most, of every part of a text, within a number of tokens."""
    sizes = [estimate_tokens(span.text) + 1 for span in spans]
    total = sum(sizes)
    if total <= max_tokens:
        return list(spans)
    scores = score_sentences(spans)
    kept: set[int] = set()
    parts = max(1, min(len(spans), total // PART_TOKENS))
    for part in range(parts):
        begin, end = part * len(spans) // parts, (part + 1) * len(spans) // parts
        left = max_tokens * sum(sizes[begin:end]) // total
        for index in sorted(range(begin, end), key=lambda at: -scores[at]):
            if sizes[index] <= left:
                kept.add(index)
                left -= sizes[index]
    return [span for index, span in enumerate(spans) if index in kept]


def _with_short(sentences: tuple[Sentence, ...]) -> tuple[Sentence, ...]:
    """Return the sentences with a first one that is short, if the model named none so."""
    if not sentences:
        raise InvalidTask("empty_answer", "the model wrote no sentence")
    if any(sentence.level == "short" for sentence in sentences):
        return sentences
    return (replace(sentences[0], level="short"), *sentences[1:])


def choose_summarizer(
    embedder: Embedder | None, chat: WorkerChat | None, cache: PageCache | None
) -> ExtractiveSummarizer | WritingSummarizer:
    """Return who summarises: a chat model where there is one, else a text's own sentences.

    What the mock writes means nothing, and those sentences do.
    """
    extractive = ExtractiveSummarizer(embedder)
    if chat is None or chat.chat.is_mock:
        return extractive
    return WritingSummarizer(chat, extractive, model=chat.model, cache=cache)
