"""Commands about dropped duplicates: list them, and save one after all."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aletheia.items.content import SavedItem
from aletheia.items.decisions import KeptDecision
from deployments.runs import run_to_end
from tasks.clients.content import get_content, get_decisions
from tasks.session import open_session

UNDO: Final = "undo_duplicate/undo_duplicate"

_SHOWN = 160
"""Characters of an item in the table."""


def read_duplicates(
    project_id: str, limit: int
) -> tuple[list[KeptDecision], Mapping[str, SavedItem]]:
    """List what was dropped in a project, newest first, and what that repeats by its id."""

    async def read() -> tuple[list[KeptDecision], Mapping[str, SavedItem]]:
        async with open_session():
            dropped = await (await get_decisions(project_id)).list_dropped(limit=limit)
            if not dropped:
                return [], {}
            content = await get_content(project_id)
            ids = {drop.decision.match_id for drop in dropped if drop.decision.match_id is not None}
            return dropped, await content.read_items(sorted(ids))

    return asyncio.run(read())


def undo(project_id: str, decision_id: str, user_id: str, console: Console) -> str:
    """Save an item that was dropped, by a run at the workers; return which it is now, in words."""
    decision = {"project_id": project_id, "decision_id": decision_id, "user_id": user_id}
    return asyncio.run(run_to_end(UNDO, decision, console)).message or ""


def show_duplicates(
    dropped: Sequence[KeptDecision],
    matches: Mapping[str, SavedItem],
    console: Console,
    *,
    as_json: bool,
) -> None:
    """Print what was dropped, as the duplicate of what."""
    if as_json:
        console.print_json(json.dumps([_as_json(drop, matches) for drop in dropped]))
        return
    if not dropped:
        console.print("Nothing was dropped.")
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("decision", no_wrap=True)
    table.add_column("where", overflow="fold")
    table.add_column("dropped", ratio=1)
    table.add_column("repeats", ratio=1)
    table.add_column("found by", overflow="fold")
    for drop in dropped:
        found = drop.decision
        score = "" if found.score is None else f" {found.score:.3f}"
        table.add_row(
            drop.id,
            escape(f"{drop.department} {drop.iteration}") + f"\n[dim]{drop.at:%m-%d %H:%M}[/]",
            ("" if drop.undone_by is None else f"[green]undone by {escape(drop.undone_by)}[/] ")
            + escape(_cut(drop.item.content)),
            escape(_cut(_match(drop, matches))),
            f"{found.tier.replace('_', ' ')}{score}",
        )
    console.print(table)


def _as_json(drop: KeptDecision, matches: Mapping[str, SavedItem]) -> dict[str, Any]:
    return {
        "decision": drop.id,
        "run_id": drop.run_id,
        "department": drop.department,
        "iteration": drop.iteration,
        "at": drop.at.isoformat(),
        "item_id": drop.item.id,
        "dropped": drop.item.content,
        "match_id": drop.decision.match_id,
        "repeats": _match(drop, matches),
        "tier": drop.decision.tier,
        "score": drop.decision.score,
        "cosine": drop.decision.cosine,
        "reason": drop.decision.reason,
        "undone_by": drop.undone_by,
        "undone_at": None if drop.undone_at is None else drop.undone_at.isoformat(),
    }


def _match(drop: KeptDecision, matches: Mapping[str, SavedItem]) -> str:
    match_id = drop.decision.match_id or ""
    return matches[match_id].content if match_id in matches else match_id


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
