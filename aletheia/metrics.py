"""Every metric: its name, kind, unit, labels and sentence (SPEC §6, Metrics).

`docs/metrics.md` is written from this table. What is shown of all metrics together is never more
than `MAX_SERIES`.
"""

from collections.abc import Collection, Mapping, Sequence
from math import prod
from typing import Final

from aletheia.series import Label, Metric, Unit, bound_series, metric_name_of

MAX_SERIES: Final = 500
"""Lines that a scrape shows at most; each bucket of a histogram is one (SPEC §6)."""


def _counter(
    name: str, sentence: str, *labels: Label, sets: int | None = None, unit: Unit = ""
) -> Metric:
    return Metric(name, "counter", unit, sentence, labels, sets or _product(labels))


def _gauge(
    name: str,
    sentence: str,
    *labels: Label,
    sets: int | None = None,
    unit: Unit = "",
    is_counted: bool = False,
) -> Metric:
    bound = sets or _product(labels)
    return Metric(name, "gauge", unit, sentence, labels, bound, is_counted=is_counted)


def _histogram(
    name: str,
    sentence: str,
    *labels: Label,
    buckets: Sequence[float],
    sets: int | None = None,
    unit: Unit = "seconds",
) -> Metric:
    bound = sets or _product(labels)
    return Metric(name, "histogram", unit, sentence, labels, bound, tuple(buckets))


def _product(labels: Sequence[Label]) -> int:
    return prod(len(label.values) for label in labels)


TASK_EVENTS: Final = (
    *("claimed", "waiting", "succeeded", "failed"),
    *("conflict", "dead", "superseded", "rejected"),
)
"""What a task can come to, as `aletheia_tasks_total` counts it."""

UNFINISHED_STATES: Final = ("claimed", "processing", "queued", "waiting", "kept")
LANES: Final = ("intake", "bulk", "media", "llm")
TIERS: Final = ("minute", "hour", "day", "week", "month")
STEPS: Final = ("llm", "dedup", "mongodb", "brain")
STOP_REASONS: Final = (
    *("no_iterations_left", "threshold_reached", "token_budget", "cost_budget", "time_budget"),
    *("max_iterations_reached", "no_improvement", "unreadable_answers", "saturation"),
    "rate_limited",
)

_TYPE: Final = Label("type")
_CODE: Final = Label("code")
_LANE: Final = Label("lane", LANES)
_WORKED_LANE: Final = Label("lane", ("media", "llm"))
_PROVIDER: Final = Label("provider")
_MODEL: Final = Label("model")
_GPU: Final = Label("gpu")
_CALL: Final = Label("kind", ("embedding", "chat", "transcription"))
_TIER: Final = Label("tier", TIERS)
_DEPENDENCY: Final = Label("dependency")
_LIMITED: Final = Label("provider", ("openai", "ollama"))
_BUDGET: Final = Label("budget", ("BUDGET_USD_PER_DAY", "BUDGET_TOKENS_PER_DAY"))


def _outcome(*values: str) -> Label:
    return Label("outcome", values)


# Tasks.
TASKS: Final = _counter(
    "aletheia_tasks_total",
    "Tasks that came to this: claimed, deferred, reported as succeeded or failed, and so on.",
    *(_TYPE, Label("state", TASK_EVENTS)),
    sets=44,
)
TASK_FAILURES: Final = _counter(
    "aletheia_task_failures_total", "Tasks reported as failed, by their code.", _CODE, sets=10
)
TASK_RETRIES: Final = _counter(
    "aletheia_task_retries_total",
    "Computations of a task that failed and were tried again.",
    _TYPE,
    sets=6,
)
REPORT_RETRIES: Final = _counter(
    "aletheia_report_retries_total", "Reports that the upstream did not take, to be sent again."
)
TASK_DURATION: Final = _histogram(
    "aletheia_task_duration_seconds",
    "From the claim of a task to the acknowledged report.",
    _TYPE,
    sets=4,
    buckets=(0.5, 2, 10, 60, 300, 1800),
)
QUEUE_WAIT: Final = _histogram(
    "aletheia_queue_wait_seconds",
    "From the creation of a task, as the upstream tells it, to its claim.",
    _LANE,
    buckets=(1, 10, 60, 600, 3600, 86400),
)
LEDGER_ROWS: Final = _gauge(
    "aletheia_ledger_rows",
    "Tasks that the ledger still owes a report, by state.",
    Label("state", UNFINISHED_STATES),
    is_counted=True,
)
DEAD_LETTERS: Final = _gauge(
    "aletheia_dead_letters", "Dead letters that wait for somebody.", is_counted=True
)
DEAD_LETTERS_ADDED: Final = _counter(
    "aletheia_dead_letters_total", "Tasks that became dead letters, by code.", _CODE, sets=10
)
LANE_WAITING: Final = _gauge(
    "aletheia_lane_waiting",
    "Tasks that wait for the workers of a lane.",
    _WORKED_LANE,
    is_counted=True,
)
LANE_OLDEST_AGE: Final = _gauge(
    "aletheia_lane_oldest_age_seconds",
    "How long ago the oldest task that waits in a lane was claimed.",
    _LANE,
    unit="seconds",
)

