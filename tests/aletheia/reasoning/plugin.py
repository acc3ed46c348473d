"""What a package of a user adds: a rule, a source, and things that are neither."""

from datetime import datetime
from typing import Final

from aletheia.reasoning.collecting import Collector, Facts
from aletheia.reasoning.rules.rule import Found, rule
from aletheia.reasoning.settings import FindingSettings
from aletheia.reasoning.snapshot import View

PATH: Final = "additional_metrics.weather.rain_mm"


@rule("rain", "weather", "it rains", weight=3)
def rain(view: View, _: FindingSettings) -> Found | None:
    """Find that it rains."""
    value = view.number(PATH)
    return Found("low", f"it rains: {value} mm", {PATH: value}) if value else None


@rule("no_worker", "weather", "it rains")
def taken(view: View, _: FindingSettings) -> Found | None:
    """Find nothing, under the id of a rule of ours."""
    del view
    return None


RULES: Final = [rain]
NOT_A_RULE: Final = "rain"


def make_collector() -> Collector:
    """Make a source."""

    async def collect(_: datetime) -> Facts:
        return {"additional_metrics": {"weather": {"rain_mm": 4.0}}}

    return Collector("weather", collect)
