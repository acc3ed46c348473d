"""What commands print, and how they end where something outside goes wrong."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated, Any, Final, TypeAlias, cast

import httpx
import typer
from pydantic import ValidationError
from rich.table import Table

from aletheia.errors import AletheiaError
from deployments.console import console
from deployments.environment import explain_refused_sign_in
from deployments.processes import ProgramFailed

MAX_SAID_CHARS: Final = 1500
"""Characters that are shown of what a program said last."""

_FRAMES: Final = re.compile(
    r"^[ |+-]*(?:Exception Group )?Traceback \(most recent call last\):\n(?:[ \t|].*\n)*",
    re.MULTILINE,
)
_LINKS: Final = frozenset(
    {
        "The above exception was the direct cause of the following exception:",
        "During handling of the above exception, another exception occurred:",
    }
)

JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]
ProjectArgument: TypeAlias = Annotated[
    str, typer.Argument(help="Letters, digits, _ and -; at most 48.")
]
UserOption: TypeAlias = Annotated[
    str, typer.Option(help="Who asks; items that a gather makes are theirs.")
]


def plain_table(*headings: str, whole: str = "") -> Table:
    """Return a table without lines; all columns but `whole` are folded where it is too narrow."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading == whole)
    return table


@contextmanager
def explained() -> Generator[None]:
    """Print our own errors, and outside faults, as a message, with exit code 1; a bug stays one."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except Exception as failure:
        if (said := _explain(failure)) is None:
            raise
        say(said, style="bold red")
        raise typer.Exit(1) from None


def _explain(failure: Exception) -> str | None:
    if _is_refused(failure) or _is_refused(failure.__cause__):
        return str(explain_refused_sign_in())
    match failure:
        case ProgramFailed():
            return (
                f"\n{failure.program} {failure.reason}:\n{shorten_output(failure.tail)}\n\n"
                f"The rest is in {failure.log}\n"
                "Fix what the last lines say and try again; `make down` ends what is left."
            )
        case AletheiaError() | OSError():
            return str(failure)
        case ValidationError():
            problems = failure.errors(include_input=False, include_url=False)
            named = [(".".join(map(str, it["loc"])).upper(), it["msg"]) for it in problems]
            return "\n".join(f"{name}: {message}" for name, message in named)
        case httpx.HTTPError() | httpx.InvalidURL():
            return (
                f"The Prefect server does not answer: {str(failure) or type(failure).__name__}\n"
                "PREFECT_API_URL says where it is; `aletheia up` starts one here."
            )
        case _:
            return None


def shorten_output(text: str) -> str:
    """Return what a program said last, of tracebacks the errors alone; its log has all of it."""
    said = [line for line in _FRAMES.sub("", text).splitlines() if line.strip()]
    return "\n".join(line for line in said if line.strip() not in _LINKS)[-MAX_SAID_CHARS:]


def _is_refused(failure: BaseException | None) -> bool:
    """Check whether the Prefect server refused our password."""
    # By name: the command may not have imported Prefect so far.
    is_prefects = type(failure).__name__ == "PrefectHTTPStatusError"
    return is_prefects and cast("Any", failure).response.status_code == HTTPStatus.UNAUTHORIZED


def say(text: str, style: str | None = None) -> None:
    """Print a text as it is, in whole lines."""
    console.print(text, style=style, markup=False, soft_wrap=True)
