"""Metrics of requests and documents, from their arrival to the queue."""

from typing import Literal, get_args

from app.errors import ConnectionShedReason, OperatorError, RerankError, ShedReason
from app.telemetry.metrics.declaration import Label, counter, gauge, histogram, subclasses

Source = Literal["worker", "memory", "redis", "coalesced", "duplicate", "fallback", "refused"]

_CLIENT_LEFT, _BUG = 499, 500
_CLIENT_ERRORS = set(subclasses(RerankError)) - set(subclasses(OperatorError))
_STATUSES = {200, _CLIENT_LEFT, _BUG} | {error.status for error in _CLIENT_ERRORS}
_REQUESTS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30)
_WAITS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

# The API declares which there are.
ROUTE = Label("route")
DIALECT = Label("dialect")
STATUS = Label("status", tuple(str(status) for status in sorted(_STATUSES)))

REQUESTS = counter(
    "rerank_requests_total",
    "requests",
    "Requests answered. 5xx rising: workers fail or are missing; 429: rerank_shed_total says why; 499: clients leave "
    "before their answer.",
    ROUTE,
    DIALECT,
    STATUS,
)
REQUEST_DURATION = histogram(
    "rerank_request_duration_seconds",
    "seconds",
    "Time from a request's first byte to its answer. Rising together with rerank_queue_wait_seconds: too few workers; "
    "without it: slower ones, or longer lists.",
    ROUTE,
    buckets=_REQUESTS_S,
)
SHED = counter(
    "rerank_shed_total",
    "requests",
    "Requests refused with 429. queue: too many documents wait before it; deadline: it can't be done in time; pending: "
    "too many documents have no score yet; key: the same for its API key; bytes: too many bytes of bodies and unread "
    "answers. Rising: there are too few workers, or a limit is too low.",
    Label("reason", get_args(ShedReason)),
)
DEGRADED = counter(
    "rerank_degraded_requests_total",
    "requests",
    "Requests answered with lexical scores by the fallback. Rising: no worker of some model is usable.",
)
BYTES_IN_FLIGHT = gauge(
    "rerank_request_bytes_in_flight",
    "bytes",
    "Bytes of request bodies, and of long answers that clients are still reading, held now. At "
    "RERANK_MAX_BYTES_IN_FLIGHT requests are refused; among several API keys each is refused at its share of that.",
)
CONNECTIONS = gauge(
    "rerank_connections",
    "connections",
    "Connections of clients. At RERANK_MAX_CONNECTIONS new ones are answered with 503 and closed.",
)
CONNECTIONS_SHED = counter(
    "rerank_connections_shed_total",
    "connections",
    "Connections of clients that the gateway closed. full: they were beyond RERANK_MAX_CONNECTIONS; unread: their "
    "client took nothing of its answer for RERANK_WRITE_TIMEOUT_S. Rising: clients leak connections, or somebody "
    "attacks.",
    Label("reason", get_args(ConnectionShedReason)),
)
DOCUMENTS = counter(
    "rerank_documents_total",
    "documents",
    "Documents that got a score, by where it came from: a worker; the cache of this process (memory) or of all "
    "replicas (redis); the call of another request (coalesced); an equal document of the same request (duplicate); the "
    "fallback; refused: they got the lowest score. Where long documents are cut into passages, each passage counts.",
    Label("source", get_args(Source)),
)
PASSAGES = counter(
    "rerank_passages_total",
    "passages",
    "Passages of documents too long for the model, each of which is a pair. Rising faster than the requests: documents "
    "get longer, and cost more.",
)
PASSAGES_DROPPED = counter(
    "rerank_passages_dropped_total",
    "passages",
    "Passages beyond RERANK_MAX_PASSAGES_PER_DOCUMENT, by an estimate. Rising: the ends of documents aren't read; "
    "raise it, or send shorter documents.",
)
DOCUMENT_ERRORS = counter(
    "rerank_document_errors_total",
    "documents",
    "Documents no worker would score. Rising: clients send texts that workers refuse, or workers fail on them; the "
    "errors clients get have the reason.",
)
PENDING_DOCUMENTS = gauge(
    "rerank_pending_documents",
    "documents",
    "Documents of admitted requests that have no score yet. At RERANK_MAX_PENDING_DOCUMENTS requests are refused.",
)
MODEL_DOCUMENTS = counter(
    "rerank_model_documents_total",
    "documents",
    "Documents of all requests for a model of the setting `models`, under its own name, whether it has workers or not. "
    "Rising while it has none: somebody waits for its workers to be started.",
    Label("model"),
)
MODEL_PENDING_DOCUMENTS = gauge(
    "rerank_model_pending_documents",
    "documents",
    "Documents of admitted requests that have no score yet, by model of the setting `models`. What autoscalers go by.",
    Label("model"),
)
INFLIGHT_PAIRS = gauge(
    "rerank_inflight_pairs",
    "pairs",
    "Pairs being scored now. A request for one of them waits for that score instead of computing it again.",
)
QUEUE_CHUNKS = gauge(
    "rerank_queue_chunks", "chunks", "Chunks that wait for a slot. Above 0 for long: the workers are saturated."
)
QUEUE_DOCUMENTS = gauge(
    "rerank_queue_documents",
    "documents",
    "Documents of the chunks that wait for a slot. Rising without end: more arrive than the workers can score.",
)
QUEUE_WAIT = histogram(
    "rerank_queue_wait_seconds",
    "seconds",
    "Time a chunk waited for its slot, and for a usable worker when there was none. Rising: the workers are saturated.",
    buckets=_WAITS_S,
)
