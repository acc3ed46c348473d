"""What reasoning about the system comes to: summary, recommendations, plan (SPEC §5)."""

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

from pydantic import AwareDatetime, BaseModel, Field

from aletheia.reasoning.findings import Finding, Health
from aletheia.reasoning.rules.rule import ActionType, Category, Effort, Severity
from aletheia.reasoning.snapshot import SystemSnapshot

MIN_INSIGHTS: Final = 3
MAX_INSIGHTS: Final = 5
"""Key insights of a summary (SPEC §5)."""

Decision: TypeAlias = Literal["open", "accepted", "dismissed", "snoozed"]
"""What a person decided about a recommendation."""

Risk: TypeAlias = Literal["low", "medium", "high"]


class FoundProblem(BaseModel, frozen=True):
    """A finding: what needs attention, by which rule, and the values it rests on."""

    id: str = Field(description="Id of its rule.")
    severity: Severity = Field(description="How bad it is.")
    text: str = Field(description="What was found, in a sentence.")
    evidence: dict[str, Any] = Field(description="The values it rests on, by snapshot path.")
    source: str = Field(default="", description="The source that its rule depends on.")
    title: str = Field(default="", description="What was found, without a figure.")
    limit: float | None = Field(default=None, description="The bound that is reached.")
    weight: float | None = Field(default=None, description="What it costs the score, points.")
    is_stale: bool = Field(
        default=False, description="Whether its source failed, and it is what was found before."
    )

    @classmethod
    def of(cls, finding: Finding) -> "FoundProblem":
        """Return a finding in this form."""
        return cls(**finding.to_document())

    def to_finding(self) -> Finding:
        """Return the finding."""
        return Finding(**self.model_dump())


class AISummary(BaseModel, frozen=True):
    """How the system is, in a few sentences; what changed comes first."""

    overall_health: Health = Field(description="The health by its name.")
    health_score: float = Field(ge=0, le=100, description="The health score, 0 to 100.")
    key_insights: tuple[str, ...] = Field(
        max_length=MAX_INSIGHTS, description="Three to five sentences, what changed before others."
    )
    concerns: tuple[str, ...] = Field(description="What needs attention, the worst first.")
    positives: tuple[str, ...] = Field(description="What goes well.")
    generated_at: AwareDatetime = Field(description="When it was made, UTC.")


class AIRecommendation(BaseModel, frozen=True):
    """Something to do about a finding, and what became of it."""

    id: str = Field(description="Its id; the same for the same finding.")
    priority: Severity = Field(description="How much it matters: the severity of its finding.")
    category: Category = Field(description="What it is about.")
    title: str = Field(description="What to do, in a few words.")
    description: str = Field(description="What to do, and why.")
    impact: str = Field(description="What gets better.")
    effort: Effort = Field(description="How much work it is.")
    action_type: ActionType | None = Field(
        default=None, description="The action that carries it out, where there is one."
    )
    action_payload: dict[str, Any] = Field(
        default_factory=dict[str, Any], description="The parameters of the action."
    )
    finding: str = Field(default="", description="Id of the finding it answers.")
    decision: Decision = Field(default="open", description="What a person decided about it.")
    outcome: str = Field(
        default="", description="After it was carried out: whether its finding went away."
    )


class PlanStep(BaseModel, frozen=True):
    """One step of a plan."""

    step: int = Field(ge=1, description="Its number, from 1.")
    action: str = Field(description="The action, or `manual`.")
    description: str = Field(description="What is done, and why.")
    automated: bool = Field(description="Whether it can be carried out without a person.")
    estimated_duration: str = Field(description="How long it takes, in words.")
    payload: dict[str, Any] = Field(
        default_factory=dict[str, Any], description="The parameters of the action."
    )
    recommendation: str = Field(default="", description="Id of the recommendation it carries out.")


class AIActionPlan(BaseModel, frozen=True):
    """Steps towards a better health, in order."""

    plan_id: str = Field(description="Its id; the same for the same steps and findings.")
    title: str = Field(description="What it is, in a few words.")
    objective: str = Field(description="What it aims at.")
    steps: tuple[PlanStep, ...] = Field(description="The steps, in order.")
    estimated_duration: str = Field(description="How long all of it takes, in words.")
    risk_level: Risk = Field(description="How much can go wrong.")
    automated: bool = Field(description="Whether all of it can be carried out without a person.")
    digest: str = Field(
        default="", description="SHA-256 of the plan and its findings, which an approval names."
    )


class AIReasoningOutput(BaseModel, frozen=True):
    """Everything that one reasoning run came to."""

    reasoning_id: str = Field(description="Its id.")
    timestamp: AwareDatetime = Field(description="When it was made, UTC.")
    snapshot: SystemSnapshot = Field(description="The snapshot that it rests on.")
    summary: AISummary = Field(description="How the system is.")
    recommendations: tuple[AIRecommendation, ...] = Field(
        description="What to do, the most important first."
    )
    action_plan: AIActionPlan = Field(description="The steps that can be carried out.")
    execution_time_ms: int = Field(ge=0, description="How long it took, milliseconds.")
    findings: tuple[FoundProblem, ...] = Field(
        default=(), description="What the rules found, the worst first."
    )
    explained_by: str = Field(
        default="rules", description="The model whose claims survived, or `rules`."
    )
    mock: bool = Field(default=False, description="Whether a mock explained it.")
    dropped_claims: dict[str, int] = Field(
        default_factory=dict[str, int], description="Claims of the model that were dropped, by why."
    )

    @property
    def found(self) -> list[Finding]:
        """The findings."""
        return [problem.to_finding() for problem in self.findings]


def count_reasons(reasons: Mapping[str, int]) -> str:
    """Return reasons with their counts, in words."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
