"""What others wrote controls no terminal, whichever way a command prints it."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from rich.markup import escape
from rich.text import Text

from aletheia.errors import Unavailable
from deployments import ROOT
from deployments.console import TextConsole
from deployments.explaining import explained, plain_table
from tests.aletheia.test_escaping import HOSTILE

NAME = f"{HOSTILE.encode(errors='replace').decode()}[link=https://e.example]x[/link]"

PRINTS: dict[str, Callable[[TextConsole], object]] = {
    "a line": lambda console: console.print(NAME, markup=False),
    "markup": lambda console: console.print(f"[bold]{escape(NAME)}[/]"),
    "a text": lambda console: console.print(Text(NAME)),
    "JSON": lambda console: console.print_json(data={"name": NAME}),
    "a title": lambda console: console.rule(escape(NAME)),
    "a status": lambda console: console.print(console.status(Text(NAME)).renderable),
}


def make_console(width: int = 200) -> tuple[TextConsole, io.StringIO]:
    console, written = TextConsole(is_terminal=True), io.StringIO()
    console.file, console.width = written, width
    return console, written


def without_own(shown: str) -> str:
    """Return what was printed without the colours that a console of ours made."""
    plain = Text.from_ansi(shown).plain
    return "".join(line.rstrip() for line in plain.splitlines())


@pytest.mark.parametrize("way", PRINTS)
def test_no_way_of_printing_lets_a_sequence_through(way: str):
    console, written = make_console()
    PRINTS[way](console)
    shown = written.getvalue()
    for active in ("\x1b]", "\x1b[2J", "\x9b", "\r", "\x07", "\u202e", "\x7f"):
        assert active not in shown, repr(shown)
    assert "owned" in without_own(shown)


def test_a_cell_keeps_its_width_whatever_stands_in_it():
    console, written = make_console(width=40)
    table = plain_table("name", "state")
    for name in ("\x1b[31m" * 5, "\u202e" * 12, "plain"):
        table.add_row(escape(name), "ready")
    console.print(table)
    places = {line.find("ready") for line in written.getvalue().splitlines() if "ready" in line}
    assert len(places) == 1
    assert "\x1b[31m" not in written.getvalue()


def test_json_still_says_all_that_it_was_given():
    console, written = make_console(width=2000)
    console.print_json(data={HOSTILE: [HOSTILE, "né"]})
    assert json.loads(Text.from_ansi(written.getvalue()).plain) == {HOSTILE: [HOSTILE, "né"]}


def test_an_error_of_a_server_is_printed_without_what_it_hides(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(typer.Exit), explained():
        raise Unavailable("ollama", "\x1b]0;owned\x07 model \x1b[8mhidden")
    shown = capsys.readouterr().out
    assert "\x1b]" not in shown
    assert "␛[8mhidden" in shown


def test_nothing_prints_past_the_one_console():
    bare = {"print(", "sys.stdout", "sys.stderr", "Console("}
    allowed = {
        "deployments/console.py",
        "deployments/examples/server.py",  # one line of JSON for the program that started it
    }
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted(Path(ROOT, "deployments").rglob("*.py"))
        if str(path.relative_to(ROOT)) not in allowed
        for line in path.read_text().splitlines()
        if any(f" {word}" in f" {line.strip()}" for word in bare)
    ]
    assert found == []
