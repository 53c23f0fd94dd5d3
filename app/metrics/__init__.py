"""The gateway's metrics: counted as things happen, or read when they are scraped."""

import asyncio
import platform
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.samples import Sample

from app import __version__, log
from app.clients import Reason as ConnectionShedReason
from app.errors import ShedReason
from app.metrics.catalog import METRICS, caches, process, requests, workers
from app.metrics.declaration import Declaration
from app.metrics.exposition import exposition
from app.metrics.gauges import Gauges

if TYPE_CHECKING:
    from app.admission import Admission
    from app.bytes_in_flight import BytesInFlight
    from app.cache.memory import MemoryTier
    from app.cache.redis import RedisTier
    from app.clients import Clients
    from app.dispatch import Dispatch
    from app.fleet.worker import Worker
    from app.flights import Flights
    from app.schedule import Schedule


class Metrics:
    """One gateway's metrics, in a registry of their own so that two gateways can live in one process."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        # A `_created` series for every counter would double what a scrape costs, and nobody reads them.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # untyped in the library
        self.registry = CollectorRegistry()
        self._gauges = Gauges()
        self.registry.register(self._gauges)
        counted = (one for one in METRICS if one.kind != "gauge" and not one.is_read)
        self._counted = {one: _counted(one, self.registry) for one in counted}
        ProcessCollector(registry=self.registry)
        # Looking a child up by its labels costs four times what counting costs.
        self._child = cache(self._bind)
        self._begin_at_zero()
        self._gauges.read(process.BUILD_INFO, lambda: 1, __version__, platform.python_version())
        self._gauges.read(process.LOG_LINES_DROPPED, log.dropped_lines)

    def request(self, route: str, dialect: str, status: int, seconds: float) -> None:
        """A request was answered; status 499 is a client that left before."""
        self._child(requests.REQUESTS, route, dialect, str(status)).inc()
        self._child(requests.REQUEST_DURATION, route).observe(seconds)

    def shed(self, reason: ShedReason) -> None:
        """A request was refused with 429."""
        self._child(requests.SHED, reason).inc()

    def connection_shed(self, reason: ConnectionShedReason) -> None:
        """A client's connection was closed against its will."""
        self._child(requests.CONNECTIONS_SHED, reason).inc()

    def documents(self, source: requests.Source, count: int) -> None:
        """`count` documents, which may be 0, got their scores from `source`."""
        if count:
            self._child(requests.DOCUMENTS, source).inc(count)

    def document_errors(self, count: int) -> None:
        """No worker would score `count` documents, which may be 0."""
        if count:
            self._child(requests.DOCUMENT_ERRORS).inc(count)

    def degraded(self, documents: int) -> None:
        """A request of so many documents was answered by the fallback."""
        self._child(requests.DEGRADED).inc()
        self.documents("fallback", documents)

    def queued(self, seconds: float) -> None:
        """A chunk got its slot after `seconds`."""
        self._child(requests.QUEUE_WAIT).observe(seconds)

    def attempt(self, worker: str, kind: workers.Kind, outcome: str, *, documents: int, seconds: float) -> None:
        """A call to a worker ended. `outcome`: ok, abandoned or that of a `WorkerError`."""
        self._child(workers.CHUNK_DOCUMENTS).observe(documents)
        if kind == "hedge":
            self._child(workers.HEDGES, "won" if outcome == "ok" else "lost").inc()
        # A call may outlive its worker, whose series must not come back.
        if self._gauges.watches(worker):
            self._child(workers.ATTEMPTS, worker, kind, outcome).inc()
            if outcome == "ok":
                self._child(workers.ATTEMPT_DURATION, worker).observe(seconds)

    def retry_denied(self) -> None:
        """A retry wasn't made, since the budget was empty."""
        self._child(workers.RETRIES_DENIED).inc()

    def probe(self, worker: str, outcome: str) -> None:
        """A probe ended. `outcome`: ok, drifted or that of a `WorkerError`."""
        if self._gauges.watches(worker):
            self._child(workers.PROBES, worker, outcome).inc()

    def evicted(self, pairs: int) -> None:
        """`pairs`, which may be 0, left the cache of this process for others."""
        if pairs:
            self._child(caches.EVICTIONS).inc(pairs)

    def shared_tier(self, operation: caches.Operation, seconds: float) -> None:
        """The shared cache was asked."""
        self._child(caches.SHARED_DURATION, operation).observe(seconds)

    def shared_tier_failed(self, reason: caches.Failure) -> None:
        """The shared cache didn't do what it was asked."""
        self._child(caches.SHARED_FAILURES, reason).inc()

    def task_failed(self, task: process.Task) -> None:
        """A background task failed in a way nobody foresaw."""
        self._child(process.TASK_FAILURES, task).inc()

    def watch(
        self,
        *,
        schedule: "Schedule",
        admission: "Admission",
        dispatch: "Dispatch",
        flights: "Flights",
        memory: "MemoryTier",
        shared: "RedisTier | None",
    ) -> None:
        """Read these states at every scrape."""
        read = self._gauges.read
        read(requests.PENDING_DOCUMENTS, lambda: admission.pending_documents)
        read(requests.QUEUE_CHUNKS, lambda: schedule.waiting)
        read(requests.QUEUE_DOCUMENTS, lambda: schedule.waiting_documents)
        read(workers.RETRY_BUDGET, lambda: dispatch.retries_left)
        read(requests.FLIGHTS, lambda: flights.pairs)
        read(caches.PAIRS, lambda: len(memory))
        read(caches.BYTES, lambda: memory.size_bytes)
        read(process.TASKS, lambda: len(asyncio.all_tasks()))
        if shared:
            read(caches.SHARED_USABLE, lambda: shared.is_usable)

    def watch_clients(self, clients: "Clients", bytes_in_flight: "BytesInFlight") -> None:
        """Read how many clients are connected, and what the gateway holds for them, at every scrape."""
        self._gauges.read(requests.CONNECTIONS, lambda: clients.connections)
        self._gauges.read(requests.BYTES_IN_FLIGHT, lambda: bytes_in_flight.held)

    def watch_worker(self, worker: "Worker") -> None:
        """Begin to read a worker's state and to count what it does; of a worker that isn't watched nothing is shown."""
        self._gauges.watch_worker(worker)

    def forget_worker(self, worker: "Worker") -> None:
        """Show nothing more of a worker that left, unless another of its name has come meanwhile."""
        if not self._gauges.forget_worker(worker):
            return
        for declared, metric in self._counted.items():
            if workers.WORKER in declared.labels:
                metric.remove_by_labels({workers.WORKER.name: worker.name})
        self._child.cache_clear()

    def samples(self, declared: Declaration) -> Iterator[Sample]:
        """The series of a counter or histogram, with the values they have now."""
        return (sample for family in self._counted[declared].collect() for sample in family.samples)

    def render(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return exposition(self.registry)

    def _bind(self, declared: Declaration, *labels: str) -> Any:
        metric = self._counted[declared]
        return metric.labels(*labels) if labels else metric

    def _begin_at_zero(self) -> None:
        """A series that begins with its first event at 1 has no increase that Prometheus could see."""
        for declared in self._counted:
            if declared.kind == "counter" and len(declared.labels) == 1:
                for value in declared.labels[0].values:
                    self._child(declared, value)


def _counted(declared: Declaration, registry: CollectorRegistry) -> Counter | Histogram:
    labels = [label.name for label in declared.labels]
    if declared.kind == "counter":
        return Counter(declared.name, declared.meaning, labels, registry=registry)
    return Histogram(declared.name, declared.meaning, labels, buckets=declared.buckets, registry=registry)
