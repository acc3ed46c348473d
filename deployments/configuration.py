"""Every variable a deployment can set: read from the settings and the blocks, nowhere repeated.

    python -m deployments.configuration [--check]

writes `docs/configuration.md` and `.env.example`; with `--check` it only says whether they agree.
"""

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
from aletheia.errors import Misconfigured
from blocks import (
    BrainCredentials,
    EventCredentials,
    LLMCredentials,
    OpenAICredentials,
    PayloadCredentials,
    StoreCredentials,
    UpstreamCredentials,
)
from deployments import ROOT
from deployments.generated import write_or_check

BLOCK_FIELDS: Final[Mapping[type[Block], Mapping[str, str]]] = {
    UpstreamCredentials: {
        "API_BASE_URL": "base_url",
        "UPSTREAM_AUTH": "auth",
        "API_TOKEN": "token",
        "ORY_PROJECT_SLUG": "ory_project_slug",
        "OAUTH2_TOKEN_URL": "oauth2_token_url",
        "OAUTH2_CLIENT_ID": "oauth2_client_id",
        "OAUTH2_CLIENT_SECRET": "oauth2_client_secret",
        "OAUTH2_SCOPE": "oauth2_scope",
        "OAUTH2_AUDIENCE": "oauth2_audience",
        "OAUTH2_CLIENT_AUTH": "oauth2_client_auth",
    },
    StoreCredentials: {
        "MONGODB_URI": "mongodb_uri",
        "MONGODB_DATABASE": "mongodb_database",
        "ALETHEIA_DATA_DIR": "data_dir",
    },
    OpenAICredentials: {
        "OPENAI_API_KEY": "api_key",
        "OPENAI_BASE_URL": "base_url",
    },
    LLMCredentials: {
        "LLM_PROVIDER": "provider",
        "OPENROUTER_API_KEY": "openrouter_api_key",
        "OPENROUTER_BASE_URL": "base_url",
        "OPENAI_API_KEY": "openai_api_key",
        "OPENAI_BASE_URL": "openai_base_url",
        "ANTHROPIC_API_KEY": "anthropic_api_key",
    },
    PayloadCredentials: {
        "NEXT_PUBLIC_APP_URL": "base_url",
        "PAYLOAD_API_KEY": "api_key",
        "PAYLOAD_API_KEY_COLLECTION": "collection",
    },
    BrainCredentials: {
        "BRAIN_SERVICE_BASE_URL": "service_base_url",
        "BRAIN_SERVICE_API_KEY": "service_api_key",
        "NEO4J_URI": "neo4j_uri",
        "NEO4J_USERNAME": "neo4j_username",
        "NEO4J_PASSWORD": "neo4j_password",
        "NEO4J_DATABASE": "neo4j_database",
        "ALETHEIA_DATA_DIR": "data_dir",
    },
    EventCredentials: {
        "REDIS_URL": "redis_url",
        "WEBHOOK_SECRET": "webhook_secret",
    },
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
    tuned = {name.upper(): field for area in _areas() for name, field in area.model_fields.items()}
    listed: set[str] = set()
    homes: dict[type[Any], tuple[str, dict[str, FieldInfo]]] = {
        block: (
            f"block `{block.get_block_type_slug()}`",
            {name: tuned.get(name, block.model_fields[field]) for name, field in fields.items()},
        )
        for block, fields in BLOCK_FIELDS.items()
    }
    for area in _areas():
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
    for area in _areas():
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


def _areas() -> list[type[settings.Settings]]:
    """List the settings classes, in the order of their file."""
    return [
        area
        for area in vars(settings).values()
        if inspect.isclass(area)
        and issubclass(area, settings.Settings)
        and area is not settings.Settings
    ]


def _variable(name: str, field: FieldInfo) -> Variable:
    default = "" if field.is_required() else _as_set(field.get_default(call_default_factory=True))
    values = _values(field)
    if field.is_required():
        values += ", required"
    return Variable(name, values, default, " ".join((field.description or "").split()))


def _as_set(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case tuple() | dict():
            return json.dumps(value)
        case _:
            return str(value)


def _values(field: FieldInfo) -> str:
    is_union = get_origin(field.annotation) in (Union, UnionType)
    kinds = get_args(field.annotation) if is_union else (field.annotation,)
    words = " or ".join(_kind(kind) for kind in kinds if kind is not NoneType)
    return " ".join([words, *filter(None, map(_bound, field.metadata))])


def _kind(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    return KINDS[get_origin(kind) or kind]


def _bound(limit: object) -> str:
    for sign, kind in BOUNDS.items():
        if isinstance(limit, kind):
            return f"{sign} {getattr(limit, kind.__name__.lower())}"
    return ""


def main() -> None:
    """Write both files, or check them."""
    write_or_check({DOCUMENT: write_document(), EXAMPLE: write_example()}, "make configuration")


if __name__ == "__main__":
    main()
