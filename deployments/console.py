"""The console of every command: what others wrote moves and paints nothing on it."""

from collections.abc import Callable, Iterable
from json import dumps, loads
from typing import Any

from rich.console import Console, ConsoleOptions, JustifyMethod, OverflowMethod, RenderableType
from rich.highlighter import Highlighter
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from aletheia.escaping import CONTROL, drop_controls, show_controls


class TextConsole(Console):
    """Prints texts as they are: nothing in them is coloured by its form, or controls a terminal."""

    def __init__(self, *, stderr: bool = False, is_terminal: bool | None = None) -> None:
        """Make one; `is_terminal`: whether it writes to one, where that cannot be seen."""
        super().__init__(stderr=stderr, highlight=False, emoji=False, force_terminal=is_terminal)

    def render_str(
        self,
        text: str,
        *,
        style: str | Style = "",
        justify: JustifyMethod | None = None,
        overflow: OverflowMethod | None = None,
        emoji: bool | None = None,
        markup: bool | None = None,
        highlight: bool | None = None,
        highlighter: Callable[[str | Text], Text] | Highlighter | None = None,
    ) -> Text:
        """Show a sign for each control character of a text."""
        return super().render_str(
            show_controls(text),
            style=style,
            justify=justify,
            overflow=overflow,
            emoji=emoji,
            markup=markup,
            highlight=highlight,
            highlighter=highlighter,
        )

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Drop control characters that came past `render_str`; rich measures them as nothing."""
        for segment in super().render(renderable, options):
            is_text = not segment.control and CONTROL.search(segment.text) is not None
            yield segment._replace(text=drop_controls(segment.text)) if is_text else segment

    def print_json(
        self,
        json: str | None = None,
        *,
        data: Any = None,
        default: Callable[[Any], Any] | None = None,
        **options: Any,
    ) -> None:
        """Print JSON that says all of what it was given, control characters by their escapes."""
        found = loads(json) if json is not None else data
        has_controls = CONTROL.search(dumps(found, ensure_ascii=False, default=default)) is not None
        options["ensure_ascii"] = has_controls
        super().print_json(data=found, default=default, **options)


console = TextConsole()
"""Prints results."""

progress = TextConsole(stderr=True)
"""Prints what happens while a command waits; its result goes to the other one."""
