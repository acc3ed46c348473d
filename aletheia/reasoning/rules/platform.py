"""Rules about the platform: publications, clips, campaigns, alerts."""

from typing import Final

from aletheia.reasoning.rules.rule import (
    Advice,
    Found,
    Rule,
    Severity,
    find_above,
    find_below,
    rule,
    write_share,
)
from aletheia.reasoning.settings import FindingSettings
from aletheia.reasoning.snapshot import View

_PRODUCE: Final = Advice(
    "Make more clips",
    "Few clips are ready: upload videos, or have those that wait analysed.",
    "Publishing goes on without a gap.",
    "content",
    "medium",
    "process_pending_jobs",
)


@rule(
    "publish_rate_low",
    "platform",
    "publications fail too often",
    Advice(
        "Check the platforms' accounts",
        "Open the publications that failed; refused sign-ins and formats are the usual reasons.",
        "More publications succeed.",
        "content",
        "medium",
    ),
)
def publish_rate_low(view: View, limits: FindingSettings) -> Found | None:
    """Find a low success rate of publications."""
    path = "publish_success_rate"
    if (value := view.number(path)) is None:
        return None
    levels: tuple[tuple[float, Severity], ...] = (
        (limits.finding_publish_rate, "medium"),
        (limits.finding_publish_rate_high, "high"),
        (limits.finding_publish_rate_critical, "critical"),
    )
    text = "only {value} of the publications in 24 h succeeded"
    return find_below(view, path, text, *levels, said=write_share(value))


@rule("publish_failures", "platform", "many publications failed")
def publish_failures(view: View, limits: FindingSettings) -> Found | None:
    """Find many failed publications."""
    return find_above(
        view,
        "publish_failed_24h",
        "{value} [publication|publications] failed in 24 h; the bound is {limit}",
        (limits.finding_publish_failed, "low"),
    )


@rule(
    "publish_silent",
    "platform",
    "nothing was published",
    Advice(
        "Resume publishing",
        "Check that campaigns are active, clips are ready and the publisher runs.",
        "The audience sees something new.",
        "content",
        "medium",
    ),
    because=("clips_missing", "campaigns_none"),
)
def publish_silent(view: View, _: FindingSettings) -> Found | None:
    """Find that nothing was published for a day."""
    text = "nothing was published in 24 h"
    return find_below(view, "publish_total_24h", text, (1, "medium"))


@rule("clips_missing", "platform", "no clip is ready", _PRODUCE, because=("clips_unanalysed",))
def clips_missing(view: View, _: FindingSettings) -> Found | None:
    """Find that no clip is ready."""
    return find_below(view, "clips_ready", "no clip is ready to be published", (1, "high"))


@rule("clips_low", "platform", "few clips are ready", _PRODUCE, because=("clips_unanalysed",))
def clips_low(view: View, limits: FindingSettings) -> Found | None:
    """Find few clips that are ready."""
    text = "{value} [clip is|clips are] ready, fewer than {limit}"
    return find_below(view, "clips_ready", text, (limits.finding_clips_ready, "medium"))


@rule("clips_unanalysed", "platform", "many clips wait to be analysed")
def clips_unanalysed(view: View, limits: FindingSettings) -> Found | None:
    """Find many clips that nobody has analysed."""
    return find_above(
        view,
        "clips_pending_analysis",
        "{value} [clip waits|clips wait] to be analysed; the bound is {limit}",
        (limits.finding_clips_pending, "low"),
    )


@rule(
    "campaigns_none",
    "platform",
    "no campaign is active",
    Advice(
        "Start a campaign",
        "No campaign is active; start one of the drafts, or plan a new one.",
        "Publications have a plan to follow.",
        "campaigns",
        "medium",
    ),
)
def campaigns_none(view: View, _: FindingSettings) -> Found | None:
    """Find that no campaign is active."""
    return find_below(view, "campaigns_active", "no campaign is active", (1, "medium"))


@rule(
    "campaigns_drafts",
    "platform",
    "many campaigns are drafts",
    Advice(
        "Tidy the drafts",
        "Start the drafts of campaigns that are ready, and delete the others.",
        "The list shows what is planned.",
        "campaigns",
        "low",
    ),
)
def campaigns_drafts(view: View, limits: FindingSettings) -> Found | None:
    """Find many drafts."""
    return find_above(
        view,
        "campaigns_draft",
        "{value} [campaign is a draft|campaigns are drafts]; the bound is {limit}",
        (limits.finding_campaigns_draft, "low"),
    )


@rule(
    "critical_alerts",
    "platform",
    "critical alerts are open",
    Advice(
        "Work on the critical alerts",
        "Open the critical alerts of the platform, the oldest first.",
        "What is broken for users is mended first.",
        "system",
        "high",
    ),
)
def critical_alerts(view: View, limits: FindingSettings) -> Found | None:
    """Find open critical alerts."""
    return find_above(
        view,
        "alerts_critical",
        "{value} critical [alert is|alerts are] open",
        (limits.finding_alerts_critical, "high"),
        (limits.finding_alerts_critical_many, "critical"),
    )


@rule("many_warnings", "platform", "many warnings are open")
def many_warnings(view: View, limits: FindingSettings) -> Found | None:
    """Find many open warnings."""
    return find_above(
        view,
        "alerts_warning",
        "{value} [warning is|warnings are] open; the bound is {limit}",
        (limits.finding_alerts_warning, "medium"),
    )


RULES: Final[tuple[Rule, ...]] = (
    publish_rate_low,
    publish_failures,
    publish_silent,
    clips_missing,
    clips_low,
    clips_unanalysed,
    campaigns_none,
    campaigns_drafts,
    critical_alerts,
    many_warnings,
)
