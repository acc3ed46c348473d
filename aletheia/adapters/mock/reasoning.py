"""What the marked mock says of findings: claims in the forms that code checks, from the prompt."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aletheia.adapters.mock.chat import Write
from aletheia.reasoning.prompts.explain_findings import FORM, MAX_CLAIMS
from aletheia.reasoning.references import BOUNDS

TELLING: Final = (
    *("queue_success", "additional_metrics.gather.last_items_created", "queue_failed"),
    *("orchestrator_actions_last_24h", "publish_total_24h", "queue_pending"),
)
"""Values that the mock begins with, where they are known."""


def write_explanation(blocks: Mapping[str, Any]) -> dict[str, Any]:
    """Fill the form of an explanation from the blocks `values` and `findings` of a prompt."""
    values = {value["path"]: value for value in blocks["values"]}
    findings: Sequence[Mapping[str, Any]] = blocks["findings"]
    return {
        "insights": [*_write_changes(values), *_write_values(values)][:MAX_CLAIMS],
        "concerns": [_write_concern(finding, values) for finding in findings][:MAX_CLAIMS],
        "positives": _write_positives(values),
        "advice": [
            {"finding": finding["id"], "claim": _write_concern(finding, values)}
            for finding in findings[:MAX_CLAIMS]
        ],
        "order": [finding["id"] for finding in findings],
        "score_shift": 0.0,
    }


def _write_changes(values: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    changes: list[dict[str, Any]] = []
    for path in TELLING:
        value = values.get(path)
        if value is None or value["before"] is None or value["before"] == value["value"]:
            continue
        relation = "rose" if value["value"] > value["before"] else "fell"
        text = f"{{1.name}} {relation} from {{1.before}} to {{1.value}}"
        changes.append(_claim(text, [path], relation))
    return changes


def _write_values(values: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [_claim("There are {1}", [path]) for path in TELLING if path in values]


def _write_concern(
    finding: Mapping[str, Any], values: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    if finding["because"]:
        return _claim(
            "{1.name} because {2.name}", [finding["id"], finding["because"][0]], "because"
        )
    path = next(iter(finding["paths"]), "")
    if path in values and finding["bound"] is not None and values[path]["value"] > finding["bound"]:
        return _claim("{1} is above {2}", [path, f"{BOUNDS}{finding['id']}"], "above")
    return _claim("{1}", [finding["id"]])


def _write_positives(values: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    calm = [path for path, value in values.items() if _is_calm(value)]
    chosen = [path for path in calm if path in TELLING] or calm
    return [_claim("{1}: normal", [path]) for path in chosen[:3]]


def _is_calm(value: Mapping[str, Any]) -> bool:
    """Return whether a value is as good as it may be; a few dead letters are nothing to praise."""
    if value["is_found"] or not value["worse"]:
        return False
    return value["worse"] == "down" or value["value"] == 0


def _claim(text: str, refs: Sequence[str], relation: str = "equal") -> dict[str, Any]:
    return {"text": text, "refs": list(refs), "relation": relation}


WRITERS: Final[Mapping[str, Write]] = {FORM.name: write_explanation}
"""The forms it can fill, by name."""
