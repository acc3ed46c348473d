"""What a command prints while it works: a line for each step, and signs of life within it."""

import time
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console


class Step:
    """A step under way; `detail` is shown behind its title when it is done."""

    def __init__(self) -> None:
        self.detail = ""


class Steps:
    """Prints steps as they begin and end.

    A terminal shows the step under way as a line that changes; anything else gets a line whenever
    there is something to say.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._status = console.status("") if console.is_terminal else None

    @property
    def is_live(self) -> bool:
        """Whether what is said replaces what was said before."""
        return self._status is not None

    def say(self, text: str) -> None:
        """Show a sign of life."""
        if self._status is not None:
            self._status.update(text)
        else:
            self.console.print(f"    {text}", markup=False)

    @contextmanager
    def step(self, title: str) -> Generator[Step]:
        """Show a step: that it begins, what it says, that it is done and how long it took."""
        began = time.monotonic()
        step = Step()
        if self._status is not None:
            self._status.update(f"{title} …")
            self._status.start()
        else:
            self.console.print(f"  … {title}", markup=False)
        mark = "[red]✗[/]"
        try:
            yield step
            mark = "[green]✓[/]"
        finally:
            if self._status is not None:
                self._status.stop()
            took = f"[dim]{time.monotonic() - began:.1f} s[/]"
            detail = f"  {step.detail}" if step.detail else ""
            self.console.print(f"  {mark} {title}{detail}  {took}", soft_wrap=True)
