"""Claims of a model, checked by code against a snapshot (SPEC §5, Claims).

A claim is a template with references and a relation. Code fills in the values and evaluates the
relation; the words around them are those that the references license, and a few that claim
nothing. Whatever does not fit one of the few forms is dropped: a true sentence that is dropped
costs a remark, a false one that is kept costs trust.

    equal     "{1} in the queue"; "{1} and {2}"; "{1.name} equals {2}"
    above     "{1} is above {2}", in this order: the first is the larger one
    below     as above
    rose      "{1.name} rose from {1.before} to {1.value}", against the snapshot before
    fell      as rose
    share of  "{1} are {share} of {2}", for parts and wholes that are listed as such
    because   "{1.name} because {2.name}", for findings of which a rule says so
"""

from collections.abc import Callable, Sequence
from datetime import UTC
from itertools import pairwise
from typing import Final, Literal, TypeAlias

from pydantic import BaseModel, Field

from aletheia.reasoning.catalogue import WHOLES, pattern_of
from aletheia.reasoning.references import Evidence, Reference, Unsupported, is_ambiguous
from aletheia.reasoning.rules.rule import write_share
from aletheia.reasoning.sentences import write_sentence
from aletheia.reasoning.wording import (
    ABOVE_PHRASES,
    BELOW_PHRASES,
    BLAME,
    CAUSE_PHRASES,
    CAUSES,
    COMPARING,
    EQUAL_PHRASES,
    FELL_WORDS,
    HIGH,
    LOW,
    NEGATIONS,
    NEUTRAL,
    PRAISE,
    QUANTIFIERS,
    ROSE_WORDS,
    WHOLE,
    Mark,
    OddText,
    Placeholder,
    Token,
    Word,
    is_list,
    tokenise,
)

MAX_REFS: Final = 4

Relation: TypeAlias = Literal["equal", "above", "below", "rose", "fell", "share of", "because"]

Role: TypeAlias = Literal["insight", "concern", "positive"]
"""Where a claim is to appear: a concern rests on a finding, a positive on nothing found."""


class Claim(BaseModel, frozen=True):
    """A statement with placeholders for what it refers to."""

    text: str = Field(
        max_length=1000, description="English words with {1}, {2} for the references; no figure."
    )
    refs: tuple[str, ...] = Field(
        min_length=1, max_length=MAX_REFS, description="Paths or ids of findings, in order."
    )
    relation: Relation = Field(description="What holds between them.")


