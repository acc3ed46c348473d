"""What an Ollama server says: https://github.com/ollama/ollama/blob/main/docs/api.md."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, cast

from aletheia.adapters.embedding.parts import TOO_LONG, Vector, says_too_long
from aletheia.adapters.http_answers import Answer, as_object, as_text, excerpt, load_object
from aletheia.errors import AletheiaError, ComputeFailed, InvalidTask, Unavailable

OLLAMA: Final = "ollama"
"""What results and errors call the provider."""

SAYS_NO_MODEL: Final = re.compile(
    r"model\b.{0,300}?\bnot found|model manifest: file does not exist|invalid model name"
    r"|model is required",
    re.IGNORECASE | re.DOTALL,
)
_SAYS_NO_EMBEDDINGS: Final = re.compile(r"does not support embed", re.IGNORECASE)
_SAYS_NAN: Final = re.compile(r"\bNaN\b")
"""An error of Ollama has a message and no code."""


@dataclass(frozen=True, slots=True)
class ServerModel:
    """A model on the server's disk or in its memory, there until `expires_at` (ISO 8601)."""

    name: str
    size_bytes: int
    expires_at: str = ""


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors in the order of the texts, and the tokens of all; `None` if not counted."""

    vectors: list[Vector]
    tokens: int | None
    model: str


def short_name(model: str) -> str:
    """Take the tag off a model's name if it is the one that goes without saying."""
    return model.strip().removesuffix(":latest")


def model_key(model: str) -> str:
    """Return what all names of one model have in common: `:latest` and case make no difference."""
    return short_name(model).lower()


def to_error(answer: Answer) -> AletheiaError:
    """Build the error that an answer means which is no success."""
    try:
        message = read_error(load_object(answer.body))
    except ValueError:
        message = ""
    said = answer.excerpt(message or None)
    fault = _read_task_fault(answer.status, said)
    return fault or answer.to_error(said, {HTTPStatus.FAILED_DEPENDENCY: Unavailable})


def read_late_error(answer: Mapping[str, Any]) -> AletheiaError | None:
    """Build the error that stands behind a 200, if one does."""
    said = excerpt(read_error(answer))
    if not said:
        return None
    fault = _read_task_fault(HTTPStatus.OK, said)
    return fault or Unavailable(OLLAMA, said, status=HTTPStatus.BAD_GATEWAY)


def read_error(event: Mapping[str, Any]) -> str:
    """Read the message of an error: a text, or an object with one."""
    error = event.get("error")
    return as_text(error) or as_text(as_object(error).get("message"))


def _read_task_fault(status: int, said: str) -> InvalidTask | ComputeFailed | None:
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return None
    if SAYS_NO_MODEL.search(said):
        return InvalidTask("model_not_found", said)
    if _SAYS_NO_EMBEDDINGS.search(said):
        return InvalidTask("unsupported_model", said)
    if says_too_long(status, said):
        return InvalidTask(TOO_LONG, said)
    return ComputeFailed("bad_vector", said) if _SAYS_NAN.search(said) else None


def read_context(answer: Mapping[str, Any]) -> int | None:
    """Read how many tokens a model was made for; the server may be set to read fewer."""
    facts = as_object(answer.get("model_info"))
    return read_number(facts, f"{as_text(facts.get('general.architecture'))}.context_length")


def read_list(answer: Mapping[str, Any], name: str) -> list[object]:
    """Read a list; `ValueError` if there is none."""
    found = answer.get(name)
    if not isinstance(found, list):
        raise ValueError(f"no list of {name}")  # noqa: TRY004 - readers raise ValueError
    return cast("list[object]", found)


def read_number(answer: Mapping[str, Any], name: str) -> int | None:
    """Read a whole number above 0."""
    found = answer.get(name)
    return found if type(found) is int and found > 0 else None


def read_models(answer: Mapping[str, Any]) -> list[ServerModel]:
    """Read a list of models; `ValueError` if there is none."""
    models: list[ServerModel] = []
    for entry in map(as_object, read_list(answer, "models")):
        if not (name := as_text(entry.get("name"))):
            raise ValueError("a model without a name")
        expires_at = as_text(entry.get("expires_at"))
        models.append(ServerModel(name, read_number(entry, "size") or 0, expires_at))
    return models
