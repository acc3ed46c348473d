"""Every variable a deployment can set: read from the settings and the blocks, nowhere repeated."""

import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

import annotated_types
from prefect.blocks.core import Block
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import SettingsError

from aletheia import settings
from aletheia.analysis.audio_settings import AudioSettings, SpeechSettings
from aletheia.analysis.file_settings import DecoderSettings, FileSettings
from aletheia.analysis.model_settings import ModelSettings
from aletheia.analysis.settings import WorkerSettings
from aletheia.errors import Misconfigured
from aletheia.reasoning.platform import PlatformSettings
from aletheia.reasoning.settings import FindingSettings, ReasoningSettings
from aletheia.service.settings import ServiceSettings
from aletheia.telemetry import TelemetrySettings
from blocks import (
    BrainCredentials,
    EventCredentials,
    HuggingFaceCredentials,
    LLMCredentials,
    OpenAICredentials,
    PayloadCredentials,
    ServiceCredentials,
    StoreCredentials,
    UpstreamCredentials,
)
from deployments import ROOT

_RENAMED: Final[Mapping[type[Block], Mapping[str, str]]] = {
    UpstreamCredentials: {
        "base_url": "API_BASE_URL",
        "auth": "UPSTREAM_AUTH",
        "token": "API_TOKEN",
    },
    StoreCredentials: {"data_dir": "ALETHEIA_DATA_DIR"},
    OpenAICredentials: {"api_key": "OPENAI_API_KEY", "base_url": "OPENAI_BASE_URL"},
    HuggingFaceCredentials: {"token": "HUGGINGFACE_TOKEN"},
    LLMCredentials: {"provider": "LLM_PROVIDER", "base_url": "OPENROUTER_BASE_URL"},
    PayloadCredentials: {
        "base_url": "NEXT_PUBLIC_APP_URL",
        "api_key": "PAYLOAD_API_KEY",
        "collection": "PAYLOAD_API_KEY_COLLECTION",
    },
    BrainCredentials: {
        "service_base_url": "BRAIN_SERVICE_BASE_URL",
        "service_api_key": "BRAIN_SERVICE_API_KEY",
        "data_dir": "ALETHEIA_DATA_DIR",
    },
    EventCredentials: {},
    ServiceCredentials: {},
}
"""All blocks, and the variables of those fields whose variable has another name."""

BLOCK_FIELDS: Final[Mapping[type[Block], Mapping[str, str]]] = {
    block: {renamed.get(field, field.upper()): field for field in block.model_fields}
    for block, renamed in _RENAMED.items()
}
"""Which variable goes into which field of which block when the set-up saves them."""

KINDS: Final[Mapping[Any, str]] = {
    bool: "`true`, `false`",
    int: "integer",
    float: "number",
    str: "text",
    Path: "path",
    SecretStr: "secret",
    tuple: "JSON list",
    dict: "JSON object",
}
BOUNDS: Final[Mapping[str, type[Any]]] = {
    "≥": annotated_types.Ge,
    ">": annotated_types.Gt,
    "≤": annotated_types.Le,
    "<": annotated_types.Lt,
}

AREAS: Final = [
    *(area for area in settings.Settings.__subclasses__() if area.__module__ == settings.__name__),
    *(WorkerSettings, ModelSettings, FileSettings, DecoderSettings, AudioSettings),
    *(SpeechSettings, TelemetrySettings, ServiceSettings),
    *(ReasoningSettings, FindingSettings, PlatformSettings),
]
"""The settings classes, in the order of their file; some stand with what they are about."""

DOCUMENT: Final = ROOT / "docs" / "configuration.md"
EXAMPLE: Final = ROOT / ".env.example"

_INTRODUCTION: Final = """\
# Configuration

Every variable is read from the environment, then from `.env` in the project's root; an empty one
counts as not set. Copy `.env.example` to `.env` (`install -m 600 .env.example .env`, since `doctor`
fails on one that others read) and change what you need.

Settings tune: they are read whenever a run starts. Credentials unlock: `aletheia setup` moves them
from the environment or `.env` into Prefect blocks, and flows read only those, so run it again after
changing one.

This page is written by `make configuration`.
"""

