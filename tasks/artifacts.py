"""Artifacts on the pages of runs: texts, tables and progress bars."""

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.logging import get_logger
from prefect.runtime import flow_run

from aletheia.analysis.model_manager import PullProgress
from aletheia.escaping import escape_markdown as escape
from aletheia.escaping import show_controls, unescape_markdown

DOWNLOAD_EVERY_S: Final = 1.0
"""Between two updates of the progress bar of a download, seconds; the end is always shown."""

PROGRESS_EVERY_S: Final = 2.0
"""Between two updates of a run's progress bar, seconds; one costs about as much as an iteration."""

_ENDS_CODE: Final = re.compile(r"[`|\\]")

log = get_logger(__name__)


def code(text: str) -> str:
    """Return a text as markdown shows code, or escaped where it would end the code."""
    shown = show_controls(" ".join(text.split()))
    return escape(text) if _ENDS_CODE.search(shown) or not shown else f"`{shown}`"


async def save_markdown(
    key: str, markdown: str, description: str, run_id: str | None = None
) -> None:
    """Save a text as an artifact of this run, or of the one that is named.

    `markdown` and `description` are shown as markdown: what others wrote in them is escaped.
    """
    await _save("markdown", key, markdown, description, run_id)


async def save_table(
    key: str, rows: Sequence[Mapping[str, Any]], description: str, run_id: str | None = None
) -> None:
    """Save a table as an artifact of this run, or of the one that is named.

    Prefect shows cells as markdown, so all of them are escaped; see `read_table`. `description` is
    shown as markdown, too: what others wrote in it is escaped by whoever gives it.
    """
    escaped = [{name: _cell(value) for name, value in row.items()} for row in rows]
    await _save("table", key, json.dumps(escaped), description, run_id)


def read_table(data: str) -> list[dict[str, Any]]:
    """Read the rows of a table that was saved, as they were given."""
    return [
        {
            name: unescape_markdown(value) if isinstance(value, str) else value
            for name, value in row.items()
        }
        for row in json.loads(data)
    ]


def _cell(value: object) -> object:
    is_plain = value is None or isinstance(value, bool | int | float)
    return value if is_plain else escape(str(value))


async def _save(kind: str, key: str, data: str, description: str, run_id: str | None) -> None:
    run = UUID(run_id or str(flow_run.id))
    artifact = ArtifactCreate(
        type=kind, key=key, data=data, description=description, flow_run_id=run
    )
    async with get_client() as client:
        await client.create_artifact(artifact)


class Progress:
    """A progress bar on the page of the run, which is there once it was shown."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._artifact: UUID | None = None
        self._shown = (0.0, "")

    async def show(self, share: float, obstacle: str = "") -> None:
        """Set the bar to a share, 0 to 100, and say what is in the way."""
        said = f"{self._what}; {obstacle}" if obstacle else self._what
        shown = (round(share, 1), escape(said))
        if self._artifact is None:
            self._artifact = await acreate_progress_artifact(shown[0], description=shown[1])
        elif shown != self._shown:
            await aupdate_progress_artifact(self._artifact, *shown)
        self._shown = shown


@contextlib.asynccontextmanager
async def moving_bar(bar: Progress, read: Callable[[], tuple[float, str]]) -> AsyncGenerator[None]:
    """Show what is read, see `Progress.show`, until the block ends, which it never fails."""

    async def show() -> None:
        try:
            await bar.show(*read())
        except Exception as error:  # noqa: BLE001 - the work goes on without Prefect's server
            log.debug("the progress bar could not be moved: %s", error)

    async def keep_showing() -> None:
        while True:
            await show()
            await asyncio.sleep(PROGRESS_EVERY_S)

    moving = asyncio.create_task(keep_showing())
    try:
        yield
    finally:
        moving.cancel()
        await asyncio.gather(moving, return_exceptions=True)
    await show()


async def show_downloads(steps: AsyncIterable[PullProgress]) -> None:
    """Show a progress bar for each model that is downloaded."""
    bar: Progress | None = None
    model, shown_at = "", 0.0
    async for step in steps:
        if bar is None or step.model != model:
            if bar is not None:
                await bar.show(100)
            model, shown_at = step.model, 0.0
            bar = Progress(f"download of {model}")
        if time.monotonic() - shown_at >= DOWNLOAD_EVERY_S:
            shown_at = time.monotonic()
            done, total = step.completed_bytes, step.total_bytes
            await bar.show(100 * min(done, total) / total if total else 0)
    if bar is not None:
        await bar.show(100)
