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

DOWNLOAD_EVERY_S: Final = 1.0
"""Between two updates of the progress bar of a download, seconds; the end is always shown."""

PROGRESS_EVERY_S: Final = 2.0
"""Between two updates of a run's progress bar, seconds; one costs about as much as an iteration."""

_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]()<>#+!|~&$-])")

log = get_logger(__name__)


def escape(text: str) -> str:
    """Escape a text so that markdown shows it as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


async def save_markdown(
    key: str, markdown: str, description: str, run_id: str | None = None
) -> None:
    """Save a text as an artifact of this run, or of the one that is named."""
    await _save("markdown", key, markdown, description, run_id)


async def save_table(
    key: str, rows: Sequence[Mapping[str, Any]], description: str, run_id: str | None = None
) -> None:
    """Save a table as an artifact of this run, or of the one that is named."""
    await _save("table", key, json.dumps(rows), description, run_id)


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
        shown = (round(share, 1), f"{self._what}; {obstacle}" if obstacle else self._what)
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
