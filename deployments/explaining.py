"""What commands print, and how they end where something outside goes wrong."""

from collections.abc import Generator
from contextlib import contextmanager
from http.client import UNAUTHORIZED
from typing import Any, cast

import typer
from pydantic import ValidationError
from rich.console import Console

from aletheia.errors import AletheiaError
from deployments.environment import (
    choose_server,
    explain_refused_sign_in,
    local_servers,
    require_server,
)
from deployments.processes import ProgramFailed

console = Console(highlight=False)
"""Prints texts as they are: nothing in them is coloured by its looks."""


@contextmanager
def on_server() -> Generator[None]:
    """Choose the Prefect server that is configured or runs here, and explain errors."""
    with explained():
        choose_server(local_servers())
        require_server()
        yield


@contextmanager
def explained() -> Generator[None]:
    """Print our own errors, and outside faults, as a message, with exit code 1.

    Anything else is a bug and stays.
    """
    try:
        yield
    except ProgramFailed as failure:
        say(f"\n{failure.program} {failure.reason}:", style="bold red")
        say(failure.tail)
        say(f"\nThe rest is in {failure.log}")
        say("Fix what the last lines say and try again; `make down` ends what is left.")
        raise typer.Exit(1) from None
    except (AletheiaError, OSError) as failure:
        is_refused = _is_refused(failure) or _is_refused(failure.__cause__)
        say(str(explain_refused_sign_in() if is_refused else failure), style="bold red")
        raise typer.Exit(1) from None
    except ValidationError as invalid:
        for problem in invalid.errors(include_input=False, include_url=False):
            name = ".".join(map(str, problem["loc"])).upper()
            say(f"{name}: {problem['msg']}", style="bold red")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except Exception as failure:
        if not (said := _explain_request(failure)):
            raise
        say(said, style="bold red")
        raise typer.Exit(1) from None


def _explain_request(failure: Exception) -> str | None:
    """Return what went wrong with a request to the Prefect server; `None` if it was none."""
    import httpx  # noqa: PLC0415 - slow to import

    if not isinstance(failure, httpx.HTTPError | httpx.InvalidURL):
        return None
    if _is_refused(failure):
        return str(explain_refused_sign_in())
    said = str(failure) or type(failure).__name__
    return (
        f"The Prefect server does not answer: {said}\n"
        "PREFECT_API_URL says where it is; `aletheia up` starts one here."
    )


def _is_refused(failure: BaseException | None) -> bool:
    """Check whether the Prefect server refused our password."""
    # By name: the command may not have imported Prefect so far.
    is_prefects = type(failure).__name__ == "PrefectHTTPStatusError"
    return is_prefects and cast("Any", failure).response.status_code == UNAUTHORIZED


def say(text: str, style: str | None = None) -> None:
    """Print a text as it is, in whole lines."""
    console.print(text, style=style, markup=False, soft_wrap=True)
