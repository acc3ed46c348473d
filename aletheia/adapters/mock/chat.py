"""A chat model without a model: plausible sentences about a department, marked as made up.

In the phrases of `phrases.json` `{t}` and `{u}` are subjects of the department, `{r}` and `{s}`
people, `{k}` a tool, `{w}` a moment, `{n}` a small number, `{p}` a percentage, `{d}` days.
"""

import asyncio
import json
import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from importlib import resources
from random import Random
from typing import Any, Final, TypeAlias

from aletheia.errors import Refused
from aletheia.gather.prompts.generate_items import ANGLES, FORM, LENSES
from aletheia.llm.messages import ChatRequest, Completion, read_quoted
from aletheia.llm.prices import Tokens

_WORDS: Final[Mapping[str, Any]] = json.loads(
    resources.files("aletheia.adapters.mock").joinpath("phrases.json").read_text("utf-8")
)
_STOP_WORDS: Final = frozenset(_WORDS["stop_words"].split())
_VERBS: Final = frozenset(_WORDS["verbs"].split())
"""Verbs that clauses of a description begin with; what follows them is a subject."""

MOCK: Final = "mock"
MOCK_MODEL: Final = "mock-llm"

Write: TypeAlias = Callable[[Mapping[str, Any]], object]
"""Answers the quoted blocks of a prompt with a JSON value."""

NEAR_DUPLICATES: Final = 0.4
"""Share of the batches in which one item says again what another one has said."""

_MAX_SUBJECT: Final = 4
"""Words."""

_MAX_SUBJECTS: Final = 16

_TURNS: Final = len(ANGLES) * len(LENSES)

_ENDS: Final = frozenset(".!?:;")
_WORD: Final = re.compile(r"[^\W\d_][\w'\u2019-]*|[^\w\s'\u2019-]")


class MockChat:
    """Writes items from phrases, and further forms by `writers`."""

    provider: str = MOCK
    is_mock: bool = True

    def __init__(self, *, writers: Mapping[str, Write] | None = None) -> None:
        self._writers: dict[str, Write] = {FORM.name: write_items, **(writers or {})}

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer for every model's name; `Refused` for a form it knows nothing of."""
        name = "" if request.form is None else request.form.name
        writer = self._writers.get(name)
        if writer is None:
            reason = f"the mock has nothing to say in the form {name!r}"
            raise Refused(MOCK, HTTPStatus.BAD_REQUEST, reason)
        await asyncio.sleep(0)  # as every model, it does not block others
        asked = "\n".join(message.text for message in request.messages)
        text = json.dumps(writer(read_quoted(asked)), ensure_ascii=False)
        return Completion(
            text=text,
            finish="stop",
            provider=MOCK,
            asked=request.model,
            model=MOCK_MODEL,
            used=Tokens(len(asked.split()), len(text.split())),
            is_mock=True,
        )


def write_items(blocks: Mapping[str, Any]) -> dict[str, Any]:
    """Fill the form of generated items from the blocks `department` and `order` of a prompt."""
    name, description = (str(blocks["department"][part]) for part in ("name", "description"))
    order = blocks["order"]
    angles, lenses = ([choice.name for choice in choices] for choices in (ANGLES, LENSES))
    turn = lenses.index(order["readers"]) * len(ANGLES) + angles.index(order["angle"])
    batch = int(order["batch"])
    done = len(blocks.get("already_accepted", ()))
    subjects = find_subjects(name, description)
    items = _write_batch(name, subjects, batch, turn, done + int(order["items"]))
    chance = _choices(name, batch, turn, "again")
    if not done and chance.random() < NEAR_DUPLICATES:
        earlier = items
        if batch > 1:  # which is saved by then; the first batch repeats itself
            earlier = _write_batch(name, subjects, batch - 1, (turn - 1) % _TURNS, len(items))
        place = chance.randrange(1, len(items)) if len(items) > 1 else 0
        items[place] = _say_again(earlier[(place + 1) % len(earlier)])
    return {"items": items[done:]}


