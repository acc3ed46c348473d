"""What the marked mock says as a judge: verdicts by counting, on the prompt's own words.

They depend on what the prompt quotes alone, and each sentence begins with `Mock:`.
"""

import zlib
from collections.abc import Mapping
from typing import Any, Final

from aletheia.adapters.mock.chat import Write
from aletheia.items.departments import Department
from aletheia.items.prompts import judge_duplicate
from aletheia.quality.prompts import evaluate_department, judge_quality
from aletheia.quality.rating import QualityItem
from aletheia.quality.scores import PARTS, Quality, score_quality
from aletheia.text.facts import find_difference, read_facts

SPREAD: Final = 6
"""Points, either way, by which the mock's judges differ from what is counted."""

ALIKE: Final = 0.6
"""Share of the words of either text that both have, from which the mock calls them duplicates."""

_SAID: Final = {
    "coverage": "it was counted which aspects the items name",
    "depth": "figures, reasons and words with a meaning of their own were counted",
    "coherence": "it was counted which items belong to the department and are said once",
    "actionability": "it was counted which items say who does what and when",
}


def write_scores(blocks: Mapping[str, Any]) -> dict[str, Any]:
    """Fill the form of judged quality: what is counted, a little off, by another bit each vote."""
    quality = _count(blocks)
    vote = blocks["order"]["vote"]
    return {
        part: {
            "score": min(100.0, max(0.0, quality.parts[part].score + _noise(part, vote, blocks))),
            "reason": f"Mock: {_SAID[part]}.",
        }
        for part in PARTS
    }


def write_remarks(blocks: Mapping[str, Any]) -> dict[str, Any]:
    """Fill the form of an evaluation: one finding and one suggestion, on items that are there."""
    items = blocks["items"]
    shortest = min(items, key=lambda item: (len(item["text"]), item["id"]))["id"]
    scores = blocks["order"]["scores"]
    worst = min(PARTS, key=lambda part: (scores[part], part))
    return {
        "findings": [
            {
                "part": "depth",
                "text": "Mock: of all items this one says least.",
                "item_ids": [shortest],
                "severity": "low",
            }
        ],
        "suggestions": [
            {
                "part": worst,
                "text": f"Mock: begin with {worst}, which scores lowest; these items show how.",
                "item_ids": [item["id"] for item in items[:2]],
            }
        ],
    }


def write_verdict(blocks: Mapping[str, Any]) -> dict[str, Any]:
    """Fill the form of a judged pair: most words in common, and no contradiction."""
    one, other = (read_facts(str(blocks["pair"][side])) for side in ("first", "second"))
    left, right = set(one.words), set(other.words)
    share = len(left & right) / max(1, len(left | right))
    difference = find_difference(one, other)
    is_duplicate = share >= ALIKE and difference is None
    differing = f", and they differ in a {difference}" if difference else ""
    reason = f"Mock: {share:.0%} of the words are in both{differing}."
    return {"is_duplicate": is_duplicate, "reason": reason}


def _count(blocks: Mapping[str, Any]) -> Quality:
    about = blocks["department"]
    department = Department(
        id="mock",
        slug="mock",
        name=about["name"],
        description=about["description"],
        gather_check=True,
        is_active=True,
    )
    # Judges see the items from different ones on; counted are they in one order.
    items = sorted(blocks["items"], key=lambda item: item["id"])
    return score_quality(department, [QualityItem(item["id"], item["text"]) for item in items])


def _noise(part: str, vote: int, blocks: Mapping[str, Any]) -> int:
    seed = f"{part}\n{vote}\n{blocks['department']['name']}\n{blocks['order']['items']}"
    return zlib.crc32(seed.encode()) % (2 * SPREAD + 1) - SPREAD


WRITERS: Final[Mapping[str, Write]] = {
    judge_quality.FORM.name: write_scores,
    evaluate_department.FORM.name: write_remarks,
    judge_duplicate.FORM.name: write_verdict,
}
"""The forms it can fill, by name."""
