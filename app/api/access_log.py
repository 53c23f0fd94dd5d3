"""The access log: one line per request on a scoring route, and its counts."""

import logging
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import structlog

from app.api.dialects.base import Dialect
from app.api.request import HttpRequest
from app.errors import Overloaded, RerankError
from app.telemetry.metrics import Metrics
from app.telemetry.spans import current_span
from app.types import RequestStats

_SERVER_ERROR = 500


@dataclass(slots=True)
class AccessRecord:
    """The facts about one request that its log line and counts are made of, beside the request itself.

    Args:
        request: As it came.
        arrived: On the loop's clock, which deadlines go by; uvloop's has whole milliseconds.
        started: On the finer clock that durations are measured with.
        dialect: As far as it is known yet.
        degraded: The fallback that answered it.
        stats: The calls and documents it took.
    """

    request: HttpRequest
    arrived: float
    started: float
    dialect: Dialect
    degraded: str = ""
    stats: RequestStats = field(default_factory=RequestStats)


class AccessLog:
    """The writer of one line per request, which also counts it.

    Args:
        slow_s: Seconds beyond which a request's line is a warning, and says where the time went.
        metrics: Count requests.
    """

    def __init__(self, *, slow_s: float, metrics: Metrics) -> None:
        self._slow_s = slow_s
        self._metrics = metrics
        self._log = structlog.get_logger()

    def write(
        self, record: AccessRecord, status: int, *, error: RerankError | None = None, bug: Exception | None = None
    ) -> None:
        """Log and count a request that was answered.

        Args:
            record: The request.
            status: Of its answer; 499 for a client that left before.
            error: What the client was told.
            bug: An exception nobody foresaw; the line gets its trace.
        """
        seconds = perf_counter() - record.started
        self._metrics.request(record.request.path, record.dialect.name, status, seconds)
        current_span.get().served(status, record.dialect.name, record.stats)
        self._metrics.passages(record.stats.passages, record.stats.passages_dropped)
        if isinstance(error, Overloaded):
            self._metrics.shed(error.reason)
        line = _line(record, status, seconds)
        if error:
            line["error"] = error.redacted
        is_slow = seconds > self._slow_s
        if is_slow:
            line |= _where_time_went(record.stats)
        if bug:
            self._log.error("bug", exc_info=bug, **line)
        else:
            level = logging.WARNING if is_slow or status >= _SERVER_ERROR else logging.INFO
            self._log.log(level, "slow_request" if is_slow else "request", **line)


def _line(record: AccessRecord, status: int, seconds: float) -> dict[str, Any]:
    request, stats = record.request, record.stats
    line: dict[str, Any] = {
        "request_id": request.request_id,
        "route": request.path,
        "dialect": record.dialect.name,
        "key": request.key,
        "model": stats.model,
        "documents": stats.documents,
        "cache_hits": stats.cache_hits,
        "coalesced": stats.coalesced,
        "chunks": stats.chunks,
        "attempts": stats.attempts,
        "status": status,
        "ms": round(seconds * 1000, 2),
    }
    if stats.passages:
        line |= {"passages": stats.passages, "passages_dropped": stats.passages_dropped}
    if record.degraded:
        line["degraded"] = record.degraded
    return line


def _where_time_went(stats: RequestStats) -> dict[str, float]:
    names = ("body_s", "no_worker_s", "cache_s", "workers_s", "queue_s")
    return {name: round(getattr(stats, name), 3) for name in names}
