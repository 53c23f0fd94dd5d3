"""Spans as the gateway sees them: pieces of work, and the headers that carry a request's trace on to its workers.

The spans here are recorded nowhere; those of `app/telemetry/otel.py` are exported. Which one code runs in follows its
task and the tasks that it starts, so a chunk under way belongs to the request that started it, whoever waits for it
too.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from types import MappingProxyType, TracebackType
from typing import Self

from starlette.types import Scope

from app.types import Chunk, RequestStats

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{1,200})?")
# The length that everybody along the way has to pass on.
_TRACESTATE = re.compile(r"[ -~]{1,512}")


class Span:
    """A piece of work under way that nobody records.

    Args:
        headers: What a worker is sent, for its own spans to stand below this one.
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
        """Part of this work is waited for, and done below `other`."""

    def posts(self, url: str, path: str) -> None:
        """The attempt is a POST to `path` of the worker at `url`."""

    def answered(self, status: int) -> None:
        """The worker answered with an HTTP status."""

    def served(self, status: int, dialect: str, stats: RequestStats) -> None:
        """The request got an answer; `stats` is what it cost."""

    def end(self, outcome: str) -> None:
        """The work is over. `outcome`: ok, cancelled, or what went wrong."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


_NOWHERE = Span()
current_span: ContextVar[Span] = ContextVar("current_span", default=_NOWHERE)


class Traces:
    """Where requests get their spans. These go nowhere, but a client's trace goes on to the workers as it came."""

    def request(self, scope: Scope) -> AbstractContextManager[Span]:
        """The span of a request, current within the block; `scope` is all that the server knows of it."""
        headers = trace_headers(scope)
        return _passed_on(headers) if headers else _NOWHERE

    async def aclose(self) -> None:
        """Send what is recorded and not sent yet; no span begins after this."""


def trace_headers(scope: Scope) -> dict[str, str]:
    """The W3C trace context that a request came with; empty when there is none, or none that is well-formed."""
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
