"""Spans of OpenTelemetry, in the trace that a request came with; without the extra `[otel]` nothing at all."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from connectors.errors import SettingsError


@cache
def _tracer() -> Any:  # noqa: ANN401 - None without the package
    try:
        from opentelemetry import trace  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        return None
    return trace.get_tracer("dmcl")


def span(
    name: str, traceparent: str | None = None, attributes: Mapping[str, str] | None = None
) -> AbstractContextManager[object]:
    """A span around a block.

    Args:
        name: what is done.
        traceparent: W3C trace context to hang it into; without, the span that is open in this thread.
        attributes: of the span; no secrets.
    """
    tracer = _tracer()
    if tracer is None:
        return nullcontext()
    context = None
    if traceparent is not None:
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415 - an extra
            TraceContextTextMapPropagator,
        )

        context = TraceContextTextMapPropagator().extract({"traceparent": traceparent})
    opened: AbstractContextManager[object] = tracer.start_as_current_span(
        name, context=context, attributes=dict(attributes or {})
    )
    return opened


def export() -> None:
    """Send spans where `OTEL_EXPORTER_OTLP_ENDPOINT` says, as the service `OTEL_SERVICE_NAME` or `dmcl`.

    Raises:
        SettingsError: the packages for it are not installed.
    """
    try:
        from opentelemetry import trace  # noqa: PLC0415 - an extra
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SettingsError(f"service.tracing needs {error.name}: pip install 'dmcl-sdk[otel]'") from error
    # the environment's name comes first, because `create` lays it over what it is given
    provider = TracerProvider(resource=Resource.create({"service.name": "dmcl"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
