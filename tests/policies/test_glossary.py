"""Names and texts use the words of the field: what the glossary replaces is not found.

Names are compared part by part, texts by whole phrases, since most of these words have an ordinary
sense as well: "letter case", "look up", "tell apart". What the ordinary sense alone decides (to
hold, to keep, to judge, plain, around, one) is for readers.
"""

import ast
import functools
import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from deployments import ROOT
from tests.policies.test_words import FOLDERS, python_files

NAMES = {
    r"(?<!dead )letters?": "dead letter",
    r"desks?": "held claims",
    r"rooms?|roomy": "capacity",
    r"(?:work)?shops?|furnish\w*": "dependencies, build",
    r"look(?:s|ed|ing)?(?! up| ahead)": "poll, tick",
    r"shel(?:f|ves)": "model manager, vector cache",
    r"held up": "deferred",
    r"wait asked by": "retry_after_s",
    r"standing": "status",
    r"let go": "resume",
    r"bur(?:y|ies|ied)": "move to dead letters",
    r"chronicles?|tells?|told|untold": "event derivation, emit",
    r"unwell|check ups?": "failed check, check result",
    r"(?:give|gives|gave|given) back": "release",
    r"passing store": "volatile store",
    r"just sends?": "unguarded",
    r"(?<!at )(?:most|least)(?! recent)": "max, min",
    r"some": "the name of the thing",
}
"""By what a name must not contain, in small words with a space between: what to write."""

TEXTS = {
    r"(?:an?|the|this|these|its|each|every|no|only the|newest|oldest) letters?(?! case)"
    r"|(?<!dead )letters? that (?:is|are|was|were)": "dead letter",
    r"desks?|shel(?:f|ves)|furnish\w*|chronicl\w+|bur(?:y|ies|ied)": "see `NAMES`",
    r"unwell|check-ups?": "failed check, check result",
    r"(?:has|have|had|no|more|much|enough|some|makes?|leaves?|needs?|is|was|are|the|its|same|for"
    r"|without) rooms?|rooms? (?:for|is|was|counts)": "capacity",
    r"(?:an?|one|two|each|every|first|second|third|no|last|further|our|between|next) looks?(?!-)"
    r"|looks? (?:again|once|twice)"
    r"|(?-i:(?!Look at))look(?:s|ed|ing)? (?:at|into|around|over|through)": "poll, tick",
    r"held up": "deferred",
    r"(?<!-)standing": "status",
    r"lets? (?:[\w`]+ ){1,6}goe?s? on": "resume",
    r"(?:brain|upstream|breaker|event|run|life)s? (?:[\w`]+ ){0,3}(?:is|are|was|were|be|been) "
    r"told(?! apart)|tells? (?:the (?:brain|upstream|breaker|event|run|life)|its report)"
    r"|untold|tellers?": "emit",
    r"(?:give|gives|gave|given|giving) (?:[\w`]+ ){0,3}back": "release",
    r"passing stores?": "volatile store",
    r"just sends?": "unguarded",
    r"what there is|what stands where|late word"
    r"|(?<!to )see to(?! the (?:left|right))": "the name of the thing",
}
"""By what a text must not contain, as one line: what to write."""

EXCEPTED_NAMES = {
    "MIN_LETTERS": "letters of an alphabet",
    "_LETTER": "a letter of an alphabet",
    "most_common": "of `collections.Counter`",
}

STANDARD_NAMES = {"tell", "ascii_letters"}
"""Names of the standard library, whether they are used here or not."""

EXCEPTED_TEXTS = {
    "auditors who look at it from outside": "words of a prompt, which change answers",
}

OR_EXCEPT = "or add it to EXCEPTED_NAMES or EXCEPTED_TEXTS with its reason"

SAMPLES = (
    "aletheia/items/labelled/",
    "bench/data/judgement/",
    "bench/data/sentiment/",
    "bench/data/summaries/",
    "aletheia/quality/graded/",
    "aletheia/quality/background.yaml",
    "aletheia/quality/grammar.yaml",
    "aletheia/quality/orders.yaml",
    "aletheia/quality/registers.yaml",
    "bench/judgement/data/",
    "deployments/examples/departments.py",
    "tests/aletheia/quality/quality_sets.py",
    "tests/aletheia/quality/test_orders.py",
    "tests/aletheia/quality/test_rating.py",
    "tests/aletheia/quality/test_sentences.py",
    "tests/flows/gather_application.py",
    "tests/policies/test_glossary.py",
)
"""Texts about other trades, where a room is a room; and this file."""


def compiled(words: Mapping[str, str]) -> Mapping[re.Pattern[str], str]:
    return {re.compile(rf"\b(?:{old})\b", re.IGNORECASE): new for old, new in words.items()}


NAME_RULES, TEXT_RULES = compiled(NAMES), compiled(TEXTS)


def parts_of(name: str) -> str:
    """`MAX_deadLetters` as "max dead letters"."""
    return " ".join(re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)).lower()


def found(text: str, rules: Mapping[re.Pattern[str], str]) -> Iterator[str]:
    for rule, instead in rules.items():
        for hit in rule.finditer(text):
            around = text[max(0, hit.start() - 40) : hit.end() + 40]
            if not any(excepted in around for excepted in EXCEPTED_TEXTS):
                yield f"{hit.group()!r} in {around!r}; write: {instead}, {OR_EXCEPT}"


