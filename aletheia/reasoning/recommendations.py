"""Recommendations and their life: open, then accepted, dismissed or snoozed by a person (SPEC §5).

A recommendation belongs to a finding and has the same id for it every time. One that was dismissed
does not come back until its finding changes: another severity, or gone and there again. After one
was carried out, the next runs say whether its finding went away.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aletheia.documents import Change, Document, Documents, Update
from aletheia.errors import InvalidTask
from aletheia.reasoning.explaining import Explained
from aletheia.reasoning.findings import Finding, by_severity
from aletheia.reasoning.models import AIRecommendation, Decision
from aletheia.reasoning.rules.rule import Rule
from aletheia.store.clock import SYSTEM_CLOCK, Clock, microseconds

RECOMMENDATIONS: Final = "aletheia_recommendations"

OUTCOME_SHOWN_S: Final = 86_400.0
"""How long after its execution the outcome of a recommendation is said, seconds."""

DEFAULT_SNOOZE_H: Final = 24.0
MAX_REASON_CHARS: Final = 1000
MAX_LISTED: Final = 500


@dataclass(frozen=True, slots=True)
class Known:
    """What is stored about the recommendations of this run, and what to say of earlier ones."""

    rows: Mapping[str, Document]  # by the id of the finding
    outcomes: tuple[str, ...]  # sentences about those that were carried out lately


def recommendation_id(finding_id: str) -> str:
    """Return the id of the recommendation about a finding."""
    return f"rec-{hashlib.sha256(finding_id.encode()).hexdigest()[:12]}"


class Recommendations:
    """What people decided about recommendations, in one store."""

    def __init__(self, documents: Documents, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._documents, self._clock = documents, clock

    async def sync(self, findings: Sequence[Finding], rules: Mapping[str, Rule]) -> Known:
        """Note which findings there are; return what was decided about them, and outcomes."""
        stored = await self._documents.find(RECOMMENDATIONS, {}, limit=MAX_LISTED)
        rows = {row["finding"]: row for row in stored}
        now, present = self._clock.now(), {finding.id: finding for finding in findings}
        fresh = {id_: self._renew(rows.get(id_), finding) for id_, finding in present.items()}
        updates = [
            Update(recommendation_id(id_), Change(set=values))
            for id_, values in fresh.items()
            if values is not None
        ]
        gone = [row for id_, row in rows.items() if id_ not in present and row.get("is_present")]
        updates += [
            Update(row["_id"], Change(set={"is_present": False, "gone_at": now})) for row in gone
        ]
        if updates:
            await self._documents.upsert(RECOMMENDATIONS, updates)
        merged = {id_: {**rows.get(id_, {}), **(values or {})} for id_, values in fresh.items()}
        return Known(merged, tuple(self._list_outcomes(rows, present, rules)))

    def _renew(self, row: Document | None, finding: Finding) -> dict[str, Any] | None:
        """Return what to store about a finding that is there; `None` where nothing changed."""
        now = self._clock.now()
        is_new = row is None or not row.get("is_present") or row.get("severity") != finding.severity
        if is_new:
            is_back = row is not None and not row.get("is_present")
            return {
                **({"executed_at": 0} if is_back else {}),
                "finding": finding.id,
                "severity": finding.severity,
                "title": finding.title,
                "is_present": True,
                "decision": "open",
                "reason": "",
                "snoozed_until": 0,
                "since": now,
            }
        if row is not None and row.get("decision") == "snoozed" and row["snoozed_until"] <= now:
            return {"decision": "open", "snoozed_until": 0}
        return None

    def _list_outcomes(
        self,
        rows: Mapping[str, Document],
        present: Mapping[str, Finding],
        rules: Mapping[str, Rule],
    ) -> list[str]:
        since = self._clock.now() - microseconds(OUTCOME_SHOWN_S)
        said: list[str] = []
        for id_, row in rows.items():
            if int(row.get("executed_at") or 0) < since:
                continue
            rule = rules.get(id_)
            title = rule.advice.title if rule is not None and rule.advice is not None else id_
            became = "is still there" if id_ in present else "went away"
            said.append(f"After “{title}” was carried out, its finding {became}.")
        return said

    async def decide(
        self,
        id_: str,
        decision: Decision,
        *,
        reason: str = "",
        who: str,
        snooze_h: float = DEFAULT_SNOOZE_H,
    ) -> Document:
        """Note what a person decided, and return the row.

        Raises:
            InvalidTask: `unknown_recommendation`; `reason_required` to dismiss one.
        """
        reason = " ".join(reason.split())[:MAX_REASON_CHARS]
        if decision == "dismissed" and not reason:
            raise InvalidTask("reason_required", "a recommendation is dismissed with a reason")
        now = self._clock.now()
        until = now + microseconds(snooze_h * 3600) if decision == "snoozed" else 0
        values = {
            "decision": decision,
            "reason": reason,
            "decided_by": who[:200],
            "decided_at": now,
            "snoozed_until": until,
        }
        (is_known,) = await self._documents.update(
            RECOMMENDATIONS, [Update(id_, Change(set=values), {"is_present": True})]
        )
        if not is_known:
            raise InvalidTask("unknown_recommendation", f"{id_[:60]!r} is not recommended now")
        return (await self._documents.get(RECOMMENDATIONS, [id_]))[id_]

    async def read_decisions(self, shown: Sequence[AIRecommendation]) -> list[AIRecommendation]:
        """Return recommendations of a run with what people have decided about them since."""
        rows = await self._documents.get(RECOMMENDATIONS, [item.id for item in shown])
        decided = {id_: row["decision"] for id_, row in rows.items() if row.get("decision")}
        return [
            item.model_copy(update={"decision": decided.get(item.id, item.decision)})
            for item in shown
        ]

    async def note_executed(self, ids: Sequence[str], approval_id: str) -> None:
        """Note that recommendations were carried out."""
        values = {"executed_at": self._clock.now(), "executed_by": approval_id}
        updates = [Update(id_, Change(set=values)) for id_ in dict.fromkeys(ids) if id_]
        if updates:
            await self._documents.update(RECOMMENDATIONS, updates)


def recommend(
    findings: Sequence[Finding],
    rules: Mapping[str, Rule],
    known: Mapping[str, Document],
    explained: Explained,
) -> list[AIRecommendation]:
    """Return what to do about the findings, the worst first; not what was dismissed or snoozed."""
    ranked = by_severity(findings)
    if explained.order:
        places = {id_: place for place, id_ in enumerate(explained.order)}
        # A model orders within a severity; it does not put what is critical last.
        ranked = by_severity(sorted(ranked, key=lambda it: places.get(it.id, len(places))))
    found: list[AIRecommendation] = []
    for finding in ranked:
        rule, row = rules.get(finding.id), known.get(finding.id, {})
        decision: Decision = row.get("decision") or "open"
        if rule is None or rule.advice is None or decision in ("dismissed", "snoozed"):
            continue
        advice, reason = rule.advice, explained.advice.get(finding.id, "")
        text = reason or f"{finding.text[:1].upper()}{finding.text[1:]}."
        was_executed = bool(row.get("executed_at"))
        found.append(
            AIRecommendation(
                id=recommendation_id(finding.id),
                priority=finding.severity,
                category=advice.category,
                title=advice.title,
                description=f"{text} {advice.description}",
                impact=advice.impact,
                effort=advice.effort,
                action_type=advice.action,
                action_payload=advice.read_payload(finding.evidence),
                finding=finding.id,
                decision=decision,
                outcome="It was carried out, and its finding is still there."
                if was_executed
                else "",
            )
        )
    return found
