"""The departments of the example application, and what its people have written.

Its company, which does not exist, rents out electric cargo bikes.
"""

from typing import Any, Final, NamedTuple


class ExampleDepartment(NamedTuple):
    """A department of the example, and what a gather run should do with it.

    Only one that `is_listed` is active and takes part, and only one that `is_good` can be used.
    """

    number: int
    slug: str
    name: str
    threshold: float
    description: str
    is_listed: bool = True
    is_good: bool = True

    @property
    def document(self) -> dict[str, Any]:
        """The department as Payload lists it."""
        return {
            "id": f"{0x66E0_0000_0000_0000_0000_0000 + self.number:024x}",
            "slug": self.slug,
            "name": self.name,
            "description": self.description,
            "codeDepNumber": self.number,
            "gatherCheck": True,
            "isActive": self.is_listed,
            "defaultModel": None,
            "coordinationSettings": {"minQualityThreshold": self.threshold},
            "createdAt": "2026-01-05T09:00:00.000Z",
            "updatedAt": "2026-01-05T09:00:00.000Z",
        }


EXAMPLE_DEPARTMENTS: Final = (
    ExampleDepartment(
        *(10, "support", "Rider support", 50),
        "Answers calls and chats of riders, handles refunds and damage claims, and collects "
        "feedback after each rental.",
    ),
    ExampleDepartment(
        *(20, "onboarding", "Onboarding", 95),
        "Prepares first days for mechanics and dispatchers: workshop training, tool handling, "
        "safety briefings and a mentor for the first month.",
    ),
    ExampleDepartment(
        *(31, "safety", "Bike safety", 99),
        "Checks brakes and batteries, follows up accidents, and plans recalls with suppliers.",
    ),
    ExampleDepartment(
        *(40, "charging", "Charging stations", 850),
        "Runs charging stations and keeps contracts with landlords and the grid.",
        is_good=False,
    ),
    ExampleDepartment(
        *(50, "dispatch", "Dispatch", 98),
        "Plans van routes and shifts, and tracks lost bikes between stations.",
    ),
    ExampleDepartment(
        *(60, "scooters", "Scooter rental", 80),
        "Rented out electric scooters until last spring.",
        is_listed=False,
    ),
)
"""The departments, in the order of their numbers.

Thresholds fit what the mock writes: the first is reached at once, the next after some batches, the
third never, the fourth is a typing error, and the fifth would take more iterations than are left.
"""

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
