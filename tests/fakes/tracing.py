"""A tracer that remembers its spans, on OpenTelemetry's API alone."""

import itertools
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    NoOpTracer,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TracerProvider,
)
from opentelemetry.util.types import Attributes, AttributeValue
from typing_extensions import override

from aletheia.telemetry import SCOPE


class RecordedSpan(Span):
    """A span that remembers what is said about it."""

    def __init__(self, name: str, context: SpanContext, parent: SpanContext | None) -> None:
        self.name, self.parent = name, parent
        self.attributes: dict[str, Any] = {}
        self.status: StatusCode | None = None
        self.kind = SpanKind.INTERNAL
        self.is_ended = False
        self._context = context

    @property
    def trace_id(self) -> int:
        """The trace that it belongs to."""
        return self._context.trace_id

    @property
    def span_id(self) -> int:
        """Its own number."""
        return self._context.span_id

    def end(self, end_time: int | None = None) -> None:
        """End it."""
        del end_time
        self.is_ended = True

    def get_span_context(self) -> SpanContext:
        """Return what names it."""
        return self._context

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Remember attributes."""
        self.attributes.update(attributes)

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Remember an attribute."""
        self.attributes[key] = value

    def add_event(
        self, name: str, attributes: Attributes = None, timestamp: int | None = None
    ) -> None:
        """Refuse: nothing of ours adds events."""
        raise AssertionError(name, attributes, timestamp)

    def update_name(self, name: str) -> None:
        """Rename it."""
        self.name = name

    def is_recording(self) -> bool:
        """Return that it is."""
        return True

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Remember the status; a description might hold anything, and is refused."""
        assert description is None
        self.status = status if isinstance(status, StatusCode) else status.status_code

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Refuse: an exception's message might hold anything."""
        raise AssertionError(exception, attributes, timestamp, escaped)


class RequestSpan(RecordedSpan):
    """A span of FastAPI's, which adds events and describes statuses."""

    @override
    def add_event(
        self, name: str, attributes: Attributes = None, timestamp: int | None = None
    ) -> None:
        del name, attributes, timestamp

    @override
    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        del status, description

    @override
    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        del exception, attributes, timestamp, escaped


class _RecordingTracer(Tracer):
    def __init__(self, spans: list[RecordedSpan], kind: type[RecordedSpan] = RecordedSpan) -> None:
        self._spans, self._kind, self._numbers = spans, kind, itertools.count(1)

    @override
    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Any] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> RecordedSpan:
        del links, start_time, record_exception, set_status_on_exception
        above = trace.get_current_span(context).get_span_context()
        parent = above if above.is_valid else None
        number = next(self._numbers)
        trace_id = 1000 + number if parent is None else parent.trace_id
        flags = TraceFlags(TraceFlags.SAMPLED)
        span = self._kind(name, SpanContext(trace_id, number, False, flags), parent)
        span.kind = kind
        span.set_attributes(attributes or {})
        self._spans.append(span)
        return span

    @contextmanager
    def start_as_current_span(self, name: str, *args: Any, **kwargs: Any) -> Generator[Span]:  # pyright: ignore[reportIncompatibleMethodOverride] - nothing of ours calls it
        with trace.use_span(self.start_span(name, *args, **kwargs), end_on_exit=True) as span:
            yield span


class RecordingProvider(TracerProvider):
    """Hands out tracers that all remember their spans here."""

    def __init__(self) -> None:
        self.spans: list[RecordedSpan] = []
        self.requests: list[RecordedSpan] = []
        self._tracer = _RecordingTracer(self.spans)
        self._request_tracer = _RecordingTracer(self.requests, RequestSpan)

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> Tracer:
        """Return the tracer of our own spans, or of requests; those of others go nowhere."""
        del instrumenting_library_version, schema_url, attributes
        if instrumenting_module_name.partition(".")[0] == "fastapi":
            return self._request_tracer
        return self._tracer if instrumenting_module_name == SCOPE else NoOpTracer()

    def named(self, name: str) -> list[RecordedSpan]:
        """Return the spans with a name, oldest first."""
        return [span for span in self.spans if span.name == name]


PROVIDER = RecordingProvider()
"""A process takes one provider, for ever."""


def recording() -> RecordingProvider:
    """Return the provider, without the spans of before."""
    if trace.get_tracer_provider() is not PROVIDER:
        trace.set_tracer_provider(PROVIDER)
    PROVIDER.spans.clear()
    PROVIDER.requests.clear()
    return PROVIDER
