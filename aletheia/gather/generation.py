"""Generating a batch of items with a model, and repairing its answers (SPEC §4, Generation)."""

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from pydantic import ValidationError

from aletheia.errors import AletheiaError, InvalidTask
from aletheia.gather.prompts.generate_items import (
    FORM,
    MAX_ITEMS,
    MIN_ITEMS,
    PromptContext,
    build_prompt,
)
from aletheia.items.content import Item
from aletheia.items.departments import Department
from aletheia.llm.answers import SavedAnswers
from aletheia.llm.asking import check_finish
from aletheia.llm.json_text import UnreadableAnswer
from aletheia.llm.messages import ChatModel, ChatRequest, Completion, Fault
from aletheia.llm.structured import MAX_ANSWER_CHARS, MAX_ERROR_CHARS, explain, find_json
from aletheia.text.language import LanguageGuess
from aletheia.text.normalisation import normalise

log = logging.getLogger(__name__)

MAX_REPAIRS: Final = 2
"""Further rounds after the first; what two do not repair, a third does not either."""

MODEL_FAULTS: Final = frozenset({"model_not_found", "unsupported_model"})
"""Codes of an `InvalidTask`: there is no such model."""

FIRST_STEP: Final = "generate"
"""Under which the answer of the first round is saved."""

REFUSED: Final = "refused"
"""Code of the fault of an answer in which the model, or a filter, declines."""

_LASTING: Final = frozenset({REFUSED, "no_room"})
"""Codes of faults that no further round mends."""

_MAX_SHORTENINGS: Final = 2
_MAX_FAULTS: Final = 3

_SAYS_NO: Final = re.compile(
    r"\s*(i['\u2019]?m ((very |so )?sorry|not able|unable)|sorry,|as an ai\b"
    r"|i (can['\u2019]?t|cannot|can not|won['\u2019]?t|am unable)\b"
    r"|es tut mir leid|ich kann (leider )?nicht|je suis désolé|lo siento)",
    re.IGNORECASE,
)
"""How models begin when they decline in prose."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The result of one iteration's generation."""

    items: tuple[Item, ...]  # valid items, none of them twice; may be fewer than asked for
    faults: tuple[Fault, ...]  # what was wrong with the answers, in the order it was found
    model: str  # the model that ran last, by the provider's name; else the one asked for
    is_mock: bool
    rounds: int  # answers that were read, 0 to 3

    @property
    def failure(self) -> Fault | None:
        """Why there are no items; `None` if there are some."""
        return None if self.items else self.faults[-1]


@dataclass(frozen=True, slots=True)
class GenerationPlan:
    """How batches are generated."""

    default_model: str  # the model of departments that name none, or one that does not exist
    items: int = 8  # asked for in one batch, 5 to 10
    max_context_tokens: int = 6000
    max_answer_tokens: int = 4096
    temperature: float | None = 0.8  # 0 to 2; `None` leaves it to the provider


async def generate_items(
    chat: ChatModel,
    answers: SavedAnswers,
    department: Department,
    number: int,
    context: PromptContext,
    *,
    plan: GenerationPlan,
    language_of: LanguageGuess | None = None,
) -> Batch:
    """Generate a batch of 5 to 10 items, in up to `1 + MAX_REPAIRS` rounds, each paid for once.

    `number`: of the batch, from 1, among all of this department's. `language_of`: guesses the
    language of an item; `None` accepts every language.

    Returns:
        The batch; without any items, `failure` says why.

    Raises:
        AletheiaError: the model could not be asked, and there are no items from an earlier round.
    """
    writer = _Writer(chat, answers, department, number, context, plan, language_of)
    error = ""
    for round_ in range(1 + MAX_REPAIRS):
        try:
            completion = await writer.answer(round_, error)
        except AletheiaError as failure:
            if not writer.items:
                raise
            log.warning("a batch for %r stays short: %s", department.slug, failure)
            writer.faults.append(Fault(failure.code, str(failure)[:MAX_ERROR_CHARS]))
            break
        faults = writer.read(completion)
        if len(writer.items) >= MIN_ITEMS or _LASTING.intersection(fault.code for fault in faults):
            break
        error = _describe(faults, len(writer.items))
    return writer.batch()