@functools.cache
def read_tokens(source: str) -> tuple[frozenset[str], Mapping[int, str]]:
    """The names in a module, and its comments by line."""
    names, comments = set[str](), dict[int, str]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME:
            names.add(token.string)
        elif token.type == tokenize.COMMENT:
            comments[token.start[0]] = token.string.lstrip("#: ")
    return frozenset(names), comments


def names_in(source: str) -> frozenset[str]:
    return read_tokens(source)[0]


def texts_in(source: str) -> Iterator[str]:
    """Strings, comments (of successive lines as one), and tests' names, which are sentences."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
    names, comments = read_tokens(source)
    yield "".join(text + (" " if line + 1 in comments else "\0") for line, text in comments.items())
    yield from (name.replace("_", " ") for name in names if name.startswith("test_"))


def documents() -> Iterator[Path]:
    """Everything that is no Python and is read by people."""
    kinds = ("*.md", "*.yaml", "*.yml", "*.toml", "*.sh", "Makefile", ".env.example")
    for kind in kinds:
        yield from ROOT.glob(kind)
        for folder in (*FOLDERS, "docs"):
            yield from (ROOT / folder).rglob(kind)


def is_sample(file: Path) -> bool:
    return file.relative_to(ROOT).as_posix().startswith(SAMPLES)


def test_names_use_the_words_of_the_field():
    wrong = [
        f"{file.relative_to(ROOT)}: {name}: {hit}"
        for file in python_files(*FOLDERS)
        for name in sorted(names_in(file.read_text()) - EXCEPTED_NAMES.keys() - STANDARD_NAMES)
        if not name.startswith("test_")
        for hit in found(parts_of(name), NAME_RULES)
    ]
    assert wrong == []


def test_strings_and_comments_use_the_words_of_the_field():
    wrong = [
        f"{file.relative_to(ROOT)}: {hit}"
        for file in python_files(*FOLDERS)
        if not is_sample(file)
        for text in texts_in(file.read_text())
        for hit in found(" ".join(text.split()), TEXT_RULES)
    ]
    assert wrong == []


def test_documents_use_the_words_of_the_field():
    wrong = [
        f"{file.relative_to(ROOT)}: {hit}"
        for file in documents()
        if not is_sample(file)
        for paragraph in re.split(r"\n\s*\n", file.read_text())
        for hit in found(re.sub(r"\s*\n[ \t]*(?:#+ ?)?", " ", paragraph), TEXT_RULES)
    ]
    assert wrong == []


@pytest.mark.parametrize("name", EXCEPTED_NAMES)
def test_every_excepted_name_is_used(name: str):
    assert any(name in names_in(file.read_text()) for file in python_files(*FOLDERS))
    assert any(found(parts_of(name), NAME_RULES))


@pytest.mark.parametrize("text", EXCEPTED_TEXTS)
def test_every_excepted_text_is_used(text: str):
    files = (*python_files(*FOLDERS), *documents())
    sources = [file for file in files if not is_sample(file)]
    assert any(text in " ".join(file.read_text().split()) for file in sources)
    assert any(rule.search(text) for rule in TEXT_RULES)


@pytest.mark.parametrize(
    ("name", "is_wrong"),
    [
        ("MORE_ROOM", True),
        ("_rooms", True),
        ("roomFor", True),
        ("DiesAfterTheLetter", True),
        ("list_untold", True),
        ("on_look", True),
        ("MOST_CALLS", True),
        ("let_go_on", True),
        ("DeadLetters", False),
        ("MAX_DEAD_LETTERS", False),
        ("looked_up", False),
        ("_look_up", False),
        ("bathroom", False),
        ("almost", False),
        ("most_recent", False),
        ("at_least_once", False),
        ("look_ahead", False),
        ("has_longest_stem", False),
    ],
)
def test_a_name_is_compared_by_its_parts(name: str, is_wrong: bool):
    assert any(found(parts_of(name), NAME_RULES)) is is_wrong


@pytest.mark.parametrize(
    ("text", "is_wrong"),
    [
        ("a budget has room for 3 tasks", True),
        ("It looks again at intervals", True),
        ("one look (shift_seconds=0)", True),
        ("Lets a gather run go on from where it was", True),
        ("`make` lists what there is", True),
        ("what the Brain has still to be told", True),
        ("its lease was given back", True),
        ("gives everything it holds back", True),
        ("only the letters of one code", True),
        ("in capital letters; letters, digits and _", False),
        ("in the letter case of the list", False),
        ("the dead letters that are replayed", False),
        ("hosts are looked up once; it looks for work", False),
        ("pairs that were told apart; it cannot tell the pairs apart", False),
        ("how similar they look", False),
        ("a teller killed at any step", True),
        ("room is what the budget has left", True),
        ("a server without room on its disk", True),
        ("embedded by the next look", True),
        ("a run tells its report again", True),
        ("Nothing the upstream was told", True),
        ("Look at the log", False),
        ("It looks at the log", True),
        ("a long-standing bug", False),
        ("the user is told why", False),
        ("we see to the left", False),
    ],
)
def test_a_text_is_compared_by_phrases(text: str, is_wrong: bool):
    assert any(found(text, TEXT_RULES)) is is_wrong
