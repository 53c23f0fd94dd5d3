"""Schemas of the bodies and answers of `/admin`, and their description for OpenAPI."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.api.dialects.schemas import ErrorAnswer
from app.policy.breaker import State
from app.policy.check_verdict import CheckResult
from app.policy.model_profile import ModelProfile
from app.policy.suspicion import Suspicion
from app.telemetry.metrics.history import Point
from app.types import Fingerprint
from app.workers.profiles import Profiles
from app.workers.worker import Worker

_ERRORS = {401: "No admin key, or a wrong one", 403: "The gateway isn't operated from there"}


_BODY_ERRORS = {
    400: "The body is wrong; `param` says where",
    404: "Nothing has this name",
    408: "The body didn't arrive in time",
    409: "A model would be left without a usable worker",
    413: "The body is too large",
    415: "The body isn't marked as JSON",
    429: "The gateway holds too many bytes of requests; see Retry-After",
}


WorkerState = Literal["usable", "not_ready", "drained", "failing", "trying"]


BreakerState = Literal["closed", "open", "half_open"]
# Skipped is that of a model which has no room for its sentences.
CheckState = Literal["pending", "passed", "suspect", "skipped"]


class AdminBody(BaseModel):
    """The base of all bodies, which refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class UndrainBody(AdminBody):
    """The worker to give work again."""

    worker: str = Field(description="Its name, as `/admin/workers` has it.")


class DrainBody(UndrainBody):
    """The worker to keep new work from."""

    force: bool = Field(default=False, description="Also when that leaves a model without a usable worker.")


class FlushBody(AdminBody):
    """The model whose cached scores to drop."""

    model: str = Field(description="Its name, or an alias.")


def described(summary: str, report: type, body: type[AdminBody] | None = None) -> dict[str, Any]:
    """Keyword arguments for `add_api_route` that describe a route by its answer, and its body if it takes one."""
    errors = _ERRORS | _BODY_ERRORS if body else _ERRORS
    content = {"application/json": {"schema": body.model_json_schema()}} if body else {}
    return {
        "summary": summary,
        "response_model": report,
        "responses": {status: {"model": ErrorAnswer, "description": text} for status, text in errors.items()},
        "openapi_extra": {"requestBody": {"required": True, "content": content}} if body else None,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReport:
    """A model as a worker serves it: its fingerprint, how it is treated, and what its check found."""

    model: str
    root: str
    max_model_len: int
    version: str
    revision: str
    probe_scores: str
    usable: bool
    profile: ModelProfile
    check: CheckState
    unsure_of: Sequence[str]
    suspicion: Suspicion | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReport:
    """A worker: `calls`, `documents` and `tokens` are in flight; `slowness` is 1 at its usual speed, else above."""

    name: str
    state: WorkerState
    breaker: BreakerState
    is_ready: bool
    is_drained: bool
    problem: str | None
    models: Sequence[ModelReport]
    calls: int
    documents: int
    tokens: int
    limit_documents: int
    slowness: float | None
    backs_off_s: float
    last_success_s: float | None
    next_probe_s: float | None
    latency_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """A source of workers, and the problem that keeps it from finding any."""

    name: str
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkersReport:
    """All workers, and the sources that discover them."""

    workers: Sequence[WorkerReport]
    sources: Sequence[SourceReport]


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisReport:
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
    redis: RedisReport | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushReport:
    """A model whose cached scores are dropped, and when other replicas follow."""

    model: str
    flushed: bool
    replicas: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsReport:
    """The settings with stars for secrets, and the warnings about them."""

    settings: Mapping[str, Any]
    warnings: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsReport:
    """The load of one replica, and its last 5 minutes, oldest first."""

    version: str
    uptime_s: float
    is_draining: bool
    needs_key: bool
    models: Sequence[str]
    interval_s: float
    points: Sequence[Point]


def worker_report(worker: Worker, now: float, profiles: Profiles) -> WorkerReport:
    """The worker as it is `now`, on the loop's clock, with what `profiles` know of its models."""
    is_tried_later = worker.breaker.state is State.OPEN
    return WorkerReport(
        name=worker.name,
        state=_state(worker),
        breaker=worker.breaker.state.value,
        is_ready=worker.is_ready,
        is_drained=worker.is_drained,
        problem=worker.problem.redacted if worker.problem else None,
        models=[_model_report(served, worker, profiles) for served in worker.known_models.values()],
        calls=worker.calls,
        documents=worker.documents,
        tokens=worker.tokens,
        limit_documents=worker.limit.documents,
        slowness=worker.slowness(now),
        backs_off_s=max(0.0, worker.backs_off_until - now),
        last_success_s=None if worker.last_success_at == -inf else now - worker.last_success_at,
        next_probe_s=round(max(0.0, worker.breaker.probe_at - now), 3) if is_tried_later else None,
        latency_s=worker.latency_s,
    )


def _model_report(served: Fingerprint, worker: Worker, profiles: Profiles) -> ModelReport:
    result, suspicion = profiles.result_about(served), profiles.suspicion_of(served)
    return ModelReport(
        **served._asdict(),
        usable=worker.is_usable,
        profile=profiles.of(served),
        check=_check(result, suspicion),
        unsure_of=result.unsure_of if result else (),
        suspicion=suspicion,
    )


def _check(result: CheckResult | None, suspicion: Suspicion | None) -> CheckState:
    if result is None:
        return "pending"
    if suspicion:
        return "suspect"
    return "skipped" if result.says_nothing else "passed"


def _state(worker: Worker) -> WorkerState:
    """The worker's state; a drain by an operator wins over its breaker, that over its source."""
    if worker.is_drained:
        return "drained"
    match worker.breaker.state:
        case State.OPEN:
            return "failing"
        case State.HALF_OPEN:
            return "trying"
        case State.CLOSED:
            return "usable" if worker.is_ready else "not_ready"
