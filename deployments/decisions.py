"""What an operator asks of dropped duplicates: which there are, and to have one back."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aletheia.items.content import SavedItem
from aletheia.items.decisions import KeptDecision
from flows.undo import undo_duplicate
from tasks.clients.content import get_content, get_decisions
from tasks.decisions import UndoneItem
from tasks.session import open_session

_SHOWN = 160
"""Characters of an item in the table."""


def read_duplicates(
    project_id: str, limit: int
) -> tuple[list[KeptDecision], Mapping[str, SavedItem]]:
    """List what was dropped in a project, newest first, and what that repeats by its id.

    Raises:
        InvalidTask: `invalid_project_id`.
    """

    async def read() -> tuple[list[KeptDecision], Mapping[str, SavedItem]]:
        async with open_session():
            dropped = await (await get_decisions(project_id)).list_dropped(limit=limit)
            if not dropped:
                return [], {}
            content = await get_content(project_id)
            ids = {one.decision.match_id for one in dropped} - {None}
            return dropped, await content.read_items([one for one in ids if one is not None])

    return asyncio.run(read())


def undo(project_id: str, decision_id: str, user_id: str) -> UndoneItem:
    """Save an item that was dropped, here and now, as a run.

    Raises:
        InvalidTask: `invalid_project_id`.
        UndoRefused: see `ProjectDecisions.undo`.
    """
    return asyncio.run(undo_duplicate(project_id, decision_id, user_id))


def show_duplicates(
    dropped: Sequence[KeptDecision],
    matches: Mapping[str, SavedItem],
    console: Console,
    *,
    as_json: bool,
) -> None:
    """Print what was dropped, as the duplicate of what."""
    if as_json:
        console.print_json(json.dumps([_as_json(one, matches) for one in dropped]))
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
    for one in dropped:
        found = one.decision
        score = "" if found.score is None else f" {found.score:.3f}"
        table.add_row(
            one.id,
            escape(f"{one.department} {one.iteration}") + f"\n[dim]{one.at:%m-%d %H:%M}[/]",
            ("" if one.undone_by is None else f"[green]undone by {escape(one.undone_by)}[/] ")
            + escape(_cut(one.item.content)),
            escape(_cut(_match(one, matches))),
            f"{found.tier.replace('_', ' ')}{score}",
        )
    console.print(table)


def _as_json(one: KeptDecision, matches: Mapping[str, SavedItem]) -> dict[str, Any]:
    return {
        "decision": one.id,
        "run_id": one.run_id,
        "department": one.department,
        "iteration": one.iteration,
        "at": one.at.isoformat(),
        "item_id": one.item.id,
        "dropped": one.item.content,
        "match_id": one.decision.match_id,
        "repeats": _match(one, matches),
        "tier": one.decision.tier,
        "score": one.decision.score,
        "cosine": one.decision.cosine,
        "reason": one.decision.reason,
        "undone_by": one.undone_by,
        "undone_at": None if one.undone_at is None else one.undone_at.isoformat(),
    }


def _match(one: KeptDecision, matches: Mapping[str, SavedItem]) -> str:
    match_id = one.decision.match_id or ""
    return matches[match_id].content if match_id in matches else match_id


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
