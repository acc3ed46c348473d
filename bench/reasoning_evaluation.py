"""The evaluation set of system reasoning, replayed: findings and claims against their labels."""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aletheia.reasoning.claims import Claim, check_claim
from aletheia.reasoning.findings import find
from aletheia.reasoning.references import Evidence, Unsupported
from aletheia.reasoning.settings import FindingSettings
from aletheia.reasoning.snapshot import SystemSnapshot

DATA: Final = Path(__file__).parent / "data" / "reasoning"

BOUNDS: Final = FindingSettings.model_construct()
"""The bounds as they are by default, whatever the environment sets."""


@dataclass(frozen=True, slots=True)
class FindingFigures:
    """How well rules find what is wrong.

    Attributes:
        findings_recall: found of what was put in, 0 to 1.
        findings_recall_by_level: the same by level, from 1.
        findings_on_healthy: findings in snapshots in which nothing is wrong.
        missed: what was not found, as `snapshot: rule`.
        snapshots: labelled ones, without the healthy.
    """

    findings_recall: float
    findings_recall_by_level: Mapping[str, float]
    findings_on_healthy: int
    missed: tuple[str, ...]
    snapshots: int


@dataclass(frozen=True, slots=True)
class ClaimFigures:
    """How well claims are checked.

    Attributes:
        claims_planted: wrong ones.
        claims_by_kind: wrong ones by kind.
        claims_unsupported_kept: wrong ones that were kept.
        claims_true: true ones.
        claims_true_kept: share of the true ones that were kept, 0 to 1.
        ms_per_claim: time that checking one takes, milliseconds.
        wrong: ids of the claims that went the wrong way, with their texts.
    """

    claims_planted: int
    claims_by_kind: Mapping[str, int]
    claims_unsupported_kept: int
    claims_true: int
    claims_true_kept: float
    ms_per_claim: float
    wrong: tuple[str, ...]


def read_records(name: str) -> list[dict[str, Any]]:
    """Read a file of the set."""
    return [json.loads(line) for line in (DATA / name).read_text("utf-8").splitlines()]


def evaluate_findings() -> FindingFigures:
    """Run the rules over every snapshot of the set."""
    hits, total = Counter[int](), Counter[int]()
    missed: list[str] = []
    on_healthy = 0
    for record in read_records("snapshots.jsonl"):
        snapshot = SystemSnapshot.model_validate(record["snapshot"])
        found = {finding.id for finding in find(snapshot.view, BOUNDS)}
        if not record["level"]:
            on_healthy += len(found)
            continue
        expected = set(record["expected"])
        hits[record["level"]] += len(expected & found)
        total[record["level"]] += len(expected)
        missed += [f"{record['id']}: {rule}" for rule in sorted(expected - found)]
    return FindingFigures(
        findings_recall=round(sum(hits.values()) / max(1, sum(total.values())), 4),
        findings_recall_by_level={
            str(level): round(hits[level] / count, 4) for level, count in sorted(total.items())
        },
        findings_on_healthy=on_healthy,
        missed=tuple(missed),
        snapshots=sum(bool(record["level"]) for record in read_records("snapshots.jsonl")),
    )


def read_situations() -> dict[str, Evidence]:
    """Return the evidence of every situation of the set, by its id."""
    situations: dict[str, Evidence] = {}
    for record in read_records("situations.jsonl"):
        now = SystemSnapshot.model_validate(record["snapshot"])
        before = SystemSnapshot.model_validate(record["before"])
        situations[record["id"]] = Evidence.of(now, find(now.view, BOUNDS), before=before)
    return situations


def evaluate_claims() -> ClaimFigures:
    """Check every claim of the set."""
    situations, records = read_situations(), read_records("claims.jsonl")
    wrong: list[str] = []
    kept = Counter[str]()
    began = time.perf_counter()
    for record in records:
        sentence = _check(record, situations[record["situation"]])
        kept[record["kind"]] += bool(sentence)
        if bool(sentence) != (record["kind"] == "true"):
            wrong.append(
                f"{record['id']} of {record['situation']}: {record['claim']}: {sentence!r}"
            )
    seconds = time.perf_counter() - began
    counts = Counter(record["kind"] for record in records)
    true, true_kept = counts.pop("true"), kept.pop("true")
    return ClaimFigures(
        claims_planted=sum(counts.values()),
        claims_by_kind=dict(sorted(counts.items())),
        claims_unsupported_kept=sum(kept.values()),
        claims_true=true,
        claims_true_kept=round(true_kept / true, 4),
        ms_per_claim=round(seconds * 1000 / len(records), 4),
        wrong=tuple(wrong),
    )


def _check(record: Mapping[str, Any], evidence: Evidence) -> str:
    try:
        return check_claim(Claim.model_validate(record["claim"]), evidence, record["role"])
    except Unsupported:
        return ""


def explain_wrong(wrong: Sequence[str], *, limit: int = 20) -> str:
    """Return what went the wrong way, one a line."""
    return "\n".join(wrong[:limit])
