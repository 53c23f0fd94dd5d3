"""A collector: it takes spans over OTLP/HTTP and shows them as plain values."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request, Response
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.running import serving


@dataclass(frozen=True)
class Exported:
    """One span. Ids are hexadecimal, as in a traceparent; `above` is "" where the trace begins."""

    name: str
    kind: str
    trace: str
    id: str
    above: str
    attributes: dict[str, Any]
    links: list[tuple[str, str]]
    has_failed: bool
    service: str


@dataclass
class Collector:
    """What came in so far."""

    bodies: list[bytes] = field(default_factory=list)
    url: str = ""

    @property
    def spans(self) -> list[Exported]:
        return [span for body in self.bodies for span in _decoded(body)]

    def named(self, name: str) -> list[Exported]:
        return [span for span in self.spans if span.name == name]

    def below(self, span: Exported) -> list[Exported]:
        """The spans right below one, in the order in which they ended."""
        return [other for other in self.spans if (other.trace, other.above) == (span.trace, span.id)]


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A running collector."""
    collector = Collector()
    app = FastAPI()

    @app.post("/v1/traces")
    async def take(request: Request) -> Response:
        collector.bodies.append(await request.body())
        return Response(media_type="application/x-protobuf")

    async with serving(app) as collector.url:
        yield collector


def _decoded(body: bytes) -> Iterator[Exported]:
    for sender in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = _plain(sender.resource.attributes)["service.name"]
        for scope in sender.scope_spans:
            for span in scope.spans:
                yield Exported(
                    name=span.name,
                    kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    above=span.parent_span_id.hex(),
                    attributes=_plain(span.attributes),
                    links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                    has_failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
                    service=service,
                )


def _plain(attributes: Iterator[KeyValue]) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value") for one in attributes}
