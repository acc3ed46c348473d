"""What a gather run shows: its progress while it works, and its artifacts at the end."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final
from uuid import UUID

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact
from prefect.logging import get_logger

from aletheia.adapters.quality_picture import draw_quality
from aletheia.gather.models import Run
from aletheia.gather.progress import RunProgress, share_done
from aletheia.items.content import ContentStore
from tasks.artifacts import save_markdown
from tasks.gather_artifacts import show_duplicates, show_gather_report

PROGRESS_EVERY_S: Final = 2.0
"""Between two updates of a progress bar, seconds: one costs about as much as an iteration."""

log = get_logger(__name__)


@contextlib.asynccontextmanager
async def moving_bar(read: Callable[[], RunProgress]) -> AsyncGenerator[None]:
    """Show the progress of a run while the block works; it never delays or fails the block."""
    moving = asyncio.create_task(_move_bar(read))
    try:
        yield
    finally:
        moving.cancel()
        await asyncio.gather(moving, return_exceptions=True)


async def _move_bar(read: Callable[[], RunProgress]) -> None:
    bar: UUID | None = None
    shown: float | None = None
    while True:
        share = round(100 * share_done(read()), 1)
        try:
            if bar is None:
                bar = await acreate_progress_artifact(
                    share, description="Departments that are done, and iterations of the next one."
                )
            elif share != shown:
                await aupdate_progress_artifact(bar, share)
            shown = share
        except Exception as error:  # noqa: BLE001 - the work goes on without Prefect's server
            log.debug("the progress bar could not be moved: %s", error)
        await asyncio.sleep(PROGRESS_EVERY_S)


async def show_run(run: Run, content: ContentStore, *, is_mock: bool) -> None:
    """Save the artifacts of a run that is over; a failure is only logged."""
    assert run.report is not None
    await _try("report", show_gather_report(run, run.report))
    await _try("table of duplicates", show_duplicates(run, content))
    await _try("picture of its quality", _show_picture(run, is_mock=is_mock))


async def _show_picture(run: Run, *, is_mock: bool) -> None:
    # In a thread: it takes a second, in which leases are renewed and events are sent.
    picture = await asyncio.to_thread(draw_quality, run.progress, run.project_id, is_mock=is_mock)
    # Not as an image artifact: its page would show the whole data URL as text.
    url = f"data:image/svg+xml;base64,{base64.b64encode(picture).decode()}"
    page = f"![Quality over iterations]({url})"
    await save_markdown(run.id, "gather-quality", page, "Quality over iterations.")


async def _try(what: str, saving: Awaitable[None]) -> None:
    try:
        await saving
    except Exception as error:  # noqa: BLE001 - the run is over, and stays as it is
        log.warning("the %s of the run could not be saved: %s", what, error)