# The upstream, and who signs in.
UPSTREAM_REQUESTS: Final = _counter(
    "aletheia_upstream_requests_total",
    "Requests sent to the upstream, by HTTP status, or by what came in place of one.",
    *(Label("endpoint", ("pending", "task")), Label("method", ("GET", "PATCH"))),
    Label("status"),
    sets=16,
)
UPSTREAM_DURATION: Final = _histogram(
    "aletheia_upstream_request_duration_seconds",
    "From sending a request to the end of its answer.",
    Label("endpoint", ("pending", "task")),
    buckets=(0.01, 0.05, 0.2, 1, 5),
)
SIGN_INS: Final = _counter(
    "aletheia_sign_ins_total",
    "Tokens asked of the upstream's token endpoint.",
    _outcome("succeeded", "failed"),
)
AUTHENTICATIONS: Final = _counter(
    "aletheia_authentications_total",
    "Callers of the service that were let in, or not.",
    _outcome("succeeded", "missing", "invalid", "forbidden", "unavailable"),
)

# Models and what they cost.
PROVIDER_CALLS: Final = _counter(
    "aletheia_provider_calls_total",
    "Calls to models that were sent, retries included.",
    *(_PROVIDER, _CALL, _outcome("succeeded", "failed")),
    sets=16,
)
PROVIDER_DURATION: Final = _histogram(
    "aletheia_provider_call_duration_seconds",
    "From sending a call to a model to the end of its answer; of `local`, its inference.",
    *(_PROVIDER, _CALL),
    sets=5,
    buckets=(0.05, 0.25, 1, 5, 20),
)
TOKENS: Final = _counter(
    "aletheia_tokens_total",
    "Tokens that models read and wrote, as settled.",
    *(_PROVIDER, _MODEL, Label("kind", ("input", "output"))),
    sets=22,
    unit="tokens",
)
COST: Final = _counter(
    "aletheia_cost_usd_total",
    "What calls to models cost, by the price table.",
    _PROVIDER,
    _MODEL,
    sets=10,
    unit="usd",
)
FALLBACKS: Final = _counter(
    "aletheia_fallbacks_total", "Results of another provider than the one asked first."
)
CACHED_RESULTS: Final = _counter(
    "aletheia_cached_results_total", "Results that had been made before."
)
MODEL_LOADS: Final = _counter(
    "aletheia_model_loads_total", "Times a local model was loaded.", _MODEL, sets=6
)
MODEL_LOAD_DURATION: Final = _histogram(
    "aletheia_model_load_seconds", "How long loading a local model took.", buckets=(1, 5, 15, 60)
)
MODEL_EVICTIONS: Final = _counter(
    "aletheia_model_evictions_total", "Models that were unloaded to free memory for another."
)
MODEL_MEMORY: Final = _gauge(
    "aletheia_model_memory_bytes",
    "What a loaded model takes in all processes together.",
    _MODEL,
    sets=6,
    unit="bytes",
)
CPU_SECONDS: Final = _counter(
    "aletheia_run_cpu_seconds_total",
    "Processor time of finished shifts, in the poller and in the processes of models.",
    Label("process", ("poller", "model")),
    unit="seconds",
)
GPU_MEMORY_USED: Final = _gauge(
    "aletheia_gpu_memory_used_bytes",
    "Memory in use of a graphics processor of the service's machine; none where there is none.",
    _GPU,
    sets=4,
    unit="bytes",
)
GPU_MEMORY: Final = _gauge(
    "aletheia_gpu_memory_bytes",
    "Memory of a graphics processor of the service's machine.",
    _GPU,
    sets=4,
    unit="bytes",
)
GPU_BUSY: Final = _gauge(
    "aletheia_gpu_busy_ratio",
    "How busy a graphics processor of the service's machine was lately, 0 to 1.",
    _GPU,
    sets=4,
)

