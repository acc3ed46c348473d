"""How the system is reasoned about: when, by which model, and from where on something is found."""

from typing import Annotated, Final, TypeAlias

from pydantic import Field

from aletheia.settings import Settings

MIN_TEMPERATURE: Final = 0.3
MAX_TEMPERATURE: Final = 0.7
MAX_ANSWER_TOKENS: Final = 1000
"""Bounds of a question to a model (SPEC §5)."""

Count: TypeAlias = Annotated[int, Field(ge=1)]
Seconds: TypeAlias = Annotated[float, Field(gt=0)]
Share: TypeAlias = Annotated[float, Field(gt=0, le=1)]


class ReasoningSettings(Settings):
    """How often the system is reasoned about, by which model, at what cost."""

    ai_worker_enabled: bool = Field(
        default=True,
        description="Whether `system_reasoning` works; if not, its shifts end at once.",
    )
    ai_worker_interval_seconds: float = Field(
        default=30, ge=1, description="From one reasoning run of a shift to the next, seconds."
    )
    ai_worker_max_age_seconds: float = Field(
        default=900,
        ge=30,
        description="How long a model's explanation of the same findings is used, seconds.",
    )
    reasoning_model: str | None = Field(
        default=None, description="Model that explains findings; empty: DEFAULT_LLM_MODEL."
    )
    reasoning_temperature: float = Field(
        default=0.3,
        ge=MIN_TEMPERATURE,
        le=MAX_TEMPERATURE,
        description="Of the model that explains findings.",
    )
    reasoning_max_tokens: int = Field(
        default=MAX_ANSWER_TOKENS,
        ge=100,
        le=MAX_ANSWER_TOKENS,
        description="Tokens that the model may answer with.",
    )
    reasoning_max_calls_per_day: int = Field(
        default=400,
        ge=0,
        description="Questions to the model per UTC day; 0 leaves it to the rules.",
    )
    reasoning_usd_per_day: float = Field(
        default=2.0,
        ge=0,
        description="What explanations may cost per UTC day, beside the budgets, USD.",
    )
    reasoning_retention_days: float = Field(
        default=30, gt=0, description="How long reasoning runs stay in the history, days."
    )
    collector_timeout_seconds: float = Field(
        default=5, gt=0, description="For each source of a snapshot, seconds."
    )
    approval_ttl_seconds: float = Field(
        default=3600, ge=60, description="How long an approval of a plan can be used, seconds."
    )
    plan_step_timeout_seconds: float = Field(
        default=1800, gt=0, description="For one step of a plan that is carried out, seconds."
    )


class FindingSettings(Settings):
    """From where on something is a finding; each bound is inclusive."""

    finding_queue_pending: Count = Field(default=1000, description="Pending tasks, medium.")
    finding_queue_pending_high: Count = Field(default=10_000, description="Pending tasks, high.")
    finding_queue_failed: Count = Field(default=10, description="Dead letters, low.")
    finding_queue_failed_high: Count = Field(default=500, description="Dead letters, high.")
    finding_tasks_deferred: Count = Field(default=100, description="Deferred tasks, medium.")
    finding_leases_expired: Count = Field(default=20, description="Leases run out, medium.")
    finding_takeover_seconds: Seconds = Field(
        default=900, description="Age of the oldest lease that ran out, high, seconds."
    )
    finding_lane_waiting: Count = Field(
        default=500, description="Tasks that wait in a lane, medium."
    )
    finding_lane_age_seconds: Seconds = Field(
        default=3600, description="Age of the oldest task in a lane, high, seconds."
    )
    finding_runs_late: Count = Field(default=3, description="Late runs, medium.")
    finding_runs_late_high: Count = Field(default=20, description="Late runs, high.")
    finding_scheduler_pending: Count = Field(default=1000, description="Scheduled runs, medium.")
    finding_jobs_pending: Count = Field(default=20, description="Runs without a worker, medium.")
    finding_jobs_failed: Count = Field(default=3, description="Failed runs in 24 h, medium.")
    finding_jobs_failed_high: Count = Field(default=25, description="Failed runs in 24 h, high.")
    finding_runs_crashed: Count = Field(default=2, description="Crashed runs in 24 h, medium.")
    finding_silence_seconds: Seconds = Field(
        default=3600, description="Since the newest run began, high, seconds."
    )
    finding_run_seconds: Seconds = Field(
        default=7200, description="Age of the oldest run that is still under way, medium, seconds."
    )
    finding_publish_rate: Share = Field(
        default=0.9, description="Success rate of publications below which it is medium."
    )
    finding_publish_rate_high: Share = Field(
        default=0.75, description="Success rate of publications below which it is high."
    )
    finding_publish_rate_critical: Share = Field(
        default=0.5, description="Success rate of publications below which it is critical."
    )
    finding_publish_failed: Count = Field(default=20, description="Failed publications, low.")
    finding_clips_ready: Count = Field(
        default=10, description="Clips that are ready, below which it is medium."
    )
    finding_clips_pending: Count = Field(default=100, description="Clips to analyse, low.")
    finding_campaigns_draft: Count = Field(default=20, description="Drafts of campaigns, low.")
    finding_alerts_critical: Count = Field(default=1, description="Critical alerts, high.")
    finding_alerts_critical_many: Count = Field(default=5, description="Critical alerts, critical.")
    finding_alerts_warning: Count = Field(default=10, description="Warnings, medium.")
    finding_budget_share: Share = Field(default=0.8, description="Spent share of a budget, medium.")
    finding_limit_share: Share = Field(default=0.8, description="Used share of a rate limit, low.")
    finding_limit_refusals: Count = Field(
        default=500, description="Requests that a rate limit refused, low."
    )
    finding_breaker_failures: Count = Field(
        default=3, description="Failures in a row of a dependency, low."
    )
    finding_brain_waiting: Count = Field(
        default=200, description="Batches that wait for the Brain, medium."
    )
    finding_brain_refused: Count = Field(default=1, description="Items the Brain refused, low.")
    finding_dead_events: Count = Field(default=1, description="Events that were given up, low.")
    finding_gather_failed: Count = Field(
        default=1, description="Failed gather runs in 24 h, medium."
    )
    finding_gather_seconds: Seconds = Field(
        default=3600, description="Age of the oldest open gather run, medium, seconds."
    )
    finding_evaluations_waiting: Count = Field(
        default=10, description="Evaluations that never got a run, medium."
    )
    finding_models_memory: Share = Field(
        default=0.95, description="Share of MODEL_MEMORY_MAX that models take, low."
    )
    finding_workers_lost: Count = Field(
        default=1, description="Workers that send no heartbeat any more, medium."
    )
    finding_task_failure_share: Share = Field(
        default=0.2, description="Share of tasks that failed since the last snapshot, medium."
    )
