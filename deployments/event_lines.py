"""Events of a gather run as lines for a terminal."""

import orjson
from rich.markup import escape

from aletheia.events.log import SavedEvent


def describe(event: SavedEvent) -> str:
    """Write an event as a line for a terminal."""
    said = orjson.loads(event.body)
    name = escape(str(said.get("department_name") or said.get("department") or ""))
    match said["type"]:
        case "department_started":
            line = f"[bold]{name}[/]  to {said['threshold']:g}, by {escape(said['model'])}"
        case "deduplicating":
            line = f"  [dim]{name}: comparing a batch with what is saved[/]"
        case "iteration_complete":
            line = (
                f"  iteration {said['iteration']} ({said['total_iterations']} in all): "
                f"{said['items_created']} items, quality {said['quality_score']:.1f}"
            )
        case "max_iterations_reached":
            line = f"  [yellow]its iterations are spent[/] at {said['final_quality_score']:.1f}"
        case "department_complete":
            iterations = said["iterations_used"]
            plural = "" if iterations == 1 else "s"
            line = f"  done at {said['quality_score']:.1f} after {iterations} iteration{plural}"
        case "automation_complete":
            line = (
                f"[green]Complete[/]: {said['items_created']} items in "
                f"{said['total_iterations']} iterations"
            )
        case _:
            line = f"[yellow]Cancelled[/]: {said['items_created_so_far']} items stay"
    return line
