"""Every variable a deployment can set: read from the settings and the blocks, nowhere repeated.

    python -m deployments.configuration [--check]

writes `docs/configuration.md` and `.env.example`; with `--check` it only says whether they agree.
"""

import inspect
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

import annotated_types
from prefect.blocks.core import Block
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsError

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
        "OPENROUTER_API_KEY": "openrouter_api_key",
        "OPENROUTER_BASE_URL": "base_url",
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

DOCUMENT: Final = ROOT / "docs" / "configuration.md"
EXAMPLE: Final = ROOT / ".env.example"

_INTRODUCTION: Final = """\
# Configuration

Every variable is read from the environment, then from `.env` in the project's root; an empty one
counts as not set. Copy `.env.example` to `.env` and change what you need.

Settings tune: they are read whenever a run starts. Credentials unlock: `aletheia setup` moves them
from the environment or `.env` into Prefect blocks, and flows read only those, so run it again after
changing one.

This page is written by `make configuration`.
"""

_EXAMPLE_INTRODUCTION: Final = """\
# Copy to .env, take the "# " from what you change, then run `aletheia setup`.
# Values shown are the defaults. docs/configuration.md has the same as a table.
"""


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable of the environment.

    Attributes:
        name: as it is set.
        values: what it may be, in words.
        default: as it would be set; empty where there is none.
        meaning: one sentence.
    """

    name: str
    values: str
    default: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Section:
    """Variables that belong together.

    Attributes:
        title: what they are about.
        home: where they end up.
        variables: in the order of their fields.
    """

    title: str
    home: str
    variables: tuple[Variable, ...]


def sections() -> Iterator[Section]:
    """List all variables, each once."""
    tuned = {name.upper(): field for area in _areas() for name, field in area.model_fields.items()}
    listed: set[str] = set()
    for block, fields in BLOCK_FIELDS.items():
        variables = [
            _variable(name, tuned.get(name, block.model_fields[field]))
            for name, field in fields.items()
        ]
        yield _section(block, f"block `{block.get_block_type_slug()}`", variables, listed)
    for area in _areas():
        variables = [_variable(name.upper(), field) for name, field in area.model_fields.items()]
        section = _section(area, f"`{area.__name__}`", variables, listed)
        if section.variables:
            yield section


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


def _areas() -> list[type[BaseSettings]]:
    """List the settings classes, in the order of their file."""
    return [
        area
        for area in vars(settings).values()
        if inspect.isclass(area) and issubclass(area, BaseSettings) and area is not BaseSettings
    ]


def _section(
    model: type[Any], home: str, variables: Iterable[Variable], listed: set[str]
) -> Section:
    new = tuple(variable for variable in variables if variable.name not in listed)
    listed.update(variable.name for variable in new)
    title = (inspect.getdoc(model) or model.__name__).splitlines()[0].rstrip(".")
    return Section(title, home, new)


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
    kinds = [kind for kind in _members(field.annotation) if kind is not NoneType]
    words = " or ".join(_kind(kind) for kind in kinds)
    bounds = [bound for limit in field.metadata if (bound := _bound(limit))]
    return " ".join([words, *bounds])


def _members(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _kind(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    if get_origin(kind) is tuple:
        return "JSON list"
    if get_origin(kind) is dict:
        return "JSON object"
    names: dict[Any, str] = {
        bool: "`true`, `false`",
        int: "integer",
        float: "number",
        str: "text",
        Path: "path",
        SecretStr: "secret",
    }
    return names[kind]


def _bound(limit: object) -> str:
    match limit:
        case annotated_types.Ge():
            return f"≥ {limit.ge}"
        case annotated_types.Gt():
            return f"> {limit.gt}"
        case annotated_types.Le():
            return f"≤ {limit.le}"
        case annotated_types.Lt():
            return f"< {limit.lt}"
        case _:
            return ""


def main() -> None:
    """Write both files, or check them."""
    written = {DOCUMENT: write_document(), EXAMPLE: write_example()}
    if "--check" in sys.argv[1:]:
        stale = [
            path.relative_to(ROOT)
            for path, text in written.items()
            if not path.exists() or path.read_text() != text
        ]
        if stale:
            sys.exit(f"out of date: {', '.join(map(str, stale))}; run `make configuration`")
        return
    for path, text in written.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
