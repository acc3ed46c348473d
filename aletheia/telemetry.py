"""Traces: their names, and how spans are begun (SPEC §6, Traces).

All names of the GenAI conventions of OpenTelemetry, v0.1.0
(https://github.com/open-telemetry/semantic-conventions-genai), stand here. Without an SDK, which
the extra `otel` brings and `aletheia.adapters.telemetry` starts, all of this does nothing.

One trace leads from a poll to the reports of what it brought, one from a finding to the plan that
was carried out. Whoever goes on in another process, or in another step, names the span before by
its `traceparent` (https://www.w3.org/TR/trace-context/), which is kept beside the work.
"""

import json
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, TypeAlias

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from pydantic import Field

from aletheia.errors import AletheiaError
from aletheia.settings import Settings

SCOPE: Final = "aletheia"
"""Name of the instrumentation."""

POLL: Final = "aletheia.poll"
COMPUTE: Final = "aletheia.compute"
REPORT: Final = "aletheia.report"
REPLAY: Final = "aletheia.replay"
FINDING: Final = "aletheia.reasoning.finding"
PLAN: Final = "aletheia.reasoning.plan"
PLAN_STEP: Final = "aletheia.reasoning.plan.step"
"""Names of our own spans."""

TASKS: Final = "aletheia.tasks"
TASK_IDS: Final = "aletheia.task.ids"
RUN_ID: Final = "aletheia.run.id"
COMPUTATION_ID: Final = "aletheia.computation.id"
FINDING_ID: Final = "aletheia.finding.id"
PLAN_ID: Final = "aletheia.plan.id"
"""Names of our own attributes."""

MAX_TASK_IDS: Final = 128
"""Tasks of a batch that its span names."""

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
ERROR_TYPE: Final = "error.type"

OPERATIONS: Final[Mapping[str, str]] = {
    "embedding": "embeddings",
    "chat": "chat",
    "transcription": "transcription",
}
"""Names of operations by our kinds of calls."""

INFERENCE_DURATION: Final = "gen_ai.client.inference.duration"
INFERENCE_INPUT_TOKENS: Final = "gen_ai.client.inference.usage.input_tokens"
INFERENCE_OUTPUT_TOKENS: Final = "gen_ai.client.inference.usage.output_tokens"
EMBEDDINGS_DURATION: Final = "gen_ai.client.embeddings.duration"
EMBEDDINGS_INPUT_TOKENS: Final = "gen_ai.client.embeddings.operation.input_tokens"
"""Names of metrics."""

DURATION_BUCKETS: Final = tuple(0.01 * 2**power for power in range(14))
TOKEN_BUCKETS: Final = tuple(float(4**power) for power in range(14))
"""Upper ends of buckets that the conventions advise, seconds and tokens."""

Attributes: TypeAlias = Mapping[str, str | int | float | bool | Sequence[str]]

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_METER: Final = metrics.get_meter(SCOPE)
_DURATIONS: Final = {
    "embedding": _METER.create_histogram(
        EMBEDDINGS_DURATION,
        unit="s",
        description="GenAI client embeddings operation duration.",
        explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
    ),
    "chat": _METER.create_histogram(
        INFERENCE_DURATION,
        unit="s",
        description="GenAI client inference operation duration.",
        explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
    ),
}
_EMBEDDED_TOKENS: Final = _METER.create_histogram(
    EMBEDDINGS_INPUT_TOKENS,
    unit="{token}",
    description="The number of input tokens used per embeddings operation.",
    explicit_bucket_boundaries_advisory=TOKEN_BUCKETS,
)
_READ_TOKENS: Final = _METER.create_counter(
    INFERENCE_INPUT_TOKENS, unit="{token}", description="Input tokens of inference."
)
_WRITTEN_TOKENS: Final = _METER.create_counter(
    INFERENCE_OUTPUT_TOKENS, unit="{token}", description="Output tokens of inference."
)


class TelemetrySettings(Settings):
    """Where traces go."""

    otel_exporter_otlp_endpoint: str | None = Field(
        default=None,
        description="Root of an OTLP receiver over HTTP, such as `http://localhost:4318`; empty: "
        "no traces. Needs the extra `otel`.",
    )
    otel_service_name: str = Field(
        default="aletheia", min_length=1, description="Name of the service in traces."
    )
    otel_instrumentation_genai_capture_message_content: bool = Field(
        default=False, description="Whether traces hold the content of prompts and answers."
    )


