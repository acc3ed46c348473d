"""The text of a chat model's answer, wherever a server puts it."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, cast

from aletheia.adapters.http_answers import as_object, as_text

_THOUGHTS: Final = ("reasoning_content", "reasoning", "thinking")
"""Names that vLLM and DeepSeek, OpenRouter, and Ollama have for what a model thinks."""

_ENDS_IN_JSON: Final = re.compile(r"[}\]]\s*(?:```)?\s*$")


def read_message(message: Mapping[str, Any], *, is_done: bool) -> str:
    """Return the text of an answer, or where it has no JSON the arguments of a tool call.

    A server may have taken the answer for thoughts: where there is nothing else those are read if
    they end in JSON, and the model was done, since otherwise it may be a draft.
    """
    text = read_content(message.get("content"))
    if "{" not in text and "[" not in text and (called := _read_calls(message)):
        return called
    if text.strip() or not is_done:
        return text
    thoughts = (read_content(message.get(name)) for name in _THOUGHTS)
    return next(filter(_ENDS_IN_JSON.search, thoughts), text)


def read_content(content: object) -> str:
    """Read a text that some servers give in parts, and others as the JSON in it."""
    if isinstance(content, dict):
        return _write(cast("object", content))
    if not isinstance(content, list):
        return as_text(content)
    parts = cast("list[object]", content)
    texts = [as_text(part) or as_text(as_object(part).get("text")) for part in parts]
    is_json = all(isinstance(part, dict) and "type" not in part for part in parts)
    return _write(parts) if parts and is_json and not any(texts) else "".join(texts)


def _read_calls(message: Mapping[str, Any]) -> str:
    calls = message.get("tool_calls")
    functions = [
        as_object(as_object(call).get("function"))
        for call in (cast("list[object]", calls) if isinstance(calls, list) else ())
    ]
    functions.append(as_object(message.get("function_call")))
    given = (read_content(function.get("arguments")) for function in functions)
    return "\n".join(text for text in given if text.strip())


def _write(value: object) -> str:
    try:
        return json.dumps(value)
    except (ValueError, RecursionError):
        return ""
