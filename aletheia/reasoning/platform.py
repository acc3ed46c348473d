"""The platform's own collections as a source: publications, clips, campaigns, alerts (SPEC §5).

Names of collections, fields and values are those of `PLATFORM_NAMES` laid over `NAMES`; see
docs/platform.md. A collection that is not there leaves its fields null.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import Field

from aletheia.errors import Misconfigured
from aletheia.reasoning.collecting import Collector, Facts
from aletheia.reasoning.ports import PlatformData, Query
from aletheia.reasoning.snapshot import key_of
from aletheia.settings import Settings

MAX_PLATFORMS: Final = 50
MAX_WEIGHTS: Final = 200
"""Documents of platforms, and of rules' weights, that are read."""

DAY: Final = timedelta(days=1)

NAMES: Final[Mapping[str, str]] = {
    "publications": "publish_history",
    "publications.time": "published_at",
    "publications.status": "status",
    "publications.succeeded": "success,published",
    "publications.failed": "failed,error",
    "clips": "clips",
    "clips.status": "status",
    "clips.ready": "ready",
    "clips.pending": "pending_analysis,pending",
    "clips.platform": "platform",
    "clips.score": "score",
    "clips.name": "title",
    "campaigns": "campaigns",
    "campaigns.status": "status",
    "campaigns.active": "active",
    "campaigns.draft": "draft",
    "alerts": "alerts",
    "alerts.severity": "severity",
    "alerts.critical": "critical",
    "alerts.warning": "warning",
    "alerts.status": "status",
    "alerts.open": "open,active",
    "platforms": "platform_stats",
    "platforms.name": "platform",
    "weights": "rule_weights",
    "weights.name": "rule",
    "weights.value": "weight",
}
"""Collections, fields and values, by what they are; of values several have commas between them."""


class PlatformSettings(Settings):
    """Where the platform keeps what the snapshot shows of it."""

    platform_enabled: bool = Field(
        default=True, description="Whether the platform's collections are part of the snapshot."
    )
    platform_mongodb_database: str = Field(
        default="platform", description="Database of the platform, at MONGODB_URI."
    )
    platform_names: dict[str, str] = Field(
        default_factory=dict[str, str],
        description="JSON object of names that differ from those in docs/platform.md, such as "
        '`{"clips": "videos", "clips.ready": "done"}`.',
    )

    def names(self) -> dict[str, str]:
        """Return all names. Raises `Misconfigured`: one is set that is not known."""
        unknown = sorted(set(self.platform_names) - set(NAMES))
        if unknown:
            raise Misconfigured("PLATFORM_NAMES", f"{', '.join(unknown)}: see docs/platform.md")
        return {**NAMES, **self.platform_names}


class Platform:
    """Reads the platform's collections by their names."""

    def __init__(self, data: PlatformData, names: Mapping[str, str]) -> None:
        self._data, self._names = data, names

    def source(self) -> Collector:
        """Return the source."""
        return Collector("platform", self.collect)

    async def collect(self, now: datetime) -> Facts:
        """Return what the collections that are there say; nothing where there is none."""
        facts: dict[str, Any] = {}
        parts = {
            "publications": self._read_publications,
            "clips": self._read_clips,
            "campaigns": self._read_campaigns,
            "alerts": self._read_alerts,
            "platforms": self._read_platforms,
            "weights": self._read_weights,
        }
        for name, read in parts.items():
            if await self._data.has(self._names[name]):
                facts |= await read(now)
        return facts

    async def _count(self, name: str, *, since: datetime | None = None, **values: str) -> int:
        """Count documents of a collection; `values`: by the field's part of its name, the value."""
        equals = {
            self._names[f"{name}.{field}"]: self._names[f"{name}.{value}"].split(",")
            for field, value in values.items()
        }
        time = self._names[f"{name}.time"] if since else ""
        return await self._data.count(Query(self._names[name], equals, time, since))

    async def _read_publications(self, now: datetime) -> Facts:
        since = now - DAY
        succeeded = await self._count("publications", since=since, status="succeeded")
        failed = await self._count("publications", since=since, status="failed")
        # Those that are neither are not over; a rate over them would not be one of success.
        total = succeeded + failed
        return {
            "publish_total_24h": total,
            "publish_failed_24h": failed,
            "publish_success_rate": round(succeeded / total, 6) if total else None,
        }

    async def _read_clips(self, _: datetime) -> Facts:
        platform, score, name = (self._names[f"clips.{it}"] for it in ("platform", "score", "name"))
        best: dict[str, dict[str, Any]] = {}
        for clip in await self._data.read(
            self._names["clips"], [platform, score, name], best_by=score, limit=MAX_WEIGHTS
        ):
            number = clip.get(score)
            if isinstance(number, int | float) and not isinstance(number, bool):
                key = key_of(str(clip.get(platform, "")))
                best.setdefault(key, {"name": str(clip.get(name, ""))[:200], "score": number})
        return {
            "clips_ready": await self._count("clips", status="ready"),
            "clips_pending_analysis": await self._count("clips", status="pending"),
            "best_clips": best,
        }

    async def _read_campaigns(self, _: datetime) -> Facts:
        return {
            "campaigns_active": await self._count("campaigns", status="active"),
            "campaigns_draft": await self._count("campaigns", status="draft"),
        }

    async def _read_alerts(self, _: datetime) -> Facts:
        return {
            "alerts_critical": await self._count("alerts", severity="critical", status="open"),
            "alerts_warning": await self._count("alerts", severity="warning", status="open"),
        }

    async def _read_platforms(self, _: datetime) -> Facts:
        name = self._names["platforms.name"]
        rows = await self._data.read(self._names["platforms"], [], limit=MAX_PLATFORMS)
        return {
            "platform_stats": {
                key_of(str(row.get(name, ""))): {
                    key_of(field): float(value)
                    for field, value in row.items()
                    if isinstance(value, int | float) and not isinstance(value, bool)
                }
                for row in rows
            }
        }

    async def _read_weights(self, _: datetime) -> Facts:
        name, weight = self._names["weights.name"], self._names["weights.value"]
        rows = await self._data.read(self._names["weights"], [name, weight], limit=MAX_WEIGHTS)
        return {
            "rule_weights": {
                key_of(str(row.get(name, ""))): float(value)
                for row in rows
                if isinstance(value := row.get(weight), int | float)
            }
        }
