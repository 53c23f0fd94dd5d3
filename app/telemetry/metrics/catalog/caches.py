"""Metrics of the cache of this process and of Redis."""

from typing import Literal, get_args

from app.telemetry.metrics.declaration import Declaration, Label

Operation = Literal["lookup", "store"]
Failure = Literal["timeout", "error", "refused"]

_MOMENTS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1)

PAIRS = Declaration("rerank_cache_pairs", "gauge", "pairs", "Pairs in the cache of this process.")
BYTES = Declaration(
    "rerank_cache_bytes",
    "gauge",
    "bytes",
    "Memory of the cache of this process. It grows up to RERANK_CACHE_MAX_BYTES and stays there.",
)
EVICTIONS = Declaration(
    "rerank_cache_evictions_total",
    "counter",
    "pairs",
    "Pairs that left the cache of this process to make room for others. Rising while few documents come from memory: "
    "the cache is too small.",
)
REDIS_USABLE = Declaration(
    "rerank_redis_usable",
    "gauge",
    "",
    "1 while Redis is used, 0 while it is left out after failures; absent when none is configured. At 0 scores that "
    "only Redis has are computed again.",
)
REDIS_DURATION = Declaration(
    "rerank_redis_duration_seconds",
    "histogram",
    "seconds",
    "Time of calls to Redis. Lookups near RERANK_REDIS_TIMEOUT_S: Redis slows requests down.",
    (Label("operation", get_args(Operation)),),
    _MOMENTS_S,
)
REDIS_FAILURES = Declaration(
    "rerank_redis_failures_total",
    "counter",
    "calls",
    "Lookups and writes that failed: Redis took too long (timeout), was full or read-only (refused), or failed "
    "otherwise (error). Requests go on without it.",
    (Label("reason", get_args(Failure)),),
)