class Check:
    """One claim while it is checked. Raises `Unsupported` with the reason to drop it."""

    def __init__(self, claim: Claim, evidence: Evidence) -> None:
        self._claim, self._evidence = claim, evidence
        if len(set(claim.refs)) != len(claim.refs):
            raise Unsupported("wrong_form")
        try:
            self._tokens = tokenise(claim.text)
        except OddText as odd:
            raise Unsupported(str(odd.args[0])) from None
        self.refs = [evidence.resolve(ref) for ref in claim.refs]
        patterns = {pattern_of(next(iter(ref.paths), "")) for ref in self.refs}
        if any(ref.is_bound for ref in self.refs) and len(patterns) > 1:
            raise Unsupported("wrong_path")  # the bound of something else
        self._share = ""
        self._since = ""

    def run(self, role: Role) -> str:
        """Return the sentence that the claim comes to."""
        self._refuse_words()
        form: dict[Relation, Callable[[], None]] = {
            "equal": self._equal,
            "above": lambda: self._compare(ABOVE_PHRASES, lambda a, b: a > b),
            "below": lambda: self._compare(BELOW_PHRASES, lambda a, b: a < b),
            "rose": lambda: self._changed(ROSE_WORDS, lambda before, now: now > before),
            "fell": lambda: self._changed(FELL_WORDS, lambda before, now: now < before),
            "share of": self._be_share,
            "because": self._be_cause,
        }
        form[self._claim.relation]()
        self._judge(role)
        return write_sentence(self._tokens, self.refs, self._share, self._since)

    # What is refused whatever the relation.

    def _refuse_words(self) -> None:
        words = {token.text for token in self._tokens if isinstance(token, Word)}
        if words & QUANTIFIERS:
            raise Unsupported("quantifier")
        if words & NEGATIONS:
            raise Unsupported("negation")
        allowed = {"because", "due", "caused"} if self._claim.relation == "because" else set[str]()
        if self._claim.relation in ("rose", "fell"):
            allowed = {"from"}
        if words & (CAUSES - allowed):
            raise Unsupported("cause_without_rule")
        self._refuse_sentences()

    def _refuse_sentences(self) -> None:
        """Refuse a second sentence, which would say something about no reference."""
        places = [i for i, token in enumerate(self._tokens) if isinstance(token, Placeholder)]
        for place, token in enumerate(self._tokens):
            is_within = bool(places) and places[0] < place < places[-1]
            is_last = place == len(self._tokens) - 1
            ends = isinstance(token, Mark) and (
                token.text == "." or (token.text == ";" and not is_within)
            )
            if ends and not is_last:
                raise Unsupported("wrong_form")

    def _check_words(self, tokens: Sequence[Token], *refs: Reference) -> None:
        licensed = frozenset[str]().union(*(ref.words for ref in refs))
        for token in tokens:
            if isinstance(token, Placeholder):
                raise Unsupported("wrong_form")
            if isinstance(token, Word) and token.text not in licensed | NEUTRAL | _judging():
                raise Unsupported("comparison" if token.text in COMPARING else "unknown_word")
        used = frozenset(token.text for token in tokens if isinstance(token, Word)) & licensed
        if any(is_ambiguous(ref, used) for ref in refs):
            raise Unsupported("wrong_path")

    def _places(self, *expected: int) -> list[int]:
        """Return where the placeholders are, which must be these references in this order."""
        places = [i for i, token in enumerate(self._tokens) if isinstance(token, Placeholder)]
        found = [token.ref for token in self._tokens if isinstance(token, Placeholder)]
        if found != list(expected) or len(self.refs) != max(expected):
            raise Unsupported("wrong_form")
        return places

    def _form(self, place: int) -> str:
        token = self._tokens[place]
        return token.form if isinstance(token, Placeholder) else ""

    # One form for each relation.

    def _equal(self) -> None:
        if len(self.refs) == 1:
            self._state_one()
            return
        places = self._places(*range(1, len(self.refs) + 1))
        if any(self._form(place) not in ("", "name") for place in places):
            raise Unsupported("wrong_form")
        between = [self._tokens[a + 1 : b] for a, b in pairwise(places)]
        if all(is_list(tokens) for tokens in between):
            if any(self._form(place) for place in places):
                raise Unsupported("wrong_form")  # a name alone states no value
            for ref in self.refs:  # words around a list are said of each of it
                self._check_words(self._tokens[: places[0]], ref)
                self._check_words(self._tokens[places[-1] + 1 :], ref)
            return
        self._compare(EQUAL_PHRASES, lambda a, b: a == b)

    def _state_one(self) -> None:
        forms: list[str] = []
        words: list[Token] = []
        for token in self._tokens:
            if not isinstance(token, Placeholder):
                words.append(token)
            elif token.ref != 1 or token.form == "before":
                raise Unsupported("wrong_form")
            else:
                forms.append(token.form)
        is_finding = self.refs[0].measure is None
        states_value = forms in ([""], ["name", "value"]) or (is_finding and forms == ["name"])
        if not states_value:
            raise Unsupported("wrong_form")
        self._check_words(words, self.refs[0])

    def _compare(self, phrases: Sequence[str], holds: Callable[[float, float], bool]) -> None:
        first, second = self._places(1, 2)
        if self._form(first) not in ("", "name") or self._form(second) not in ("", "name", "value"):
            raise Unsupported("wrong_form")
        self._check_between(first, second, phrases)
        self._check_words(self._tokens[:first], self.refs[0])
        self._check_words(self._tokens[second + 1 :], self.refs[1])
        (one, value), (other, bound) = self.refs[0].number, self.refs[1].number
        if (one.unit, one.window) != (other.unit, other.window):
            raise Unsupported("wrong_unit")
        if not holds(value, bound):
            raise Unsupported("relation_fails")

    def _check_between(self, first: int, second: int, phrases: Sequence[str]) -> None:
        """Check that only a phrase stands between two references, and words of theirs."""
        tokens = self._tokens[first + 1 : second]
        words = [token.text for token in tokens if isinstance(token, Word)]
        if len(words) != len(tokens):
            raise Unsupported("wrong_form")
        left = self.refs[0].words | {"is", "are", "now", "currently"}
        right = self.refs[1].words | {"the", "its", "a"}
        for start in range(len(words) + 1):
            if not set(words[:start]) <= left:
                break
            for end in range(start + 1, len(words) + 1):
                if " ".join(words[start:end]) in phrases and set(words[end:]) <= right:
                    self._refuse_ambiguous(words[:start], words[end:])
                    return
        raise Unsupported("wrong_form")

    def _refuse_ambiguous(self, left: Sequence[str], right: Sequence[str]) -> None:
        for ref, words in ((self.refs[0], left), (self.refs[1], right)):
            if is_ambiguous(ref, frozenset(words) & ref.words):
                raise Unsupported("wrong_path")

    def _changed(self, words: frozenset[str], holds: Callable[[float, float], bool]) -> None:
        if len(self.refs) != 1:
            raise Unsupported("wrong_form")
        place = next((i for i, it in enumerate(self._tokens) if isinstance(it, Placeholder)), -1)
        if place < 0 or self._form(place) not in ("", "name"):
            raise Unsupported("wrong_form")
        rest = self._read_change(place + 1, words)
        self._check_words(self._tokens[:place], self.refs[0])
        self._check_words(self._tokens[rest:], self.refs[0])
        ref, at = self.refs[0], self._evidence.before_at
        if ref.is_bound or ref.value is None or ref.before is None or at is None:
            raise Unsupported("no_baseline")
        if not holds(ref.before, ref.value):
            raise Unsupported("relation_fails")
        self._since = f" since {at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"

    def _read_change(self, place: int, words: frozenset[str]) -> int:
        """Read "… rose from {1.before} to {1.value}" from a place on; return where it ends."""
        tokens, ref = self._tokens, self.refs[0]
        while place < len(tokens) and _word_at(tokens, place) in ref.words | {"has", "have"}:
            place += 1
        if _word_at(tokens, place) not in words:
            raise Unsupported("wrong_form")
        place += 1
        for word, forms in (("from", ("before",)), ("to", ("value", ""))):
            if _word_at(tokens, place) == word and place + 1 < len(tokens):
                token = tokens[place + 1]
                if not isinstance(token, Placeholder) or token.ref != 1 or token.form not in forms:
                    raise Unsupported("wrong_form")
                place += 2
        return place

    def _be_share(self) -> None:
        tokens = self._tokens
        order = [token.ref for token in tokens if isinstance(token, Placeholder)]
        if order not in ([1, 0, 2], [0, 2, 1]) or len(self.refs) != 2:  # noqa: PLR2004 - a part and a whole
            raise Unsupported("wrong_form")
        places = [i for i, token in enumerate(tokens) if isinstance(token, Placeholder)]
        share, whole, part = places[order.index(0)], places[order.index(2)], places[order.index(1)]
        of = [_word_at(tokens, i) for i in range(share + 1, whole)]
        if of not in (["of"], ["of", "the"]) or self._form(whole) or self._form(part) == "before":
            raise Unsupported("wrong_form")
        between = tokens[part + 1 : share] if part < share else tokens[whole + 1 : part]
        if not all(isinstance(it, Word) and it.text in _LINKS for it in between):
            raise Unsupported("wrong_form")
        outer = self.refs[1] if part < share else self.refs[0]
        self._check_words(tokens[: places[0]], *([self.refs[0]] if part < share else []))
        self._check_words(tokens[places[-1] + 1 :], outer)
        self._evaluate_share()

    def _evaluate_share(self) -> None:
        part, whole = self.refs
        (one, value), (other, total) = part.number, whole.number
        if WHOLES.get(pattern_of(part.path) or "") != whole.path or part.is_bound or whole.is_bound:
            raise Unsupported("relation_fails")
        if (one.unit, one.window) != (other.unit, other.window):
            raise Unsupported("wrong_unit")
        if total <= 0 or not 0 <= value <= total:
            raise Unsupported("relation_fails")
        self._share = write_share(value / total)

    def _be_cause(self) -> None:
        first, second = self._places(1, 2)
        if {self._form(first), self._form(second)} - {"", "name"}:
            raise Unsupported("wrong_form")
        effect, cause = (ref.finding for ref in self.refs)
        if effect is None or cause is None or any(ref.measure for ref in self.refs):
            raise Unsupported("cause_without_rule")
        rule = self._evidence.rules.get(effect.id)
        if rule is None or cause.id not in rule.because:
            raise Unsupported("cause_without_rule")
        self._check_between(first, second, CAUSE_PHRASES)
        self._check_words(self._tokens[:first], self.refs[0])
        self._check_words(self._tokens[second + 1 :], self.refs[1])

    # What is judged, and where it is to appear.

    def _judge(self, role: Role) -> None:
        words = {token.text for token in self._tokens if isinstance(token, Word)}
        own = frozenset[str]().union(*(ref.words for ref in self.refs))
        flagged = [self._is_flagged(ref) for ref in self.refs]
        if words & PRAISE and not all(map(self._is_well, self.refs)):
            raise Unsupported("judgement")
        if words & PRAISE and words & WHOLE and self._evidence.findings:
            raise Unsupported("judgement")
        if words & (BLAME - own) and not all(flagged):
            raise Unsupported("judgement")
        for judged, direction in ((HIGH - own, "up"), (LOW - own, "down")):
            if words & judged and not all(self._is_too(ref, direction) for ref in self.refs):
                raise Unsupported("judgement")
        # What is compared with something, or a part of it, is what the sentence is about.
        is_about_first = self._claim.relation in ("above", "below", "share of")
        if role == "concern" and not (flagged[0] if is_about_first else all(flagged)):
            raise Unsupported("wrong_role")
        if role == "positive" and not all(map(self._is_well, self.refs)):
            raise Unsupported("wrong_role")

    def _is_flagged(self, ref: Reference) -> bool:
        return ref.finding is not None or any(map(self._evidence.is_flagged, ref.paths))

    def _is_well(self, ref: Reference) -> bool:
        """Return whether a rule guards a value, and finds nothing about it or its entity."""
        is_guarded = (pattern_of(ref.path) or "") in self._evidence.guarded
        return is_guarded and not self._evidence.is_troubled(ref.path)

    def _is_too(self, ref: Reference, direction: str) -> bool:
        return ref.measure is not None and ref.measure.worse == direction and self._is_flagged(ref)


_LINKS: Final = frozenset({"is", "are", "make", "makes", "up"})
"""Words between a part and its share."""


def _judging() -> frozenset[str]:
    return PRAISE | BLAME | HIGH | LOW


def _word_at(tokens: Sequence[Token], place: int) -> str:
    token = tokens[place] if place < len(tokens) else None
    return token.text if isinstance(token, Word) else ""


def check_claim(claim: Claim, evidence: Evidence, role: Role = "insight") -> str:
    """Return the sentence that a claim comes to, with its values.

    Raises:
        Unsupported: it is to be dropped; its text says why, in a stable word.
    """
    return Check(claim, evidence).run(role)
