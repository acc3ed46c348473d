"""When a model explains findings, what that may cost, and what survives of its answer (SPEC §5).

It is asked where the findings change (a hash of findings, prompt version, model, form), or its last
answer about them is older than `AI_WORKER_MAX_AGE_SECONDS`. An answer in use is checked anew with
every snapshot, since its claims are filled in anew. Any failure leaves the rules' own text.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aletheia.documents import Change, Document, Documents, Update
from aletheia.errors import AletheiaError
from aletheia.llm.answers import SavedAnswers
from aletheia.llm.asking import AskPlan, ask_once, check_finish
from aletheia.llm.json_text import UnreadableAnswer
from aletheia.llm.messages import ChatModel, ChatRequest, Completion
from aletheia.llm.prices import NANO, Tokens
from aletheia.llm.structured import read_answer
from aletheia.llm.usage import day_of
from aletheia.reasoning.aliases import Aliases
from aletheia.reasoning.catalogue import entity_path, listed_paths, measure_of
from aletheia.reasoning.claims import Claim, Role, check_claim
from aletheia.reasoning.findings import Finding, digest_of
from aletheia.reasoning.prompts.explain_findings import (
    FORM,
    MAX_CLAIMS,
    MAX_SHIFT,
    PROMPT_VERSION,
    Explanation,
    build_prompt,
)
from aletheia.reasoning.references import BOUNDS, Evidence, Unsupported
from aletheia.reasoning.settings import ReasoningSettings
from aletheia.store.backoff import Backoff
from aletheia.store.clock import SYSTEM_CLOCK, Clock

log = logging.getLogger(__name__)

EXPLANATIONS: Final = "aletheia_reasoning_explanations"
SPENT: Final = "aletheia_reasoning_spent"

RETRY_BASE_S: Final = 60.0
"""First pause after a failure of the model, seconds; doubled up to the maximum age."""

_KEY: Final = "reasoning"
_LAST: Final = "last"


@dataclass(slots=True)
class Explained:
    """What survived of an explanation."""

    insights: list[str] = field(default_factory=list[str])
    concerns: list[str] = field(default_factory=list[str])
    positives: list[str] = field(default_factory=list[str])
    advice: dict[str, str] = field(default_factory=dict[str, str])  # by the id of its finding
    order: list[str] = field(default_factory=list[str])  # ids of findings
    shift: float = 0.0  # of the score, points
    model: str = ""  # empty where no model answered
    is_mock: bool = False
    is_new: bool = False  # not an answer that was there already
    dropped: Counter[str] = field(default_factory=Counter[str])  # claims by why

    @property
    def kept(self) -> int:
        """How many claims survived."""
        return sum(map(len, (self.insights, self.concerns, self.positives, self.advice)))


@dataclass(frozen=True, slots=True)
class Explainer:
    """Asks a model for explanations, within its caps.

    `cost` returns what so many tokens of a model cost, nano-dollars, by provider and model.
    """

    documents: Documents
    chat: ChatModel
    model: str
    settings: ReasoningSettings
    cost: Callable[[str, str, Tokens], int]
    clock: Clock = SYSTEM_CLOCK

    async def explain(self, evidence: Evidence, score: float) -> Explained:
        """Return what a model says about the findings, as far as it holds; nothing if it fails."""
        key = self.key_of(list(evidence.findings.values()))
        try:
            found = await self._find_answer(key, evidence, score)
            if found is None:
                return Explained()
            completion, aliases, is_new = found
            check_finish(completion)
            is_cut_off = completion.finish == "length"
            answer = read_answer(completion.text, Explanation, is_cut_off=is_cut_off)
        except UnreadableAnswer as error:
            await self._note_failure(key, error)
            return Explained()
        except AletheiaError as error:
            log.warning("findings are explained by the rules alone: %s", error)
            return Explained()
        if is_new:
            await self._write(key, failures=0, retry_at=0)
            await self._write(_LAST, failures=0)
        explained = check_explanation(answer, evidence.with_aliases(aliases))
        explained.model, explained.is_mock = completion.model, completion.is_mock
        explained.is_new = is_new
        return explained

    async def read_failures(self) -> int:
        """Return how often in a row the model has failed."""
        found = await self.documents.get(EXPLANATIONS, [_LAST])
        return int(found.get(_LAST, {}).get("failures") or 0)

    async def purge(self, older_than_s: float) -> int:
        """Delete what was noted about calls that long ago; return how much."""
        old = {"at": {"$lt": self.clock.unix_s() - older_than_s}}
        gone = await self.documents.delete(EXPLANATIONS, old)
        return gone + await self.documents.delete(SPENT, old)

    def key_of(self, findings: Sequence[Finding]) -> str:
        """Return the hash of what an answer depends on, hexadecimal."""
        asked = [digest_of(findings), PROMPT_VERSION, self.model, FORM.name, FORM.schema]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    async def _find_answer(
        self, key: str, evidence: Evidence, score: float
    ) -> tuple[Completion, Aliases, bool] | None:
        now_s = self.clock.unix_s()
        row = (await self.documents.get(EXPLANATIONS, [key])).get(key)
        answers = SavedAnswers(self.documents, _KEY, clock=self.clock.unix_s)
        if row is not None and self._is_fresh(row, now_s):
            saved = await answers.find(row["step"])
            if saved is not None and not row.get("failures"):
                return saved, Aliases.from_document(row["aliases"]), False
            if now_s < float(row.get("retry_at") or 0):
                return None
        return await self._ask(key, row, answers, evidence, score)

    def _is_fresh(self, row: Document, now_s: float) -> bool:
        # A time in the future was written by a clock that was ahead.
        return 0 <= now_s - float(row["at"]) < self.settings.ai_worker_max_age_seconds

    async def _ask(
        self,
        key: str,
        row: Document | None,
        answers: SavedAnswers,
        evidence: Evidence,
        score: float,
    ) -> tuple[Completion, Aliases, bool] | None:
        now_s, aliases = self.clock.unix_s(), Aliases.of(listed_paths(evidence.view))
        messages = build_prompt(
            describe_values(evidence, aliases), describe_findings(evidence, aliases), score
        )
        plan = AskPlan(
            self.model, self.settings.reasoning_max_tokens, self.settings.reasoning_temperature
        )
        request = ChatRequest(self.model, messages, FORM, plan.max_answer_tokens, plan.temperature)
        if not await self._reserve(request.token_bound):
            return None
        step = f"{key[:32]}:{self.clock.now()}"
        failures = 0 if row is None else int(row.get("failures") or 0)
        await self._write(key, step=step, at=now_s, aliases=aliases.to_document())
        outcome = await ask_once(self.chat, answers, step, messages, FORM, plan=plan)
        if isinstance(outcome, AletheiaError):
            await self._note_failure(key, outcome, failures)
            return None
        await self._book(outcome)
        return outcome, aliases, True

    async def _note_failure(self, key: str, error: AletheiaError, failures: int = 0) -> None:
        log.warning("the model gave no explanation, the rules' own stands: %s", error)
        rows = await self.documents.get(EXPLANATIONS, [key, _LAST])
        failures = max(failures, int(rows.get(key, {}).get("failures") or 0)) + 1
        backoff = Backoff(RETRY_BASE_S, self.settings.ai_worker_max_age_seconds)
        retry_at = self.clock.unix_s() + backoff.pause_s(failures, asked_s=error.retry_after_s or 0)
        await self._write(key, failures=failures, retry_at=retry_at)
        last = int(rows.get(_LAST, {}).get("failures") or 0) + 1
        await self._write(_LAST, failures=last)

    async def _write(self, id_: str, **values: Any) -> None:
        await self.documents.upsert(EXPLANATIONS, [Update(id_, Change(set=values))])

    async def _reserve(self, bound: Tokens) -> bool:
        """Count a call of today, if the caps allow one; return whether they do."""
        now_s = self.clock.unix_s()
        day = day_of(now_s)
        await self.documents.insert(SPENT, [{"_id": day, "at": now_s, "calls": 0, "nanousd": 0}])
        left = round(self.settings.reasoning_usd_per_day * NANO) - self._cost_of(self.model, bound)
        where = {
            "calls": {"$lt": self.settings.reasoning_max_calls_per_day},
            "nanousd": {"$lte": left},
        }
        update = Update(day, Change(increase={"calls": 1}), where)
        (is_allowed,) = await self.documents.update(SPENT, [update])
        if not is_allowed:
            log.info("no explanation is asked for: the caps of today are reached")
        return is_allowed

    async def _book(self, completion: Completion) -> None:
        used = completion.used
        increase = {
            "nanousd": 0 if completion.is_mock else self._cost_of(completion.model, used),
            "tokens": used.total,
        }
        day = day_of(self.clock.unix_s())
        await self.documents.upsert(SPENT, [Update(day, Change(increase=increase))])

    def _cost_of(self, model: str, tokens: Tokens) -> int:
        return 0 if self.chat.is_mock else self.cost(self.chat.provider, model, tokens)


def check_explanation(answer: Explanation, evidence: Evidence) -> Explained:
    """Return what holds of an answer; a sentence that is there already is left out."""
    explained = Explained(shift=max(-MAX_SHIFT, min(MAX_SHIFT, answer.score_shift)))
    roles: tuple[tuple[Role, Sequence[Claim], list[str]], ...] = (
        ("insight", answer.insights, explained.insights),
        ("concern", answer.concerns, explained.concerns),
        ("positive", answer.positives, explained.positives),
    )
    for role, claims, kept in roles:
        for claim in claims[:MAX_CLAIMS]:
            sentence = _check(claim, evidence, role, explained.dropped)
            if sentence and sentence not in kept:
                kept.append(sentence)
    for advice in answer.advice[: 2 * MAX_CLAIMS]:
        if advice.finding not in evidence.findings:
            explained.dropped["unknown_ref"] += 1
        elif not _is_about(advice.claim, evidence.findings[advice.finding], evidence):
            explained.dropped["wrong_path"] += 1
        elif sentence := _check(advice.claim, evidence, "concern", explained.dropped):
            explained.advice.setdefault(advice.finding, sentence)
    if not explained.kept:
        explained.shift = 0.0  # who says nothing that holds has no say in the score
    explained.order = [id_ for id_ in dict.fromkeys(answer.order) if id_ in evidence.findings]
    return explained


def _is_about(claim: Claim, finding: Finding, evidence: Evidence) -> bool:
    """Return whether the first thing that a claim refers to is a finding, or it rests on that."""
    ref = claim.refs[0]
    if ref in (finding.id, f"{BOUNDS}{finding.id}"):
        return True
    return evidence.aliases.reveal(ref) in finding.evidence


def _check(claim: Claim, evidence: Evidence, role: Role, dropped: Counter[str]) -> str:
    try:
        return check_claim(claim, evidence, role)
    except Unsupported as reason:
        dropped[str(reason)] += 1
        return ""


def describe_values(evidence: Evidence, aliases: Aliases) -> list[Mapping[str, Any]]:
    """Return what a prompt shows of the values: those on the allow-list, with aliases."""
    rows: list[Mapping[str, Any]] = []
    for path in sorted(set(listed_paths(evidence.view))):
        measure = measure_of(path)
        if measure is None:
            continue
        hidden = aliases.hide(path)
        alias = entity_path(hidden).rpartition(".")[2]
        before = None if evidence.before is None else evidence.before.number(path)
        rows.append(
            {
                "path": hidden,
                "name": measure.title(alias.replace("_", " ")),
                "unit": measure.unit,
                "value": evidence.view.number(path),
                "before": before,
                "worse": measure.worse,
                "is_found": evidence.is_flagged(path),
            }
        )
    return rows


def describe_findings(evidence: Evidence, aliases: Aliases) -> list[Mapping[str, Any]]:
    """Return what a prompt shows of the findings: no text that holds names, but their titles."""
    return [
        {
            "id": finding.id,
            "severity": finding.severity,
            "title": finding.title,
            "paths": [aliases.hide(path) for path in finding.evidence if measure_of(path)],
            "bound": finding.limit,
            "because": [
                id_
                for id_ in (
                    evidence.rules[finding.id].because if finding.id in evidence.rules else ()
                )
                if id_ in evidence.findings
            ],
        }
        for finding in evidence.findings.values()
        if not finding.is_stale
    ]
