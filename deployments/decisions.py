"""Commands about duplicates: list what was dropped, save one after all, drop a possible one."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import typer
from rich.markup import escape
from rich.table import Table

from aletheia.items.content import SavedItem
from aletheia.items.decisions import KeptDecision, PossibleRepetition
from deployments.console import console
from deployments.explaining import JsonOption, ProjectArgument, UserOption, plain_table, say
from deployments.runs import in_session, run_to_end
from tasks.clients.content import get_content, get_decisions

MAX_SHOWN: Final = 160
"""Characters of an item in the table."""


@in_session
async def list_duplicates(
    project: ProjectArgument,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Maximum number.")] = 20,
    possible: Annotated[
        bool, typer.Option("--possible", help="List what was kept but may repeat something.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List what was dropped as a duplicate of what, newest first, with ids to undo it by."""
    decisions = await get_decisions(project)
    if possible:
        pairs = await decisions.list_possible(await get_content(project), limit=limit)
        _print_possible(pairs, as_json=as_json)
        return
    dropped = await decisions.list_dropped(limit=limit)
    ids = {drop.decision.match_id for drop in dropped if drop.decision.match_id is not None}
    matches = await (await get_content(project)).read_items(sorted(ids)) if ids else {}
    if as_json:
        console.print_json(data=[_as_json(drop, matches) for drop in dropped])
    elif dropped:
        console.print(tabulate(dropped, matches))
    else:
        say("Nothing was dropped.")


@in_session
async def undo_duplicate(
    project: ProjectArgument,
    decision: Annotated[str, typer.Argument(help="From `gather duplicates` or a run's table.")],
    user: UserOption = "operator",
) -> None:
    """Save an item that was dropped as a duplicate; the two are distinct from now on."""
    wanted = {"project_id": project, "decision_id": decision, "user_id": user}
    say(await run_to_end("undo_duplicate/undo_duplicate", wanted))


@in_session
async def drop_possible_repetition(
    project: ProjectArgument,
    pair: Annotated[
        str, typer.Argument(help="From `gather duplicates --possible` or a run's table.")
    ],
    user: UserOption = "operator",
) -> None:
    """Drop an item that may repeat another one; `gather undo` with the same id has it back."""
    wanted = {"project_id": project, "pair_id": pair, "user_id": user}
    say(await run_to_end("drop_repetition/drop_repetition", wanted))


def _print_possible(pairs: Sequence[PossibleRepetition], *, as_json: bool) -> None:
    if as_json:
        console.print_json(
            data=[
                _as_json(pair.kept, {pair.match.id: pair.match})
                | {"pair": pair.kept.id, "kept": pair.kept.item.content}
                for pair in pairs
            ]
        )
    elif pairs:
        table = plain_table("pair", "where", "kept", "may repeat", "probability", whole="pair")
        for pair in pairs:
            kept, score = pair.kept, pair.kept.decision.score
            table.add_row(
                kept.id,
                escape(f"{kept.department} {kept.iteration}"),
                escape(_shorten(kept.item.content)),
                escape(_shorten(pair.match.content)),
                f"{'unknown' if score is None else f'{score:.2f}'}\n"
                f"[dim]{escape(kept.decision.reason)}[/]",
            )
        console.print(table)
    else:
        say("Nothing that was kept may be a repetition.")


def tabulate(dropped: Sequence[KeptDecision], matches: Mapping[str, SavedItem]) -> Table:
    """Return a table of what was dropped, as the duplicate of what."""
    headings = ("decision", "where", "dropped", "repeats", "found by")
    table = plain_table(*headings, whole="decision")
    for drop in dropped:
        found = drop.decision
        score = "" if found.score is None else f" {found.score:.3f}"
        table.add_row(
            drop.id,
            escape(f"{drop.department} {drop.iteration}") + f"\n[dim]{drop.at:%m-%d %H:%M}[/]",
            ("" if drop.undone_by is None else f"[green]undone by {escape(drop.undone_by)}[/] ")
            + escape(_shorten(drop.item.content)),
            escape(_shorten(_match(drop, matches))),
            f"{found.tier.replace('_', ' ')}{score}",
        )
    return table


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


def _shorten(text: str) -> str:
    # Not at blanks: some languages have none.
    line = " ".join(text.split())
    return line if len(line) <= MAX_SHOWN else f"{line[:MAX_SHOWN]}…"
