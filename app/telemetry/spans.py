"""Spans that record nothing but pass a client's trace on to workers, and the interface of spans that are exported.

`app/telemetry/otel.py` has those. The current span follows a task and the tasks that it starts, so a chunk in flight
belongs to the request that started it, whoever else waits for it.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Self

from starlette.types import Scope

from app.types import Chunk, RequestStats

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{1,200})?")
# Longest `tracestate`, in characters, that the W3C asks everyone to pass on.
_TRACESTATE = re.compile(r"[ -~]{1,512}")


class Span:
    """A span that isn't recorded.

    Args:
        headers: Headers for workers, which make this span the parent of theirs.
    """

    __slots__ = ("headers",)

    def __init__(self, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        self.headers = headers

    def chunk(self, chunk: Chunk) -> "Span":
        """The span of a chunk, begun below this one and current until it ends."""
        return self

    def attempt(self, kind: str) -> "Span":
        """The span of a call to a worker, begun below this one and current until it ends."""
        return self

    def coalesces_with(self, other: "Span") -> None:
        """Note that a part of this work waits for `other`, which does it."""

    def posts(self, url: str, path: str) -> None:
        """Note that the attempt is a POST to `path` of the worker at `url`."""

    def answered(self, status: int) -> None:
        """Note the HTTP status of the worker's answer."""

    def served(self, status: int, dialect: str, stats: RequestStats) -> None:
        """Note the status, dialect and stats of an answered request."""

    def end(self, outcome: str) -> None:
        """End the span. `outcome`: ok, cancelled, or the kind of failure."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: object) -> None:
        return None


_NOWHERE = Span()
current_span: ContextVar[Span] = ContextVar("current_span", default=_NOWHERE)


class Traces:
    """The source of requests' spans. These aren't recorded, but a client's trace goes on to workers unchanged."""

    def request(self, scope: Scope) -> AbstractContextManager[Span]:
        """The span of a request, current within the block; `scope` is the request's ASGI scope."""
        headers = trace_headers(scope)
        return _passed_on(headers) if headers else _NOWHERE

    async def aclose(self) -> None:
        """Send the recorded spans that aren't sent yet; no span may begin after this."""


def trace_headers(scope: Scope) -> dict[str, str]:
    """The W3C trace context headers of a request; empty when it has none, or malformed ones."""
    traceparent = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"), None)
    if traceparent is None or not _TRACEPARENT.fullmatch(traceparent):
        return {}
    # A list may be spread over several headers.
    tracestate = ",".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"tracestate")
    return {"traceparent": traceparent} | ({"tracestate": tracestate} if _TRACESTATE.fullmatch(tracestate) else {})


@contextmanager
def _passed_on(headers: Mapping[str, str]) -> Iterator[Span]:
    span = Span(headers)
    token = current_span.set(span)
    try:
        yield span
    finally:
        current_span.reset(token)
