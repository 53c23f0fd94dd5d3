"""Every metric, declared once. Label values come from closed sets, never from a client."""

import asyncio
from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

if TYPE_CHECKING:
    from app.admission import Admission
    from app.cache.memory import MemoryTier
    from app.fleet.worker import Worker
    from app.flights import Flights
    from app.schedule import Schedule

_MOMENTS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30)


class Metrics:
    """The gateway's metrics, in a registry of their own so that two gateways can live in one process."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        # A `_created` series for every counter would double what a scrape costs, and nobody reads them.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # untyped in the library
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "rerank_requests_total", "Requests answered.", ["route", "dialect", "status"], registry=self.registry
        )
        self._duration = Histogram(
            "rerank_request_duration_seconds",
            "Time from a request's first byte to its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._documents = Counter(
            "rerank_documents_total",
            "Documents scored, by where the score came from.",
            ["source"],
            registry=self.registry,
        )
        self._attempts = Counter(
            "rerank_attempts_total", "Calls to workers.", ["worker", "kind", "outcome"], registry=self.registry
        )
        self._evicted = Counter(
            "rerank_cache_evictions_total",
            "Pairs that left the cache of this process for others.",
            registry=self.registry,
        )
        self._shared_tier = Histogram(
            "rerank_shared_cache_duration_seconds",
            "Time the shared cache took.",
            ["operation"],
            buckets=_MOMENTS,
            registry=self.registry,
        )
        self._shared_tier_failures = Counter(
            "rerank_shared_cache_failures_total",
            "Lookups and writes that the shared cache didn't do.",
            ["reason"],
            registry=self.registry,
        )
        per_worker: tuple[tuple[str, str, Callable[[Worker], float]], ...] = (
            ("rerank_worker_calls", "Calls in flight.", lambda worker: worker.calls),
            ("rerank_worker_documents", "Documents in flight.", lambda worker: worker.documents),
            ("rerank_worker_limit_documents", "Documents it may hold.", lambda worker: worker.limit.documents),
            ("rerank_worker_usable", "1 while it may be given work.", lambda worker: worker.is_usable),
        )
        self._of_workers = [
            (Gauge(name, text, ["worker"], registry=self.registry), read) for name, text, read in per_worker
        ]
        ProcessCollector(registry=self.registry)
        # Looking a child up by its labels costs four times what counting costs.
        self._child = cache(lambda metric, *labels: metric.labels(*labels))

    def request(self, route: str, dialect: str, status: int, seconds: float) -> None:
        """A request was answered; status 499 is a client that left before."""
        self._child(self._requests, route, dialect, str(status)).inc()
        self._child(self._duration, route).observe(seconds)

    def documents(self, source: str, count: int) -> None:
        """`count` documents got their scores from `source`.

        Args:
            source: worker, memory, redis, flight, duplicate, fallback or refused.
            count: May be 0.
        """
        self._child(self._documents, source).inc(count)

    def attempt(self, worker: str, kind: str, outcome: str) -> None:
        """A call to a worker ended. `kind`: first or retry; `outcome`: ok or the name of a `WorkerError`."""
        self._child(self._attempts, worker, kind, outcome).inc()

    def evicted(self, pairs: int) -> None:
        """`pairs` left the cache of this process for others."""
        self._evicted.inc(pairs)

    def shared_tier(self, operation: str, seconds: float) -> None:
        """The shared cache was asked. `operation`: lookup or store."""
        self._child(self._shared_tier, operation).observe(seconds)

    def shared_tier_failed(self, reason: str) -> None:
        """The shared cache didn't do what it was asked. `reason`: timeout, error or refused."""
        self._child(self._shared_tier_failures, reason).inc()

    def watch(
        self,
        *,
        schedule: "Schedule",
        admission: "Admission",
        flights: "Flights",
        memory: "MemoryTier | None",
    ) -> None:
        """Read these states at every scrape; nobody has to keep gauges up to date."""
        for name, text, read in (
            (
                "rerank_pending_documents",
                "Documents let in that have no score yet.",
                lambda: admission.pending_documents,
            ),
            ("rerank_queue_chunks", "Chunks waiting for a slot.", lambda: schedule.waiting),
            ("rerank_flights", "Pairs being scored that other requests may join.", lambda: flights.pairs),
            ("rerank_cache_pairs", "Pairs in the cache of this process.", lambda: len(memory or ())),
            ("rerank_cache_bytes", "Bytes of the cache of this process.", lambda: memory.size_bytes if memory else 0),
            ("rerank_tasks", "Tasks on the event loop.", lambda: len(asyncio.all_tasks())),
        ):
            Gauge(name, text, registry=self.registry).set_function(read)

    def watch_worker(self, worker: "Worker") -> None:
        """Read the worker's state at every scrape."""
        for gauge, read in self._of_workers:
            gauge.labels(worker.name).set_function(partial(read, worker))

    def forget_worker(self, name: str) -> None:
        """A worker has left and finished: its series end, and would begin anew."""
        for metric in (self._attempts, *(gauge for gauge, _ in self._of_workers)):
            metric.remove_by_labels({"worker": name})
        self._child.cache_clear()

    def render(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self.registry)
