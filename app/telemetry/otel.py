"""Spans exported over OTLP/HTTP. Only this module uses OpenTelemetry, and it is imported only when traces are on.

OpenTelemetry itself reads the endpoint, the sampling and the service's name from the standard `OTEL_` variables.
Attributes have the names of its semantic conventions for HTTP. No span holds text of a query or a document, a key, or
the message of an error, which might quote one of them.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import Scope

from app import __version__
from app.errors import WorkerError
from app.telemetry.spans import Span, Traces, current_span, trace_headers
from app.types import Chunk, RequestStats

# Seconds at the end in which the last spans can be sent.
_FLUSH_S = 3.0
_SAYS_IT_AGAIN_S = 60.0
_SERVER_ERROR = 500
_USUAL_PORTS = {"http": 80, "https": 443}
_W3C = TraceContextTextMapPropagator()
# The exporter's HTTP client logs here, several times for each batch that a collector doesn't take.
_exporter_log = logging.getLogger(OTLPSpanExporter.__module__)


class ExportedTraces(Traces):
    """The source of spans that a thread sends to a collector in batches.

    Spans wait in a queue of 2,048, and are discarded when it is full. So a collector that is slow or gone costs spans,
    never requests.
    """

    def __init__(self) -> None:
        self._batches = BatchSpanProcessor(OTLPSpanExporter())
        provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        provider.add_span_processor(self._batches)
        self._tracer = provider.get_tracer("rerank-gateway", __version__)
        self._once_per_minute = _OncePerMinute()
        _exporter_log.addFilter(self._once_per_minute)

    def request(self, scope: Scope) -> Span:
        method, path = scope["method"], scope["path"]
        # The address that was connected to: clients may write anything into Host.
        address, port = scope.get("server") or ("", None)
        attributes = {
            "http.request.method": method,
            # Routes that score have no parameters in their paths.
            "http.route": path,
            "url.path": path,
            "url.scheme": scope["scheme"],
            "network.protocol.version": scope["http_version"],
            "server.address": address,
            **({"server.port": port} if port else {}),
        }
        above = _W3C.extract(trace_headers(scope))
        return ExportedSpan(self._tracer, f"{method} {path}", SpanKind.SERVER, above, attributes)

    async def aclose(self) -> None:
        # A thread that doesn't hold up the end of the process: an export that hangs can't be interrupted.
        flush = threading.Thread(target=self._batches.shutdown, name="traces-flush", daemon=True)
        flush.start()
        await asyncio.to_thread(flush.join, _FLUSH_S)
        if flush.is_alive():
            structlog.get_logger().warning("spans_lost", reason=f"the collector didn't take them in {_FLUSH_S:g} s")
        _exporter_log.removeFilter(self._once_per_minute)


class ExportedSpan(Span):
    """A recorded span, begun now, and current until it ends.

    Args:
        tracer: Makes spans, and decides which are sampled.
        name: One of few values: a method and a route.
        kind: Server, client or internal.
        above: Its parent, if any.
        attributes: Attributes known at the start, which samplers see.
    """

    __slots__ = ("_span", "_token", "_tracer", "_within")

    def __init__(
        self, tracer: trace.Tracer, name: str, kind: SpanKind, above: Context, attributes: Mapping[str, str | int]
    ) -> None:
        self._tracer = tracer
        self._span = tracer.start_span(name, context=above, kind=kind, attributes=attributes)
        self._within = trace.set_span_in_context(self._span, above)
        headers: dict[str, str] = {}
        _W3C.inject(headers, self._within)
        super().__init__(headers)
        self._token = current_span.set(self)

    def note(self, attributes: Mapping[str, str | int]) -> None:
        """Add attributes."""
        self._span.set_attributes(attributes)

    def chunk(self, chunk: Chunk) -> Span:
        attributes = {"rerank.documents": len(chunk.pairs), "rerank.tokens": chunk.tokens}
        return ExportedSpan(self._tracer, "chunk", SpanKind.INTERNAL, self._within, attributes)

    def attempt(self, kind: str) -> Span:
        return ExportedSpan(self._tracer, "attempt", SpanKind.CLIENT, self._within, {"rerank.attempt.kind": kind})

    def coalesces_with(self, other: Span) -> None:
        self._span.add_link(trace.get_current_span(_W3C.extract(other.headers)).get_span_context())

    def posts(self, url: str, path: str) -> None:
        parts = urlsplit(url)
        self._span.update_name(f"POST {path}")
        self.note(
            {
                "http.request.method": "POST",
                "url.full": url + path,
                "server.address": parts.hostname or "",
                "server.port": parts.port or _USUAL_PORTS[parts.scheme],
            }
        )

    def answered(self, status: int) -> None:
        self.note({"http.response.status_code": status})

    def served(self, status: int, dialect: str, stats: RequestStats) -> None:
        self.note(
            {
                "http.response.status_code": status,
                "rerank.dialect": dialect,
                "rerank.documents": stats.documents,
                "rerank.cache_hits": stats.cache_hits,
                "rerank.coalesced": stats.coalesced,
            }
        )
        if stats.model:
            self.note({"rerank.model": stats.model})
        if status >= _SERVER_ERROR:
            self._fail(str(status))

    def end(self, outcome: str) -> None:
        if outcome == "cancelled":
            self.note({"rerank.cancelled": True})
        elif outcome != "ok":
            self._fail(outcome)
        self._span.end()
        current_span.reset(self._token)

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: object) -> None:
        self.end(_outcome_of(exc))

    def _fail(self, reason: str) -> None:
        self.note({"error.type": reason})
        self._span.set_status(StatusCode.ERROR)


class _OncePerMinute(logging.Filter):
    """A log filter that lets each message through once a minute."""

    def __init__(self) -> None:
        super().__init__()
        self._said_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self._said_at.get(record.msg, -_SAYS_IT_AGAIN_S) < _SAYS_IT_AGAIN_S:
            return False
        self._said_at[record.msg] = now
        return True


def _resource() -> Resource:
    """The resource of all spans: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES over our own name and version."""
    own = Resource.create({"service.name": "rerank-gateway", "service.version": __version__})
    return own.merge(OTELResourceDetector().detect())


def _outcome_of(exc: BaseException | None) -> str:
    if exc is None:
        return "ok"
    if isinstance(exc, asyncio.CancelledError):
        return "cancelled"
    return exc.outcome if isinstance(exc, WorkerError) else type(exc).__name__
