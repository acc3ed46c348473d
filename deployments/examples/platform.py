"""The example platform: publications, clips, campaigns and alerts, as docs/platform.md shows them.

It belongs to the company of the example departments, which rents out electric cargo bikes.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

PLATFORMS: Final = ("video", "pictures", "short_messages")

SUCCEEDED: Final = 40
FAILED: Final = 5
OLD: Final = 20
"""Publications of the last 24 hours that went well and that failed, and older ones; so many failed
that it is a finding (`FINDING_PUBLISH_RATE`)."""

CLIPS_READY: Final = 14
CLIPS_PENDING: Final = 5
CAMPAIGNS_ACTIVE: Final = 3
CAMPAIGNS_DRAFT: Final = 2
WARNINGS: Final = 1


def build_platform(now: datetime) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """Return the documents of each collection, as of a moment."""
    return {
        "publish_history": [
            *_publications(now, 0, SUCCEEDED + FAILED),
            *_publications(now, 30, OLD),
        ],
        "clips": [_clip(place) for place in range(CLIPS_READY + CLIPS_PENDING)],
        "campaigns": [
            {
                "_id": f"campaign-{place}",
                "name": f"Campaign {place + 1}",
                "status": "active" if place < CAMPAIGNS_ACTIVE else "draft",
            }
            for place in range(CAMPAIGNS_ACTIVE + CAMPAIGNS_DRAFT)
        ],
        "alerts": [
            {"_id": "alert-0", "severity": "warning", "status": "open", "text": "a slow upload"},
            {"_id": "alert-1", "severity": "critical", "status": "closed", "text": "mended"},
        ],
        "platform_stats": [
            {"_id": name, "platform": name, "followers": 900.0 * place, "views_24h": 310.0 * place}
            for place, name in enumerate(PLATFORMS, start=1)
        ],
        "rule_weights": [
            {"_id": rule, "rule": rule, "weight": weight}
            for rule, weight in (("freshness", 0.5), ("length", 0.2), ("variety", 0.3))
        ],
    }


def _publications(now: datetime, hours_ago: int, count: int) -> list[dict[str, Any]]:
    """Return publications, one every half an hour from some hours ago backwards."""
    began = now.astimezone(UTC) - timedelta(hours=hours_ago)
    return [
        {
            "_id": f"publication-{hours_ago}-{place}",
            "platform": PLATFORMS[place % len(PLATFORMS)],
            "status": "failed" if place < FAILED and not hours_ago else "success",
            "published_at": (began - timedelta(minutes=30 * place)).isoformat(),
        }
        for place in range(count)
    ]


def _clip(place: int) -> dict[str, Any]:
    return {
        "_id": f"clip-{place}",
        "title": f"Clip {place + 1}",
        "platform": PLATFORMS[place % len(PLATFORMS)],
        "score": 50.0 + place,
        "status": "ready" if place < CLIPS_READY else "pending_analysis",
    }
