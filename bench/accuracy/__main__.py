"""How often workers are right: `python -m bench.accuracy [TOPIC…]`.

A topic is a module of this package with `measure`, which returns figures by their names, and
`BOUNDS` of some of them. Prints a table, and one JSON object on its last line; figures beyond their
bounds are `missed`. Data is got once from packages of public registries.
"""

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Final

from rich.table import Table

from bench.figures import console, describe_machine, find_missed, print_json

TOPICS: Final = ("sentiment", "languages", "speech", "loudness")
"""Modules of this package, in the order in which they are measured."""

_DIGITS: Final = 4


async def main(topics: Sequence[str]) -> None:
    """Measure topics and print their figures."""
    figures: dict[str, Any] = {}
    bounds: dict[str, tuple[str, float]] = {}
    for topic in topics:
        module: Any = import_module(f"bench.accuracy.{topic}")
        figures |= await module.measure()
        bounds |= module.BOUNDS
    show(figures, bounds)
    rounded = {
        name: round(value, _DIGITS) if isinstance(value, float) else value
        for name, value in figures.items()
    }
    print_json({**rounded, "missed": find_missed(figures, bounds), **describe_machine()})


def show(figures: Mapping[str, Any], bounds: Mapping[str, tuple[str, float]]) -> None:
    """Print the figures for people."""
    table = Table(title="Accuracy", title_justify="left")
    for title in ("figure", "measured", "bound"):
        table.add_column(title, justify="left" if title == "figure" else "right")
    for name, value in figures.items():
        side, bound = bounds.get(name, ("", 0.0))
        sign = "≤" if side == "max" else "≥"
        shown = f"{value:.3f}" if isinstance(value, float) else str(value)
        table.add_row(name, shown, f"{sign} {bound:g}" if side else "")
    console().print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.accuracy", description=__doc__)
    parser.add_argument("topics", nargs="*", help=f"of {', '.join(TOPICS)}; all")
    asked = parser.parse_args()
    if unknown := set(asked.topics) - set(TOPICS):
        parser.error(f"no topics: {', '.join(sorted(unknown))}")
    asyncio.run(main(asked.topics or TOPICS))