# Limits, breakers, budgets.
RATE_LIMIT_USED: Final = _gauge(
    "aletheia_rate_limit_used", "Units that count against a limit now.", _LIMITED, _TIER
)
RATE_LIMIT: Final = _gauge(
    "aletheia_rate_limit",
    "Units that a limit allows; none where nothing is limited.",
    _LIMITED,
    _TIER,
)
RATE_LIMIT_EXCEEDED: Final = Metric(
    "aletheia_rate_limit_exceeded_total",
    "counter",
    "",
    "Calls that a limit refused.",
    (_LIMITED, _TIER),
    2 * len(TIERS),
    is_counted=False,  # the limiter counts them itself, in the same way
)
BREAKER_STATE: Final = _gauge(
    "aletheia_breaker_state", "0 closed, 1 half-open, 2 open.", _DEPENDENCY, sets=8
)
BREAKER_OPENINGS: Final = _counter(
    "aletheia_breaker_openings_total",
    "Times a breaker opened, or stayed open after a probe.",
    _DEPENDENCY,
    sets=8,
)
BUDGET_SPENT: Final = _gauge(
    "aletheia_budget_spent", "Spent of a budget today, USD or tokens.", _BUDGET
)
BUDGET_LIMIT: Final = _gauge(
    "aletheia_budget_limit",
    "The budget of a day, USD or tokens; none where nothing is bounded.",
    _BUDGET,
)

# Gather.
GATHER_RUNS: Final = _counter(
    "aletheia_gather_runs_total",
    "Gather runs that ended.",
    Label("status", ("completed", "cancelled")),
)
GATHER_DEPARTMENTS: Final = _counter(
    "aletheia_gather_departments_total",
    "Departments that a run was done with, by reason.",
    Label("reason", STOP_REASONS),
)
GATHER_ITERATIONS: Final = _counter(
    "aletheia_gather_iterations_total", "Iterations done.", Label("department"), sets=12
)
GATHER_ITEMS: Final = _counter(
    "aletheia_gather_items_total",
    "Items by what became of them; the duplicate rate is `duplicate` over `generated`.",
    _outcome("generated", "duplicate", "saved"),
    unit="items",
)
GATHER_ITERATION_ITEMS: Final = _histogram(
    "aletheia_gather_iteration_items",
    "Items that one iteration saved.",
    buckets=(0, 2, 4, 6, 8),
    unit="items",
)
GATHER_QUALITY: Final = _histogram(
    "aletheia_gather_quality_percent",
    "Quality of a department after an iteration, 0 to 100.",
    buckets=(20, 40, 60, 70, 80, 90),
    unit="percent",
)
GATHER_TIME_TO_THRESHOLD: Final = _histogram(
    "aletheia_gather_time_to_threshold_seconds",
    "How long a run had worked when a department reached its threshold.",
    buckets=(15, 60, 180, 600),
)
STEP_DURATION: Final = _histogram(
    "aletheia_step_duration_seconds",
    "Time of a gather run's steps: asking models, deduplication, MongoDB, and the Brain.",
    Label("step", STEPS),
    buckets=(0.1, 0.5, 2, 10, 60),
)
BRAIN_ITEMS: Final = _counter(
    "aletheia_brain_items_total",
    "Items that the Brain took or refused.",
    _outcome("indexed", "refused"),
    unit="items",
)
BRAIN_OUTBOX: Final = _gauge(
    "aletheia_brain_outbox",
    "Batches of items, and evaluations, that the Brain lacks.",
    is_counted=True,
)
EVENTS_ADDED: Final = _counter(
    "aletheia_events_total", "Events of gather runs.", Label("type"), sets=8
)

# Reasoning.
REASONING_RUNS: Final = _counter(
    "aletheia_reasoning_runs_total",
    "Runs of system reasoning.",
    _outcome("model", "rules", "failed"),
)
REASONING_DURATION: Final = _histogram(
    "aletheia_reasoning_duration_seconds", "How long one run took.", buckets=(0.1, 1, 10, 60)
)
REASONING_CLAIMS: Final = _counter(
    "aletheia_reasoning_claims_total",
    "Claims of the model that were kept or dropped.",
    _outcome("kept", "dropped"),
)
FINDINGS: Final = _gauge(
    "aletheia_findings",
    "Findings of the last run, by severity.",
    Label("severity", ("critical", "high", "medium", "low")),
)
HEALTH_SCORE: Final = _gauge("aletheia_health_score", "Health of the system, 0 to 100.")

# The scrape itself.
SOURCE_UP: Final = _gauge(
    "aletheia_source_up",
    "Whether a source of this page answered in time: 1 or 0.",
    Label("source"),
    sets=8,
)
SCRAPE_DURATION: Final = _gauge(
    "aletheia_scrape_duration_seconds", "How long reading the sources took.", unit="seconds"
)
LOWERED: Final = _counter(
    "aletheia_counters_lowered_total",
    "Counters that the store had less of than before, as after a restored copy.",
)

METRICS: Final[tuple[Metric, ...]] = tuple(
    value for value in list(globals().values()) if isinstance(value, Metric)
)
BY_NAME: Final[Mapping[str, Metric]] = {metric.name: metric for metric in METRICS}


def bound_name(name: str, known: Collection[str]) -> str:
    """Return the name under which a number of the store is added to, see `bound_series`.

    A name of no metric of this table, as of a newer version, stays as it is.
    """
    metric = BY_NAME.get(metric_name_of(name))
    return name if metric is None else bound_series(metric, name, known)
