"""The gauges of a worker, read at every scrape."""

from functools import partial

from app.errors import Misconfigured
from app.policy.breaker import State
from app.telemetry.metrics import Metrics
from app.telemetry.metrics.catalog import workers
from app.workers.worker import Worker


def watch_worker(worker: Worker, metrics: Metrics) -> None:
    """Show the worker's state and calls in the metrics from now on."""
    metrics.begin_worker(worker.name, owner=worker)
    metrics.read(workers.CALLS, lambda: worker.calls, worker.name)
    metrics.read(workers.DOCUMENTS, lambda: worker.documents, worker.name)
    metrics.read(workers.LIMIT, lambda: worker.limit.documents, worker.name)
    metrics.read(workers.USABLE, lambda: worker.is_usable, worker.name)
    metrics.read(workers.DRAINED, lambda: worker.is_drained, worker.name)
    metrics.read(workers.MISCONFIGURED, lambda: isinstance(worker.problem, Misconfigured), worker.name)
    for state in State:
        metrics.read(workers.BREAKER, partial(_is_in, worker, state), worker.name, state.value)


def _is_in(worker: Worker, state: State) -> bool:
    return worker.breaker.state is state