_EXAMPLE_INTRODUCTION: Final = """\
# Copy: install -m 600 .env.example .env
# Take the "# " from what you change, then run `aletheia setup`.
# Values shown are the defaults. docs/configuration.md has the same as a table.
"""


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable: what it may be, its default as it would be set, and a sentence about it."""

    name: str
    values: str
    default: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Section:
    """Variables that belong together, what they are about, and where they end up."""

    title: str
    home: str
    variables: tuple[Variable, ...]


def sections() -> Iterator[Section]:
    """List all variables, each once."""
    tuned = {name.upper(): field for area in AREAS for name, field in area.model_fields.items()}
    listed: set[str] = set()
    homes: dict[type[Any], tuple[str, dict[str, FieldInfo]]] = {
        block: (
            f"block `{block.get_block_type_slug()}`",
            {name: tuned.get(name, block.model_fields[field]) for name, field in fields.items()},
        )
        for block, fields in BLOCK_FIELDS.items()
    }
    for area in AREAS:
        fields = {name.upper(): field for name, field in area.model_fields.items()}
        homes[area] = (f"`{area.__name__}`", fields)
    for model, (home, fields) in homes.items():
        new = {name: field for name, field in fields.items() if name not in listed}
        listed.update(new)
        if new:
            title = (inspect.getdoc(model) or model.__name__).splitlines()[0].rstrip(".")
            yield Section(title, home, tuple(_variable(*known) for known in new.items()))


def find_faults() -> list[Misconfigured]:
    """Read all settings, and say what makes no sense; no value is repeated."""
    faults: dict[str, str] = {}
    for area in AREAS:
        try:
            area()
        except ValidationError as invalid:
            for problem in invalid.errors(include_input=False, include_url=False):
                name = str(problem["loc"][0]).upper() if problem["loc"] else area.__name__
                faults.setdefault(name, problem["msg"])
        except SettingsError as invalid:
            # Something that is to be JSON and is not; the text names the field, and no value.
            faults.setdefault(area.__name__, str(invalid))
    return [Misconfigured(name, message) for name, message in faults.items()]


def write_document() -> str:
    """Write the page for people."""
    parts = [_INTRODUCTION]
    for section in sections():
        rows = "\n".join(
            f"| `{it.name}` | {it.values} | {f'`{it.default}`' if it.default else 'none'} "
            f"| {it.meaning} |"
            for it in section.variables
        )
        head = "| variable | values | default | meaning |\n|---|---|---|---|"
        parts.append(f"## {section.title}\n\nKept in {section.home}.\n\n{head}\n{rows}\n")
    return "\n".join(parts)


def write_example() -> str:
    """Write the file to copy."""
    parts = [_EXAMPLE_INTRODUCTION]
    for section in sections():
        rows = "\n".join(
            f"# {it.meaning} ({it.values})\n# {it.name}={it.default}" for it in section.variables
        )
        parts.append(f"### {section.title}\n\n{rows}\n")
    return "\n".join(parts).replace("`", "")


def _variable(name: str, field: FieldInfo) -> Variable:
    default, values = "", _values(field)
    if field.is_required():
        values += ", required"
    else:
        default = _as_set(field.get_default(call_default_factory=True))
    return Variable(name, values, default, " ".join((field.description or "").split()))


def _as_set(value: object) -> str:
    match value:
        case float():
            return f"{value:g}"
        case bool() | tuple() | dict():
            return json.dumps(value)
        case _:
            return "" if value is None else str(value)


def _values(field: FieldInfo) -> str:
    is_union = get_origin(field.annotation) in (Union, UnionType)
    kinds = get_args(field.annotation) if is_union else (field.annotation,)
    words = " or ".join(_kind(kind) for kind in kinds if kind is not NoneType)
    bounds = [
        f"{sign} {getattr(limit, kind.__name__.lower())}"
        for limit in field.metadata
        for sign, kind in BOUNDS.items()
        if isinstance(limit, kind)
    ]
    return " ".join([words, *bounds])


def _kind(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    return KINDS[get_origin(kind) or kind]