@dataclass(slots=True)
class _Writer:
    """One generation under way."""

    chat: ChatModel
    answers: SavedAnswers
    department: Department
    number: int
    context: PromptContext
    plan: GenerationPlan
    language_of: LanguageGuess | None
    items: list[Item] = field(default_factory=list[Item])
    faults: list[Fault] = field(default_factory=list[Fault])
    completions: list[Completion] = field(default_factory=list[Completion])
    model: str = ""
    shortenings: int = 0

    def __post_init__(self) -> None:
        self.model = self.department.default_model or self.plan.default_model

    async def answer(self, round_: int, error: str) -> Completion:
        """Return the answer of a round: the saved one, or else a new one, which is saved."""
        step = f"repair-{round_}" if round_ else FIRST_STEP
        completion = await self.answers.find(step)
        if completion is None:
            completion = await self._ask(error)
            await self.answers.save(step, completion)
        self.model = completion.asked
        self.completions.append(completion)
        return completion

    def read(self, completion: Completion) -> list[Fault]:
        """Add the valid items of an answer; return what is wrong with the others."""
        # The mock always writes English.
        guess = None if completion.is_mock else self.language_of
        language = guess(self.department.description) if guess is not None else None
        items, faults = read_items(
            completion, taken=self.items, language=language, language_of=guess
        )
        self.items += items
        self.faults += faults
        return faults

    def batch(self) -> Batch:
        """Return the batch of all rounds."""
        last = self.completions[-1]
        return Batch(
            items=tuple(self.items),
            faults=tuple(self.faults),
            model=last.model,
            is_mock=any(completion.is_mock for completion in self.completions),
            rounds=len(self.completions),
        )

    async def _ask(self, error: str) -> Completion:
        """Ask, and again with another model or a shorter prompt where those are at fault."""
        while True:
            request = ChatRequest(
                model=self.model,
                messages=build_prompt(
                    self.department,
                    self.number,
                    self.context,
                    count=self.plan.items - len(self.items),
                    max_context_tokens=self.plan.max_context_tokens >> self.shortenings,
                    error=error,
                    accepted=self.items,
                ),
                form=FORM,
                max_tokens=self.plan.max_answer_tokens,
                temperature=self.plan.temperature,
            )
            try:
                return await self.chat.complete(request)
            except InvalidTask as fault:
                if not self._can_adapt(fault):
                    raise

    def _can_adapt(self, fault: InvalidTask) -> bool:
        """Change the model or the prompt after a fault; return whether that may help."""
        if fault.code in MODEL_FAULTS and self.model != self.plan.default_model:
            log.warning(
                "the model %r of department %r cannot be used, %r writes for it: %s",
                self.model,
                self.department.slug,
                self.plan.default_model,
                fault,
            )
            self.model = self.plan.default_model
            return True
        if fault.code == "input_too_long" and self.shortenings < _MAX_SHORTENINGS:
            self.shortenings += 1
            log.warning("%r cannot read the whole prompt; it is shortened by half", self.model)
            return True
        return False


def read_items(
    completion: Completion,
    *,
    taken: Sequence[Item] = (),
    language: str | None = None,
    language_of: LanguageGuess | None = None,
) -> tuple[list[Item], list[Fault]]:
    """Read the items of an answer.

    `taken`: items of earlier answers; none of them is returned again. `language`: ISO 639-1 code of
    the items; `None` accepts every language.

    Returns:
        At most `MAX_ITEMS` with those of `taken`, in order, and what is wrong with the rest: the
        codes of an `UnreadableAnswer`, or `invalid_item`, `repeated_item`, `wrong_language`,
        `too_many_items`, `too_few_items`, `cut_answer`.
    """
    faults: list[Fault] = []
    text = completion.text
    if len(text) > MAX_ANSWER_CHARS:
        # Read like a cut answer: its first items may be good.
        said = f"{len(text):,} characters, of which {MAX_ANSWER_CHARS:,} are read"
        faults.append(Fault("answer_too_large", said))
        text = text[:MAX_ANSWER_CHARS]
    try:
        check_finish(completion)
        found = find_json(text, accept=_has_items, is_cut_off=completion.finish == "length")
    except UnreadableAnswer as fault:
        is_refusal = fault.code == "not_json" and _SAYS_NO.match(text)
        code = REFUSED if is_refusal else fault.code
        return [], [*faults, Fault(code, fault.message[:MAX_ERROR_CHARS])]
    items: list[Item] = []
    seen = {normalise(item.content) for item in taken}
    raw = _items_of(found.value) or []
    for place, entry in enumerate(raw):
        if len(taken) + len(items) == MAX_ITEMS:
            said = f"{len(raw)} items, of which {place} were read"
            faults.append(Fault("too_many_items", said))
            break
        item = _read_item(entry, place, language, language_of)
        if isinstance(item, Fault):
            faults.append(item)
        elif (content := normalise(item.content)) in seen:
            faults.append(Fault("repeated_item", f"items.{place} repeats another one"))
        else:
            seen.add(content)
            items.append(item)
    if found.is_cut:
        faults.append(Fault("cut_answer", "the answer ended in the middle: write shorter items"))
    if len(taken) + len(items) < MIN_ITEMS:
        said = f"{len(items)} usable items of {len(raw)}"
        faults.append(Fault("too_few_items", said))
    return items, faults


def _items_of(value: object) -> list[object] | None:
    """Return the list in an answer: below `items`, bare, or below the only name there is."""
    if isinstance(value, dict):
        found = cast("dict[str, object]", value)
        value = found.get("items", next(iter(found.values())) if len(found) == 1 else None)
    return cast("list[object]", value) if isinstance(value, list) else None


def _has_items(value: object) -> bool:
    """Return whether a value may be the answer: a list of objects, empty only in `items`."""
    entries = _items_of(value)
    if entries is None:
        return False
    if isinstance(value, dict) and "items" in value:
        return True
    is_wrapping = len(entries) == 1 and _has_items(entries[0])
    return bool(entries) and not is_wrapping and all(isinstance(entry, dict) for entry in entries)


def _read_item(
    entry: object, place: int, language: str | None, language_of: LanguageGuess | None
) -> Item | Fault:
    try:
        json.dumps(entry, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return Fault("invalid_item", f"items.{place} has half a surrogate")
    try:
        item = Item.model_validate(entry)
    except ValidationError as error:
        return Fault("invalid_item", f"items.{place}: {explain(error)}"[:MAX_ERROR_CHARS])
    if language is not None and language_of is not None:
        guess = language_of(item.content)
        if guess not in (None, language):
            return Fault("wrong_language", f"items.{place} is in {guess!r}, not in {language!r}")
    return item


def _describe(faults: Sequence[Fault], kept: int) -> str:
    """Return the error that a repair round quotes."""
    said = [f"{fault.code}: {fault.message}" for fault in faults[:_MAX_FAULTS]]
    if len(faults) > _MAX_FAULTS:
        said.append(f"and {len(faults) - _MAX_FAULTS} more")
    if kept:
        said.append(f"{kept} items are accepted")
    return "; ".join(said)[:MAX_ERROR_CHARS]