def _write_batch(
    name: str, known: Sequence[str], batch: int, turn: int, count: int
) -> list[dict[str, str]]:
    """Write the first items of a batch about a department, by its name and its subjects."""
    angle, readers = ANGLES[turn % len(ANGLES)].name, LENSES[turn // len(ANGLES)].name
    choice = _choices(name, batch, turn)
    # Those of an angle, and behind them those of the angle opposite.
    phrases: list[str] = []
    for away in (0, len(ANGLES) // 2):
        words = _WORDS["phrases"][ANGLES[(turn + away) % len(ANGLES)].name]
        phrases += choice.sample(words, len(words))
    # What every department has to do with comes up where its own words do not suffice.
    folded = {subject.casefold() for subject in known}
    others = [word for word in _WORDS["subjects"] if word not in folded]
    own, common = (choice.sample(words, len(words)) for words in (known, others))
    subjects = [*own, *common[: max(2, 8 - len(own))]]
    follow_ups, proofs = (
        choice.sample(words, len(words)) for words in (_WORDS["follow_ups"], _WORDS["proofs"])
    )
    items: list[dict[str, str]] = []
    for place in range(count):
        subject = subjects[place % len(subjects)]
        fill = _fill(subject, subjects[(place + 1) % len(subjects)], choice)
        first = phrases[place % len(phrases)].format_map(fill)
        opening = choice.choice(_WORDS["openings"][readers])
        start = opening + (_decapitalised(first) if opening.endswith(": ") else first)
        rest = (follow_ups[place % len(follow_ups)], proofs[place % len(proofs)])
        sentences = [start, *(sentence.format_map(fill) for sentence in rest)]
        items.append(
            {
                "content": " ".join(_capitalised(sentence) for sentence in sentences),
                "summary": _capitalised(first),
                "context": f"Mock, made up without a model: {angle} {readers}, {name}; "
                f"it rests on {subject}.",
            }
        )
    return items


def _fill(subject: str, other: str, choice: Random) -> dict[str, str]:
    person, second = choice.sample(_WORDS["people"], 2)
    return {
        "t": subject,
        "u": other,
        "r": person,
        "R": _capitalised(person),
        "s": second,
        "k": choice.choice(_WORDS["tools"]),
        "w": choice.choice(_WORDS["moments"]),
        "n": str(choice.randint(2, 9)),
        "p": str(choice.randrange(70, 100, 5)),
        "d": str(choice.choice((5, 10, 14, 20, 30, 45, 60, 90))),
    }


def _choices(*seed: object) -> Random:
    return Random("\n".join(map(str, seed)))  # noqa: S311 - nothing depends on its being secret


def find_subjects(name: str, description: str) -> list[str]:
    """Find up to 16 subjects, words between stop words, those of the description first."""
    found: dict[str, str] = {}
    for text in (description, name):
        run: list[str] = []
        last = "."
        for word in [*_WORD.findall(text), "."]:
            bare = word.casefold()
            # IT is a subject, it is none.
            is_stop = bare in _STOP_WORDS and not (word.isupper() and len(word) > 1)
            if word[0].isalpha() and not is_stop and (run or bare not in _VERBS):
                # A capital at the beginning of a sentence says nothing, unless others follow.
                is_plain = last in _ENDS and word[1:] == word[1:].lower()
                run.append(bare if is_plain and text is description else word)
            else:
                subject = " ".join(run[-_MAX_SUBJECT:])
                if len(subject) > 1:
                    found.setdefault(subject.casefold(), subject)
                run = []
            last = word
    return list(found.values())[:_MAX_SUBJECTS]


def _say_again(item: Mapping[str, str]) -> dict[str, str]:
    """Return a text in slightly other words, figures as they are."""
    synonyms: Mapping[str, str] = _WORDS["synonyms"]
    content = re.sub(
        r"\b[a-z]+\b", lambda word: synonyms.get(word.group(), word.group()), item["content"]
    )
    return {
        "content": f"In practice: {_decapitalised(content)}",
        "summary": item["summary"],
        "context": f"{item['context']} An intended near-duplicate.",
    }


def _decapitalised(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _capitalised(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
