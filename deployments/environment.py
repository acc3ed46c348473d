"""What is set for a command: variables, and which Prefect server they mean."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dotenv import dotenv_values

from aletheia.errors import Misconfigured
from aletheia.settings import StoreSettings
from deployments import ROOT
from deployments.local import Local
from deployments.private_files import ensure_secret
from deployments.processes import Say

TOKEN_SECRET: Final = "AUTH_JWT_SECRET"  # noqa: S105 - the name of a setting
JWKS_URL: Final = "AUTH_JWKS_URL"
"""Which issuer of tokens is set, if any."""


def read_environment(root: Path = ROOT) -> dict[str, str]:
    """Read what is set, by upper-case name: the environment first, then `.env`.

    Empty values are left out; an empty variable of the environment hides one in `.env`.
    """
    from_file = {name.upper(): value for name, value in dotenv_values(root / ".env").items()}
    return {name: value for name, value in (from_file | dict(os.environ)).items() if value}


def local_servers(say: Say = lambda _: None) -> Local:
    """Return the local servers of this checkout, whether they run or not."""
    return Local(ROOT / StoreSettings().aletheia_data_dir.expanduser(), say)


def demo_servers(say: Say = lambda _: None) -> Local:
    """Return the servers of the demo, which are others."""
    return Local(local_servers().directory / "demo", say)


def choose_server(local: Local) -> None:
    """Choose the Prefect server that is configured or runs here, before Prefect is imported."""
    if "PREFECT_API_URL" not in read_environment() and local.server_url() is not None:
        environment = local.environment()
        os.environ.clear()
        os.environ.update(environment)


def require_server() -> None:
    """Check that a Prefect server is configured; Prefect would start one for a command."""
    from prefect.settings import get_current_settings  # noqa: PLC0415 - see `choose_server`

    if get_current_settings().api.url is None:
        reason = "is not set and no local server runs; set it, or start one with `make up`"
        raise Misconfigured("PREFECT_API_URL", reason)


def explain_refused_sign_in() -> Misconfigured:
    """Return what is wrong where a Prefect server answers 401: its name, and which variable."""
    from prefect.settings import get_current_settings  # noqa: PLC0415 - see `choose_server`

    api = get_current_settings().api
    name = "PREFECT_API_KEY" if api.key and not api.auth_string else "PREFECT_API_AUTH_STRING"
    is_set = api.key or (api.auth_string and api.auth_string.get_secret_value())
    fault = "is not what" if is_set else "is not set, which"
    reason = f"{fault} the Prefect server at {api.url} asks for"
    local = local_servers()
    if is_server_of(local):
        reason = f"{reason}; it is the line in {local.password_file}"
    return Misconfigured(name, reason)


def make_secrets(local: Local, known: Mapping[str, str]) -> dict[str, str]:
    """Return the key of tokens for the service of this machine, where no other is set.

    It goes into a block, and is in the environment of no run.
    """
    if known.get(TOKEN_SECRET) or known.get(JWKS_URL):
        return {}
    return {TOKEN_SECRET: ensure_secret(local.directory / "service-secret")}


def is_server_of(local: Local) -> bool:
    """Return whether the Prefect server that is meant is the one of this machine's servers."""
    from prefect.settings import get_current_settings  # noqa: PLC0415 - see `choose_server`

    url = local.server_url()
    return url is not None and get_current_settings().api.url == f"{url}/api"
