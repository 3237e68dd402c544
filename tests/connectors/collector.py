"""A collector of OpenTelemetry's, as far as traces go: what arrives over OTLP, protobuf by HTTP."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.connectors.faults import Exchange, web_server


@dataclass
class Collector:
    """What was sent to it.

    Attributes:
        url: for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    """

    url: str = ""
    received: list[ExportTraceServiceRequest] = field(default_factory=list)

    def take(self, exchange: Exchange) -> None:
        """One request."""
        body = exchange.asked.body
        packed = exchange.asked.headers.get("content-encoding") == "gzip"
        self.received.append(ExportTraceServiceRequest.FromString(gzip.decompress(body) if packed else body))
        exchange.answer(200, headers={"content-type": "application/x-protobuf"})

    @property
    def services(self) -> set[str]:
        """Who sent spans."""
        return {
            one.value.string_value
            for request in self.received
            for resource in request.resource_spans
            for one in resource.resource.attributes
            if one.key == "service.name"
        }

    @property
    def spans(self) -> list[Span]:
        """All of them."""
        return [
            span
            for request in self.received
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@contextmanager
def collector() -> Iterator[Collector]:
    """One that ends with the block."""
    made = Collector()
    with web_server(routes={"/v1/traces": made.take}) as server:
        made.url = server.url("")
        yield made
