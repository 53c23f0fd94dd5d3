"""One request on a scoring route, from its arrival to the one log line and the counts it leaves behind."""

import logging
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import structlog

from app import log
from app.api.dialects.base import Dialect
from app.errors import Overloaded, RerankError
from app.metrics import Metrics
from app.spans import current_span
from app.work import Tally

_SERVER_ERROR = 500


@dataclass(slots=True)
class Visit:
    """What is known of one request.

    Args:
        path: Its route.
        request_id: The client's, or ours.
        arrived: On the loop's clock, which deadlines go by; uvloop's has whole milliseconds.
        started: On the finer clock that durations are measured with.
        dialect: As far as it is known yet.
        key: The name of its API key.
        degraded: The fallback that answered it.
        tally: What it has cost.
    """

    path: str
    request_id: str
    arrived: float
    started: float
    dialect: Dialect
    key: str = ""
    degraded: str = ""
    tally: Tally = field(default_factory=Tally)


class VisitLog:
    """Writes one line per request, and counts it.

    Args:
        slow_s: Seconds beyond which a request's line is a warning, and says where the time went.
        metrics: Count requests.
    """

    def __init__(self, *, slow_s: float, metrics: Metrics) -> None:
        self._slow_s = slow_s
        self._metrics = metrics

    def write(
        self, visit: Visit, status: int, *, error: RerankError | None = None, bug: Exception | None = None
    ) -> None:
        """The request was answered.

        Args:
            visit: The request.
            status: Of its answer; 499 for a client that left before.
            error: What the client was told.
            bug: Of ours, whose trace the line is to have.
        """
        seconds = perf_counter() - visit.started
        self._metrics.request(visit.path, visit.dialect.name, status, seconds)
        current_span.get().served(status, visit.dialect.name, visit.tally)
        if isinstance(error, Overloaded):
            self._metrics.shed(error.reason)
        line = _line(visit, status, seconds)
        if error:
            line["error"] = error.logged
        is_slow = seconds > self._slow_s
        if is_slow:
            line |= _where_time_went(visit.tally)
        if bug:
            structlog.get_logger().error("bug", exc_info=bug, **line)
        else:
            level = logging.WARNING if is_slow or status >= _SERVER_ERROR else logging.INFO
            log.write(level, "slow_request" if is_slow else "request", line)


def _line(visit: Visit, status: int, seconds: float) -> dict[str, Any]:
    tally = visit.tally
    line: dict[str, Any] = {
        "request_id": visit.request_id,
        "route": visit.path,
        "dialect": visit.dialect.name,
        "key": visit.key,
        "model": tally.model,
        "documents": tally.documents,
        "cache_hits": tally.cache_hits,
        "joined": tally.joined,
        "chunks": tally.chunks,
        "attempts": tally.attempts,
        "status": status,
        "ms": round(seconds * 1000, 2),
    }
    if visit.degraded:
        line["degraded"] = visit.degraded
    return line


def _where_time_went(tally: Tally) -> dict[str, float]:
    times = {"cache_s": tally.cache_s, "workers_s": tally.workers_s, "queue_s": tally.queue_s}
    return {name: round(seconds, 3) for name, seconds in times.items()}
