"""The departments of the example application, and what its people have written.

Its company, which does not exist, rents out electric cargo bikes.
"""

from dataclasses import dataclass
from typing import Any, Final, cast


@dataclass(frozen=True, slots=True)
class ExampleDepartment:
    """A department of the example, and what a gather run should do with it.

    Attributes:
        document: as Payload lists it.
        is_listed: whether it is active and takes part.
        is_good: whether it can be used.
    """

    document: dict[str, Any]
    is_listed: bool = True
    is_good: bool = True

    @property
    def slug(self) -> str:
        """Its name in addresses and events."""
        return cast("str", self.document["slug"])


def example_departments() -> list[ExampleDepartment]:
    """Return the departments, in the order of their numbers.

    Thresholds fit what the mock writes: the first is reached at once, the next after some batches,
    the third never, and the last would take more iterations than are left.
    """
    support = _make(
        10,
        "support",
        "Rider support",
        "Answers calls and chats of riders, handles refunds and damage claims, and collects "
        "feedback after each rental.",
        threshold=50,
    )
    onboarding = _make(
        20,
        "onboarding",
        "Onboarding",
        "Prepares first days for mechanics and dispatchers: workshop training, tool handling, "
        "safety briefings and a mentor for the first month.",
        threshold=75,
    )
    safety = _make(
        31,
        "safety",
        "Bike safety",
        "Checks brakes and batteries, follows up accidents, and plans recalls with suppliers.",
        threshold=97,
    )
    charging = _make(
        40,
        "charging",
        "Charging stations",
        "Runs charging stations and keeps contracts with landlords and the grid.",
        threshold=850,
    )
    dispatch = _make(
        50,
        "dispatch",
        "Dispatch",
        "Plans van routes and shifts, and tracks lost bikes between stations.",
        threshold=90,
    )
    scooters = _make(
        60,
        "scooters",
        "Scooter rental",
        "Rented out electric scooters until last spring.",
        threshold=80,
    )
    return [
        ExampleDepartment(support),
        ExampleDepartment(onboarding),
        ExampleDepartment(safety),
        ExampleDepartment(charging, is_good=False),
        ExampleDepartment(dispatch),
        ExampleDepartment({**scooters, "isActive": False}, is_listed=False),
    ]


EXAMPLE_TEXTS: Final = (
    (
        "Sort new cases of rental into three piles, urgent, planned and wrong address, as they "
        "come. What cannot be settled in the room goes to an experienced specialist with two "
        "options and a recommendation. The result is good when an experienced specialist can name "
        "the current state without looking it up."
    ),
    (
        "Reserve the hour after opening for damage claims and keep meetings out of it! The wording "
        "is tested on somebody who has never heard of feedback. A short survey on the first "
        "working day of the month asks for one number and for one sentence."
    ),
    (
        "Watch how old the oldest open case of workshop training is; no other number shows neglect "
        "so early. A trainee demonstrates it to the rest of the team with a real example. After 30 "
        "days there should be a fifth fewer open cases."
    ),
    (
        "Riders pay a deposit of 200 euros for a bike with two batteries; it is returned when both "
        "have been checked."
    ),
    "The workshop in the old tram depot is open from seven to seven, on Sundays by appointment.",
)
"""Documents that people of the company have written into the collection of items.

The mock writes the first three as well: one word for word, one but for filler words, one in other
words.
"""


def _make(
    number: int, slug: str, name: str, description: str, *, threshold: float
) -> dict[str, Any]:
    return {
        "id": f"{0x66E0_0000_0000_0000_0000_0000 + number:024x}",
        "slug": slug,
        "name": name,
        "description": description,
        "codeDepNumber": number,
        "gatherCheck": True,
        "isActive": True,
        "defaultModel": None,
        "coordinationSettings": {"minQualityThreshold": threshold},
        "createdAt": "2026-01-05T09:00:00.000Z",
        "updatedAt": "2026-01-05T09:00:00.000Z",
    }
