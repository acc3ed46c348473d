"""The command `report`: a digest of some days, as markdown or HTML."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from aletheia.quality.evaluation_store import EVALUATIONS
from aletheia.reasoning.history import History
from deployments.explaining import say
from deployments.runs import in_session
from tasks.clients.store import get_store
from tasks.session import current_session

app = typer.Typer()

MAX_DAYS = 366


@app.command()
@in_session
async def report(
    days: Annotated[int, typer.Option(min=1, max=MAX_DAYS, help="Whole UTC days, and today.")] = 7,
    markdown: Annotated[
        Path | None, typer.Option(help="File for the markdown; by default it is printed.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="File for a page of HTML.")] = None,
) -> None:
    """Write a digest of some days: throughput, cost by project, trends, what was done."""
    # pandas, which takes half a second to import, is for this command alone.
    from aletheia.reasoning.digest import make_digest  # noqa: PLC0415 - see above

    store = await get_store()
    digest = await make_digest(
        store,
        History(store),
        until=datetime.now(UTC),
        days=days,
        evaluations=EVALUATIONS,
        ledger_days=current_session().settings.intake.ledger_retention_days,
    )
    if html is not None:
        html.write_text(digest.to_html(), "utf-8")
        say(f"The digest is in {html}.")
    if markdown is not None:
        markdown.write_text(digest.to_markdown(), "utf-8")
        say(f"The digest is in {markdown}.")
    if html is None and markdown is None:
        say(digest.to_markdown())
