"""Metrics of the cache of this process and of Redis."""

from typing import Literal, get_args

from app.telemetry.metrics.declaration import Label, counter, gauge, histogram

Operation = Literal["lookup", "store"]
Failure = Literal["timeout", "error", "refused"]

_MOMENTS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1)

PAIRS = gauge("rerank_cache_pairs", "pairs", "Pairs in the cache of this process.")
BYTES = gauge(
    "rerank_cache_bytes",
    "bytes",
    "Memory of the cache of this process. It grows up to RERANK_CACHE_MAX_BYTES and stays there.",
)
EVICTIONS = counter(
    "rerank_cache_evictions_total",
    "pairs",
    "Pairs that left the cache of this process to make room for others. Rising while few documents come from memory: "
    "the cache is too small.",
)
REDIS_USABLE = gauge(
    "rerank_redis_usable",
    "",
    "1 while Redis is used, 0 while it is left out after failures; absent when none is configured. At 0 scores that "
    "only Redis has are computed again.",
)
REDIS_DURATION = histogram(
    "rerank_redis_duration_seconds",
    "seconds",
    "Time of calls to Redis. Lookups near RERANK_REDIS_TIMEOUT_S: Redis slows requests down.",
    Label("operation", get_args(Operation)),
    buckets=_MOMENTS_S,
)
REDIS_FAILURES = counter(
    "rerank_redis_failures_total",
    "calls",
    "Lookups and writes that failed: Redis took too long (timeout), was full or read-only (refused), or failed "
    "otherwise (error). Requests go on without it.",
    Label("reason", get_args(Failure)),
)
