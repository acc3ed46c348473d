"""The thoughts of a model, which stand before its answer and may hold drafts of it."""

import re
from collections.abc import Mapping
from typing import Final

from aletheia.llm.json_text import BRACKET, FoundJson, UnreadableAnswer, end_of_json, scan_json
from aletheia.llm.messages import Completion

MAX_PREAMBLE_CHARS: Final = 300
"""Words before JSON that breaks off; where there are more, they are thoughts, and it is a draft."""

_NAMES: Final = (
    r"(?:\w{1,20}:)?(?:think|thinking|thoughts?|reason|reasoning|reflection|scratchpad|analysis)"
)
_OPENING: Final = (
    rf"<{_NAMES}(?:\s[^<>]{{0,80}})?>|\[THINK\]|◁think▷"
    r"|<\|(?:begin_of_thought|START_THINKING)\|>"
)
_CLOSING: Final = rf"</{_NAMES}\s*>|\[/THINK\]|◁/think▷|<\|(?:end_of_thought|END_THINKING)\|>"
_CHANNEL: Final = r"<\|channel\|>"
_FINAL: Final = (
    rf"{_CHANNEL}\s*(?:final|commentary\s+to=)[^<{{\[]*"
    r"(?:<\|constrain\|>[^<{\[]*)?(?:<\|message\|>)?"
)
_MARKS: Final = rf"(?P<opening>{_OPENING})|(?P<final>{_CLOSING}|{_FINAL})|(?P<channel>{_CHANNEL})"
_TAG: Final = re.compile(_MARKS, re.IGNORECASE)
_MARK: Final = re.compile(rf"{_MARKS}|(?P<json>[\[{{])", re.IGNORECASE)
_ENDS: Final[Mapping[str, re.Pattern[str]]] = {
    "opening": re.compile(_CLOSING, re.IGNORECASE),
    "channel": re.compile(rf"{_FINAL}|<\|end\|>", re.IGNORECASE),
}
"""Where thoughts begin and end, in the forms of Qwen and DeepSeek, Mistral, Kimi, Cohere and
gpt-oss, and where JSON begins, in which a mark is only text."""

_BARE_CHANNEL: Final = re.compile(r"analysis(?=[A-Z<\[{])")
_BARE_FINAL: Final = "assistantfinal"
"""Channels of gpt-oss, of which a server has removed the marks."""

_MAX_VALUES: Final = 16
"""JSON values that are looked for before the last mark; what stands in others may be a mark."""

_FENCE: Final = re.compile(r"```\w*")
_WORD: Final = re.compile(r"\w")


def drop_thoughts(text: str) -> str:
    """Return an answer without its thoughts. Raises `UnreadableAnswer`: it ends within them."""
    begin = text.lstrip("\ufeff \t\r\n")
    if begin.startswith("analysis") and _BARE_FINAL in text:
        text = text.rpartition(_BARE_FINAL)[2]
    elif _BARE_CHANNEL.match(begin) and "<|channel|>" not in text:
        raise cut_thought()
    parts, is_cut = _split(text)
    with_json = [part for part in parts if BRACKET.search(part)]
    if is_cut and not with_json:
        raise cut_thought()
    return with_json[-1] if with_json else "\n".join(parts)


def is_spent(completion: Completion) -> bool:
    """Return whether a model reached its limit before its answer, in JSON, began."""
    if completion.finish != "length":
        return False
    try:
        text = drop_thoughts(completion.text)
    except UnreadableAnswer:
        return True
    return BRACKET.search(text) is None or is_draft(text)


def is_draft(text: str) -> bool:
    """Return whether the JSON in an answer that was cut off stands in the middle of thoughts."""
    found = [value for value in scan_json(text) if isinstance(value, FoundJson)]
    bracket = BRACKET.search(text)
    if not found or bracket is None:
        return False
    before = _FENCE.sub("", text[: bracket.start()]).strip()
    if found[-1].is_cut:
        return len(before) > MAX_PREAMBLE_CHARS
    after = _FENCE.sub("", text[max(text.rfind("}"), text.rfind("]")) + 1 :])
    return bool(_WORD.search(before) and _WORD.search(after))


def cut_thought() -> UnreadableAnswer:
    """Build the error of an answer that ends within its thoughts."""
    return UnreadableAnswer("cut_thought", "the answer ends within its thoughts")


def _split(text: str) -> tuple[list[str], bool]:
    """Return what stands outside of thoughts, and whether the last thought has no end."""
    if _TAG.search(text) is None:
        return [text], False
    parts: list[str] = []
    begin = place = values = 0
    while mark := _MARK.search(text, place):
        kind, place = str(mark.lastgroup), mark.end()
        if kind in _ENDS:
            parts.append(text[begin : mark.start()])
            end = _ENDS[kind].search(text, place)
            if end is None:
                return parts, True
            begin = place = end.end()
        elif kind == "final":
            # Some servers remove the opening mark: all before this one were thoughts.
            parts, begin = [], place
        elif values < _MAX_VALUES:
            values += 1
            place = end_of_json(text, mark.start()) or place
    return [*parts, text[begin:]], False
