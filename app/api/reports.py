"""What `/admin` answers: workers, cache, settings and recent figures of this replica, as they are now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

from app.fleet.worker import Worker
from app.metrics.history import Point
from app.policy.breaker import State
from app.work import Fingerprint

WorkerState = Literal["usable", "not_ready", "drained", "suspect", "trying"]
BreakerState = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReport:
    """A model as a worker serves it; all but `usable` is its fingerprint."""

    model: str
    root: str
    max_model_len: int
    version: str
    revision: str
    weights: str
    usable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReport:
    """A worker: `calls`, `documents` and `tokens` are in flight, `slowness` is 1 for one that is as fast as usual."""

    name: str
    state: WorkerState
    breaker: BreakerState
    is_ready: bool
    is_drained: bool
    trouble: str | None
    models: Sequence[ModelReport]
    calls: int
    documents: int
    tokens: int
    limit_documents: int
    slowness: float | None
    rests_s: float
    last_success_s: float | None
    next_probe_s: float | None
    latency_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """Where workers are found, and what keeps it from finding any."""

    name: str
    trouble: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetReport:
    """All workers, and where they are found."""

    workers: Sequence[WorkerReport]
    sources: Sequence[SourceReport]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedReport:
    """The cache that replicas share."""

    usable: bool
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheReport:
    """The cache of this process; `documents` and `evictions` since its start."""

    enabled: bool
    pairs: int
    bytes: int
    max_bytes: int
    ttl_s: int
    documents: Mapping[str, int]
    evictions: int
    generations: Mapping[str, int]
    shared: SharedReport | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushReport:
    """A model whose scores are forgotten, and by when on other replicas."""

    model: str
    flushed: bool
    replicas: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsReport:
    """The settings, secrets as stars, and what was warned about."""

    settings: Mapping[str, Any]
    warnings: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsReport:
    """One replica, and its last 5 minutes, oldest first."""

    version: str
    uptime_s: float
    is_draining: bool
    needs_key: bool
    models: Sequence[str]
    interval_s: float
    points: Sequence[Point]


def worker_report(worker: Worker, now: float) -> WorkerReport:
    """The worker as it is `now`, on the loop's clock."""
    is_tried_later = worker.breaker.state is State.OPEN
    return WorkerReport(
        name=worker.name,
        state=_state(worker),
        breaker=worker.breaker.state.value,
        is_ready=worker.is_ready,
        is_drained=worker.is_drained,
        trouble=worker.trouble.logged if worker.trouble else None,
        models=[_model_report(mark, is_usable=worker.is_usable) for mark in worker.serves.values()],
        calls=worker.calls,
        documents=worker.documents,
        tokens=worker.tokens,
        limit_documents=worker.limit.documents,
        slowness=worker.slowness(now),
        rests_s=max(0.0, worker.rests_until - now),
        last_success_s=None if worker.last_success_at == -inf else now - worker.last_success_at,
        next_probe_s=round(max(0.0, worker.breaker.probe_at - now), 3) if is_tried_later else None,
        latency_s=worker.latency_s,
    )


def _state(worker: Worker) -> WorkerState:
    """What decides whether it gets work: an operator first, then its breaker, then its source."""
    if worker.is_drained:
        return "drained"
    match worker.breaker.state:
        case State.OPEN:
            return "suspect"
        case State.HALF_OPEN:
            return "trying"
        case State.CLOSED:
            return "usable" if worker.is_ready else "not_ready"


def _model_report(mark: Fingerprint, *, is_usable: bool) -> ModelReport:
    return ModelReport(**mark._asdict(), usable=is_usable)
