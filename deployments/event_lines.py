"""Events of a gather run as lines for a terminal."""

from collections import defaultdict
from typing import Final

import orjson
from rich.markup import escape

from aletheia.events.log import SavedEvent

CANCELLED: Final = "[yellow]Cancelled[/]: {items_created_so_far} items stay"

LINES: Final = {
    "department_started": "[bold]{name}[/]  to {threshold:g}, by {model}",
    "deduplicating": "  [dim]{name}: comparing a batch with what is saved[/]",
    "iteration_complete": "  iteration {iteration} ({total_iterations} in all): {items_created} "
    "items, quality {quality_score:.1f}",
    "max_iterations_reached": "  [yellow]its iterations are spent[/] at {final_quality_score:.1f}",
    "department_complete": "  done at {quality_score:.1f} after {iterations_used} iteration{s}",
    "automation_complete": "[green]Complete[/]: {items_created} items in {total_iterations} "
    "iterations",
}


def describe(event: SavedEvent) -> str:
    """Write an event as a line for a terminal."""
    said = defaultdict(str, orjson.loads(event.body))
    said["name"] = escape(said["department_name"] or said["department"])
    said["model"] = escape(said["model"])
    said["s"] = "" if said["iterations_used"] == 1 else "s"
    return LINES.get(said["type"], CANCELLED).format_map(said)
