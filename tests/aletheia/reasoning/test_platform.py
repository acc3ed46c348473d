"""The platform's collections under their own names, or those that are set."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aletheia.adapters.platform.embedded import EmbeddedPlatform
from aletheia.adapters.platform.mongodb import write_like
from aletheia.documents import Documents
from aletheia.errors import Misconfigured
from aletheia.reasoning.collecting import collect_snapshot
from aletheia.reasoning.platform import Platform, PlatformSettings
from deployments.examples import platform as example
from tests.fakes.clock import MovableClock
from tests.fakes.reasoning import AT


async def collect(documents: Documents, **settings: Any) -> Any:
    source = Platform(EmbeddedPlatform(documents), PlatformSettings(**settings).names()).source()
    snapshot = await collect_snapshot([source], timeout_s=5, clock=MovableClock(AT).both)
    assert not snapshot.failed_sources
    return snapshot


async def test_the_example_data_set_is_read_as_it_was_made(documents: Documents):
    for collection, rows in example.build_platform(AT).items():
        await documents.insert(collection, [dict(row) for row in rows])
    snapshot = await collect(documents)
    done = example.SUCCEEDED + example.FAILED
    assert (snapshot.publish_total_24h, snapshot.publish_failed_24h) == (done, example.FAILED)
    assert snapshot.publish_success_rate == round(example.SUCCEEDED / done, 6)
    assert (snapshot.clips_ready, snapshot.clips_pending_analysis) == (14, 5)
    assert (snapshot.campaigns_active, snapshot.campaigns_draft) == (3, 2)
    assert (snapshot.alerts_critical, snapshot.alerts_warning) == (0, 1)
    assert snapshot.best_clips["video"] == {"name": "Clip 19", "score": 68.0}
    assert snapshot.rule_weights == {"freshness": 0.5, "length": 0.2, "variety": 0.3}
    assert snapshot.platform_stats["video"] == {"followers": 900.0, "views_24h": 310.0}


async def test_a_platform_that_has_nothing_leaves_every_value_unknown(
    documents: Documents,
):
    snapshot = await collect(documents)
    assert snapshot.publish_success_rate is None
    assert snapshot.clips_ready is None
    assert snapshot.platform_stats == {}


async def test_names_of_collections_fields_and_values_are_settings(documents: Documents):
    await documents.insert("videos", [{"_id": "a", "stage": "done"}, {"_id": "b", "stage": "new"}])
    names = {"clips": "videos", "clips.status": "stage", "clips.ready": "done,kept"}
    snapshot = await collect(documents, platform_names=names)
    assert (snapshot.clips_ready, snapshot.clips_pending_analysis) == (1, 0)


async def test_publications_that_are_not_over_count_for_nothing(documents: Documents):
    now = AT.isoformat()
    rows = [("a", "success", now), ("b", "queued", now), ("c", "failed", now)]
    old = (AT - timedelta(hours=25)).isoformat()
    await documents.insert(
        "publish_history",
        [
            {"_id": id_, "status": status, "published_at": at}
            for id_, status, at in [*rows, ("d", "failed", old)]
        ],
    )
    snapshot = await collect(documents)
    assert (snapshot.publish_total_24h, snapshot.publish_success_rate) == (2, 0.5)


def test_a_name_that_is_not_known_is_refused():
    with pytest.raises(Misconfigured, match=r"clips\.colour"):
        PlatformSettings(platform_names={"clips.colour": "x"}).names()


@pytest.mark.parametrize(
    ("example_value", "written"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), AT),
        (None, AT),
        (True, AT),
        (1_700_000_000, AT.timestamp()),
        (1_700_000_000_000, AT.timestamp() * 1000),
        ("2026-01-01T00:00:00Z", "2026-11-30T10:00:00Z"),
        ("2026-01-01T00:00:00+00:00", "2026-11-30T10:00:00+00:00"),
    ],
)
def test_a_moment_is_asked_for_in_the_form_in_which_it_is_kept(
    example_value: object, written: object
):
    assert write_like(AT, example_value) == written
