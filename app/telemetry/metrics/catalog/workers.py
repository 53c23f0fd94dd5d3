"""Metrics of workers: their calls, their failures and their states."""

from typing import Literal, get_args

from app.errors import WorkerError
from app.policy.breaker import State
from app.policy.check_verdict import Reason
from app.telemetry.metrics.declaration import Label, counter, gauge, histogram, subclasses

Kind = Literal["first", "retry", "hedge"]

_FAILED = tuple(sorted({error.outcome for error in subclasses(WorkerError)}))
_CALLS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

WORKER = Label("worker")

ATTEMPTS = counter(
    "rerank_attempts_total",
    "calls",
    "Calls to workers: first attempts, retries and hedges. An outcome other than ok is the worker's failure, except "
    "cancelled: nobody waited for the answer any more. Failures rising: that worker is broken or overloaded.",
    WORKER,
    Label("kind", get_args(Kind)),
    Label("outcome", ("ok", "cancelled", *_FAILED)),
)
ATTEMPT_DURATION = histogram(
    "rerank_attempt_duration_seconds",
    "seconds",
    "Time of the calls that succeeded. Rising for one worker: it is slow; for all: they are overloaded, or texts got "
    "longer.",
    WORKER,
    buckets=_CALLS_S,
)
CHUNK_DOCUMENTS = histogram(
    "rerank_chunk_documents",
    "documents",
    "Documents per call to a worker. Falling: requests got smaller, or a worker refuses big chunks, and a document "
    "costs more.",
    buckets=_SIZES,
)
RETRIES_DENIED = counter(
    "rerank_retries_denied_total",
    "retries",
    "Retries that weren't made because the budget was empty. Rising: workers fail so often that clients see it.",
)
RETRY_BUDGET = gauge(
    "rerank_retry_budget",
    "retries",
    "Retries the budget would pay for now. At 0 a chunk's first failure is the client's answer, unless the worker "
    "couldn't be reached.",
)
HEDGES = counter(
    "rerank_hedges_total",
    "calls",
    "Second attempts sent while the first took long: won gave the answer, lost didn't. Won rising: some worker is slow "
    "at times.",
    Label("result", ("won", "lost")),
)
CALLS = gauge(
    "rerank_worker_calls", "calls", "Calls in flight. At RERANK_WORKER_MAX_CALLS the worker gets no more.", WORKER
)
DOCUMENTS = gauge(
    "rerank_worker_documents",
    "documents",
    "Documents in flight. At rerank_worker_limit_documents the worker gets no more.",
    WORKER,
)
LIMIT = gauge(
    "rerank_worker_limit_documents",
    "documents",
    "Most documents in flight at the worker, learned from its latency. Falling: it has become slower.",
    WORKER,
)
USABLE = gauge(
    "rerank_worker_usable",
    "",
    "1 while the worker may be given work, else 0. Its sum is the capacity there is.",
    WORKER,
)
DRAINED = gauge(
    "rerank_worker_drained",
    "",
    "1 while an operator keeps work from the worker, else 0. At 1 for long: it was forgotten after a maintenance.",
    WORKER,
)
BREAKER = gauge(
    "rerank_worker_breaker",
    "",
    "1 for the state the worker's breaker is in, 0 for the others. closed: work goes to it; open: nothing does; "
    "half_open: a probe is under way. Not closed for long: the worker is down.",
    WORKER,
    Label("state", tuple(state.value for state in State)),
)
MISCONFIGURED = gauge(
    "rerank_worker_misconfigured",
    "",
    "1 while the worker can't serve as it is set up: a wrong key, address or model. It won't pass by itself; the log "
    "says what to check.",
    WORKER,
)
PROBES = counter(
    "rerank_probes_total",
    "probes",
    "Probes of workers: ok; model_changed, when the worker scores as with other weights than before under the same "
    "name; or what went wrong. model_changed rising: weights were exchanged; until all workers have the new ones, only "
    "part of them serves.",
    WORKER,
    Label("outcome", ("ok", "model_changed", *_FAILED)),
)
SUSPECT = gauge(
    "rerank_model_suspect",
    "",
    "1 for the reason why the model seems to be served wrongly, else 0. order: irrelevant texts come before relevant "
    "ones; constant: all texts score alike; not_finite: scores are NaN; truncation: long texts get nonsense the way "
    "they are cut. The log and /admin/workers name the likeliest cause and the option to add. Models that are neither "
    "in the setting `models` nor among the first 100 with plain names are `other`.",
    Label("model"),
    Label("reason", get_args(Reason)),
)
