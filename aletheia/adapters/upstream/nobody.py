"""No upstream: where tasks are only pushed to us (SPEC §1, Tasks pushed to us)."""

from aletheia.errors import Misconfigured

ADDRESS = "API_BASE_URL"
"""The setting that errors point to."""


class NoUpstream:
    """An upstream that lists nothing, and takes no reports."""

    async def pending(self, limit: int) -> list[object]:
        """Return no tasks."""
        del limit
        return []

    async def report(self, task_id: str, body: bytes) -> None:
        """Raise `Misconfigured`: a task of an earlier upstream has nobody to be reported to."""
        del body
        raise Misconfigured(ADDRESS, f"is `none`, and task {task_id[:60]!r} is of an upstream")
