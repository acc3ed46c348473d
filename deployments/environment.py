"""What is set for a command: variables, and which Prefect server they mean."""

import os
from pathlib import Path

from dotenv import dotenv_values

from aletheia.errors import Misconfigured
from aletheia.settings import StoreSettings
from deployments import ROOT
from deployments.local import Local
from deployments.processes import Say


def read_environment(root: Path = ROOT) -> dict[str, str]:
    """Read what is set: the environment first, then `.env`.

    Returns:
        Values by upper-case name, without empty ones; an empty variable of the environment hides
        one in `.env`.
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
    """Choose the Prefect server that is configured, or the local one if it runs.

    To be called before Prefect is imported, which reads its settings once.
    """
    if "PREFECT_API_URL" not in read_environment() and local.running("server") is not None:
        environment = local.environment()
        os.environ.clear()
        os.environ.update(environment)


def require_server() -> None:
    """Check that a Prefect server is configured; Prefect would start one for a command.

    Raises:
        Misconfigured: none is.
    """
    # Prefect reads its settings once, when it is imported: see `choose_server`.
    from prefect.settings import get_current_settings  # noqa: PLC0415 - see above

    if get_current_settings().api.url is None:
        reason = "is not set and no local server runs; set it, or start one with `make up`"
        raise Misconfigured("PREFECT_API_URL", reason)
