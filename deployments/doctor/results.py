"""A check, its result, and how results are printed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal, TypeAlias

from rich.markup import escape

from aletheia.errors import AletheiaError
from deployments.console import console
from deployments.explaining import plain_table
from tasks.session import open_session

State: TypeAlias = Literal["ok", "warning", "failed", "skipped"]

CHECK_TIMEOUT_S: Final = 60.0
DEPENDENCY_TIMEOUT_S: Final = 20.0

COLOURS: Final = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check: what it found, and what to do about it, if anything.

    A `warning` leaves the set-up usable; what is `skipped` needs something that failed.
    """

    check: str
    state: State
    found: str
    advice: str = ""


@dataclass(eq=False)
class CheckFailed(Exception):
    """A check found a problem: what it is, what to do about it, and the state of the result."""

    found: str
    advice: str
    state: State = "failed"


Check: TypeAlias = Callable[[], Awaitable[str]]
"""Returns what it found, or raises `CheckFailed`; what it opens in the session is closed."""


def demand(is_right: object, found: str, advice: str, state: State = "failed") -> None:
    """Raise `CheckFailed` unless something is right."""
    if not is_right:
        raise CheckFailed(found, advice, state)


def show(results: Sequence[CheckResult], *, as_json: bool = False) -> None:
    """Print results as a table, or as a JSON list."""
    if as_json:
        console.print_json(data=[asdict(result) for result in results])
        return
    table = plain_table("check", "state", "found, and what to do")
    for it in results:
        advice = f"\n[bold]→ {escape(it.advice)}[/]" if it.advice else ""
        state = f"[{COLOURS[it.state]}]{it.state}[/]"
        table.add_row(it.check, state, f"{escape(it.found)}{advice}")
    console.print(table)
    failed = sum(result.state == "failed" for result in results)
    checks = "1 check" if failed == 1 else f"{failed} checks"
    verdict = f"[bold red]{checks} failed.[/]" if failed else "[green]All checks passed.[/]"
    console.print(verdict)


async def run_check(name: str, check: Check, timeout_s: float = CHECK_TIMEOUT_S) -> CheckResult:
    """Run one check in a session of its own; whatever it raises is its result."""
    try:
        async with asyncio.timeout(timeout_s), open_session():
            return CheckResult(name, "ok", await check())
    except CheckFailed as found:
        return CheckResult(name, found.state, found.found, found.advice)
    except TimeoutError:
        return CheckResult(name, "failed", f"no answer within {timeout_s:.0f} s", "try again")
    except AletheiaError as error:
        return CheckResult(name, "failed", str(error), "fix that, then run `aletheia doctor` again")
    except Exception as error:  # noqa: BLE001 - whatever it is, the other checks still run
        # Its text may hold what a library was given, and so a secret.
        found = f"the check failed to run: {type(error).__name__}"
        return CheckResult(name, "failed", found, "please report this")