class ContentSwitch:
    """Whether spans hold the content of prompts and answers, in this process; off at first."""

    is_on = False


CONTENT: Final = ContentSwitch()


class ModelCall:
    """The span of one call to a model, and what is measured about it."""

    def __init__(
        self, provider: str, model: str, kind: str, about: Attributes | None = None
    ) -> None:
        self._kind, self._began_s = kind, time.monotonic()
        self._labels = {
            OPERATION: OPERATIONS.get(kind, kind),
            PROVIDER: provider,
            REQUEST_MODEL: model,
        }
        self.span = trace.get_tracer(SCOPE).start_span(
            f"{self._labels[OPERATION]} {model}",
            kind=SpanKind.CLIENT,
            attributes={**self._labels, **(about or {})},
        )

    def used(self, read: int, written: int = 0) -> None:
        """Note the tokens that the model read and wrote."""
        self.span.set_attribute(INPUT_TOKENS, read)
        if self._kind == "embedding":
            _EMBEDDED_TOKENS.record(read, self._labels)
            return
        self.span.set_attribute(OUTPUT_TOKENS, written)
        _READ_TOKENS.add(read, self._labels)
        _WRITTEN_TOKENS.add(written, self._labels)

    def end(self, error: BaseException | None = None) -> None:
        """End the span, with the error that ended the call, if one did."""
        labels = self._labels
        if error is not None:
            labels = {**labels, ERROR_TYPE: _mark_error(self.span, error)}
        if self._kind in _DURATIONS:
            took_s = time.monotonic() - self._began_s
            _DURATIONS[self._kind].record(took_s, labels)
        self.span.end()


@contextmanager
def model_call(
    provider: str, model: str, kind: str, about: Attributes | None = None
) -> Generator[ModelCall]:
    """Trace one call to a model, an `embedding` or a `chat`; what is sent within belongs to it.

    `about`: further attributes of its span, which no metric gets.
    """
    call = ModelCall(provider, model, kind, about)
    try:
        with trace.use_span(call.span, record_exception=False, set_status_on_exception=False):
            yield call
    except BaseException as error:
        call.end(error)
        raise
    call.end()


@contextmanager
def span(
    name: str, *, parent: str | None = None, attributes: Attributes | None = None
) -> Generator[Span]:
    """Trace a block as one of our own spans, under the current one or the one that is named."""
    begun = trace.get_tracer(SCOPE).start_span(
        name, context=_context_of(parent), attributes=attributes
    )
    try:
        with trace.use_span(begun, record_exception=False, set_status_on_exception=False):
            yield begun
    except BaseException as error:
        _mark_error(begun, error)
        raise
    finally:
        begun.end()


def current_traceparent() -> str | None:
    """Return the name of the current span, for whoever goes on from it; `None` outside of one."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get("traceparent")


def record_content(*, prompt: Sequence[tuple[str, str]] = (), answer: str | None = None) -> None:
    """Add a prompt (roles, texts) and an answer to the current span, if that is switched on."""
    if not CONTENT.is_on:
        return
    current = trace.get_current_span()
    if prompt:
        current.set_attribute(INPUT_MESSAGES, _messages(prompt))
    if answer is not None:
        current.set_attribute(OUTPUT_MESSAGES, _messages([("assistant", answer)]))


def _messages(messages: Sequence[tuple[str, str]]) -> str:
    return json.dumps(
        [{"role": role, "parts": [{"type": "text", "content": text}]} for role, text in messages]
    )


def _context_of(traceparent: str | None) -> Context | None:
    """Return the context of a span that is named; a name that makes no sense begins a trace."""
    return None if traceparent is None else _PROPAGATOR.extract({"traceparent": traceparent})


def _mark_error(failed: Span, error: BaseException) -> str:
    """Note what ended a span, without its message, which may hold anything; return its kind."""
    kind = error.code if isinstance(error, AletheiaError) else type(error).__name__
    failed.set_attribute(ERROR_TYPE, kind)
    failed.set_status(StatusCode.ERROR)
    return kind
