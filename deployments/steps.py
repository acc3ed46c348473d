"""What a command prints while it works: a line for each step, and signs of life within it."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.text import Text

LINE_EVERY_S: Final = 5.0
"""How often a sign of life is printed where no terminal shows one that changes."""


class Step:
    """A step under way; `detail` is shown behind its title when it is done."""

    detail = ""


class Steps:
    """Prints steps as they begin and end; a terminal shows the one under way in one line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("") if console.is_terminal else None
        self._said_at = 0.0

    def say(self, text: str) -> None:
        """Show a sign of life."""
        now = time.monotonic()
        if self._status is not None:
            self._status.update(Text(text))
        elif now - self._said_at >= LINE_EVERY_S:
            self._said_at = now
            self._console.print(f"    {text}", markup=False)

    @contextmanager
    def step(self, title: str) -> Generator[Step]:
        """Show a step: that it begins, what it says, that it is done and how long it took."""
        began = self._said_at = time.monotonic()
        step = Step()
        if self._status is not None:
            self._status.update(f"{title} …")
            self._status.start()
        else:
            self._console.print(f"  … {title}", markup=False)
        mark = "[red]✗[/]"
        try:
            yield step
            mark = "[green]✓[/]"
        finally:
            if self._status is not None:
                self._status.stop()
            took = f"[dim]{time.monotonic() - began:.1f} s[/]"
            detail = f"  {step.detail}" if step.detail else ""
            self._console.print(f"  {mark} {title}{detail}  {took}", soft_wrap=True)
