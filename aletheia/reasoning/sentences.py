"""The sentence that a claim comes to: its words, with the values that code fills in."""

from collections.abc import Sequence

from aletheia.reasoning.references import Reference
from aletheia.reasoning.wording import (
    NEUTRAL,
    VERBS,
    WHOLE,
    Mark,
    Placeholder,
    Token,
    Word,
    is_list,
)
from aletheia.text.grammar import agree


def write_sentence(
    tokens: Sequence[Token], refs: Sequence[Reference], share: str = "", since: str = ""
) -> str:
    """Return the sentence of a checked claim; words that a value's phrase repeats are left out.

    `share`: what `{share}` stands for; `since`: what follows the sentence.
    """
    parts: list[str] = []
    repeated = frozenset[str]()
    for token, count in zip(tokens, _counts(tokens, refs), strict=True):
        if isinstance(token, Placeholder):
            ref = refs[token.ref - 1] if token.ref else None
            parts.append(f" {share if ref is None else ref.write(token.form)}")
            is_phrase = ref is not None and token.form == "" and ref.measure is not None
            repeated = ref.words if ref is not None and is_phrase else frozenset[str]()
            continue
        is_word = isinstance(token, Word)
        if is_word and token.text in repeated and token.text not in NEUTRAL:
            continue
        is_verb = is_word and count is not None and token.text in VERBS
        text = agree(VERBS[token.text], count or 0) if is_verb else token.text
        parts.append(f" {text}" if is_word or text == "(" else text)
        repeated = frozenset[str]()
    sentence = "".join(parts).replace("( ", "(").strip().rstrip(" .,;:-")
    return f"{sentence[:1].upper()}{sentence[1:]}{since}."


def _counts(tokens: Sequence[Token], refs: Sequence[Reference]) -> list[float | None]:
    """Return with each token the count that a verb there goes with; `None`: as it is written.

    That is the count of what is named last, of all of a list, and after "there" of what is named
    first. A mark, or a word like "it", begins something else.
    """
    counts: list[float | None] = []
    count: float | None = None
    named = -1
    for place, token in enumerate(tokens):
        counts.append(count)
        if isinstance(token, Placeholder):
            is_listed = named >= 0 and is_list(tokens[named + 1 : place])
            count, named = 2 if is_listed else _count_of(token, refs), place
        elif token.text == "there":
            following = (it for it in tokens[place:] if isinstance(it, Placeholder))
            count = _count_of(next(following, Placeholder(0)), refs)
        elif isinstance(token, Mark) or token.text in VERBS or token.text in WHOLE:
            count = None
    return counts


def _count_of(token: Placeholder, refs: Sequence[Reference]) -> float | None:
    return refs[token.ref - 1].count(token.form) if token.ref else None
