"""What an Ollama server says: https://github.com/ollama/ollama/blob/main/docs/api.md."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, cast

from aletheia.adapters.embedding.parts import TOO_LONG, Vector
from aletheia.adapters.http_answers import Answer, as_object, as_text, load_object
from aletheia.errors import AletheiaError, ComputeFailed, InvalidTask

OLLAMA: Final = "ollama"
"""What results and errors call the provider."""

SAYS_NO_MODEL: Final = re.compile(
    r"model\b.*\bnot found|model manifest: file does not exist|invalid model name"
    r"|model is required",
    re.IGNORECASE,
)
_TASK_FAULTS: Final = (
    (SAYS_NO_MODEL, "model_not_found"),
    (re.compile(r"does not support embed", re.IGNORECASE), "unsupported_model"),
    (re.compile(r"(input|context) length", re.IGNORECASE), TOO_LONG),
)
_SAYS_NAN: Final = re.compile(r"\bNaN\b")
"""An error of Ollama has a message and no code."""


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """A model that is on the server's disk."""

    name: str
    size_bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is in the server's memory.

    Attributes:
        vram_bytes: the part of `size_bytes` that is on a GPU.
        expires_at: ISO 8601, when it is unloaded if nobody asks for it.
    """

    name: str
    size_bytes: int
    vram_bytes: int
    expires_at: str


@dataclass(frozen=True, slots=True)
class Loading:
    """A model that was loaded, and how long that took, seconds: next to nothing if it was there."""

    model: LoadedModel
    load_s: float


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What the server says of a model; `None` where it does not say.

    Attributes:
        context_length: tokens the model was made for; the server may be set to read fewer.
        dimensions: length of its vectors.
        capabilities: `embedding`, `completion` and others.
    """

    context_length: int | None = None
    dimensions: int | None = None
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors in the order of the texts, and the tokens of all; `None` if they were not counted."""

    vectors: list[Vector]
    tokens: int | None
    model: str


def model_key(model: str) -> str:
    """Return what all names of one model have in common: `:latest` and case make no difference."""
    return model.strip().removesuffix(":latest").lower()


def to_error(answer: Answer) -> AletheiaError:
    """Build the error that an answer means which is no success."""
    try:
        message = read_error(load_object(answer.body))
    except ValueError:
        message = ""
    said = answer.excerpt(message or None)
    fault = _read_task_fault(said) if answer.status >= HTTPStatus.BAD_REQUEST else None
    return fault or answer.to_error(said)


def read_error(event: Mapping[str, Any]) -> str:
    """Read the message of an error: a text, or an object with one."""
    error = event.get("error")
    return as_text(error) or as_text(as_object(error).get("message"))


def _read_task_fault(said: str) -> InvalidTask | ComputeFailed | None:
    """Read which fault of a task an error speaks of; some come as a 500."""
    for pattern, code in _TASK_FAULTS:
        if pattern.search(said):
            return InvalidTask(code, said)
    return ComputeFailed("bad_vector", said) if _SAYS_NAN.search(said) else None


def read_card(answer: Mapping[str, Any]) -> ModelCard:
    """Read what a model is."""
    facts = as_object(answer.get("model_info"))
    architecture = as_text(facts.get("general.architecture"))
    capabilities = answer.get("capabilities")
    known = cast("list[object]", capabilities) if isinstance(capabilities, list) else []
    return ModelCard(
        read_number(facts, f"{architecture}.context_length"),
        read_number(facts, f"{architecture}.embedding_length"),
        tuple(filter(None, map(as_text, known))),
    )


def read_list(answer: Mapping[str, Any], name: str) -> list[object]:
    """Read a list; `ValueError` if there is none."""
    found = answer.get(name)
    if not isinstance(found, list):
        raise ValueError(f"no list of {name}")  # noqa: TRY004 - readers raise ValueError
    return cast("list[object]", found)


def read_objects(answer: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Read a list of objects; `ValueError` if there is none."""
    found = read_list(answer, name)
    if not all(isinstance(entry, dict) for entry in found):
        raise ValueError(f"{name} that are not objects")
    return cast("list[dict[str, Any]]", found)


def read_text(answer: Mapping[str, Any], name: str) -> str:
    """Read a text; `ValueError` if there is none."""
    found = answer.get(name)
    if not isinstance(found, str):
        raise ValueError(f"no {name}")  # noqa: TRY004 - readers raise ValueError
    return found


def read_number(answer: Mapping[str, Any], name: str) -> int | None:
    """Read a whole number above 0."""
    found = answer.get(name)
    return found if type(found) is int and found > 0 else None


def read_loaded(found: Mapping[str, Any]) -> LoadedModel:
    """Read a model in memory."""
    return LoadedModel(
        read_text(found, "name"),
        read_number(found, "size") or 0,
        read_number(found, "size_vram") or 0,
        read_text(found, "expires_at"),
    )


def read_installed(found: Mapping[str, Any]) -> InstalledModel:
    """Read a model on disk."""
    return InstalledModel(
        read_text(found, "name"), read_number(found, "size") or 0, read_text(found, "digest")
    )
