"""One request -> scores: dedup, look up what is known, have the rest computed, expand."""

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

from app.aio import OnLoop
from app.cache.score_cache import ScoreCache
from app.errors import (
    AllMisconfigured,
    AttemptTimeout,
    BadGateway,
    BadInput,
    ContentRejected,
    DeadlineExceeded,
    FingerprintGone,
    NoWorker,
    OutOfFiles,
    RerankError,
    Unavailable,
    Unreachable,
    WorkerError,
)
from app.policy import truncate
from app.policy.dedup import dedup
from app.policy.merge import expand, merge
from app.policy.token_estimate import SPECIAL_TOKENS, likely_tokens, most_tokens
from app.scoring.fallback import Fallback
from app.scoring.singleflight import Singleflight
from app.settings import ModelSettings, Settings
from app.telemetry.metrics import Metrics
from app.types import Answer, Chunk, Fingerprint, Pairs, RequestContext, RerankRequest, Scored
from app.workers.registry import Registry
from app.workers.token_counter import TokenCounter

_NAMED_DOCUMENTS = 5


class Gateway(OnLoop):
    """Scores requests as one unsplit call to a worker would, faster and more dependably."""

    def __init__(
        self,
        *,
        registry: Registry,
        cache: ScoreCache,
        singleflight: Singleflight,
        token_counter: TokenCounter,
        fallback: Fallback | None,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        self._registry = registry
        self._cache = cache
        self._singleflight = singleflight
        self._token_counter = token_counter
        self._fallback = fallback
        self._settings = settings
        self._metrics = metrics

    async def score(self, request: RerankRequest, context: RequestContext) -> Scored:
        """One finite score per document of the request.

        Args:
            request: Freed from its dialect.
            context: Who asks, and until when; its stats count on as the work goes on.

        Raises:
            RerankError: the answer to the client.
        """
        fallback = self._fallback if context.takes_degraded else None
        if fallback and fallback.holds(request.model):
            return await fallback.score(request, context)
        try:
            return await self._score_by_workers(request, context)
        except (NoWorker, AllMisconfigured) as error:
            if fallback is None:
                raise
            fallback.enter(request.model, error)
            return await fallback.score(request, context)

    async def _score_by_workers(self, request: RerankRequest, context: RequestContext) -> Scored:
        now = self._loop.time()
        if now >= context.deadline:
            raise DeadlineExceeded("Time ran out before the request had come whole: allow it more, or send it faster.")
        until = min(context.deadline, now + self._settings.no_worker_wait_s)
        context.stats.model = model = await self._registry.resolve(request.model, until=until)
        while True:
            fingerprint = await self._registry.pin(model, until=until)
            try:
                answer = await self._score_on(fingerprint, request, context)
            except FingerprintGone:
                # Scores of two fingerprints don't mix: the request starts again, whole, on another.
                until = context.deadline
                if self._loop.time() >= until:
                    raise DeadlineExceeded(f"Time ran out while workers of {model} came and went.") from None
            except WorkerError as exc:
                raise _to_client_error(exc) from exc
            else:
                return self._complete(answer, request.model or model)

    async def _score_on(self, fingerprint: Fingerprint, request: RerankRequest, context: RequestContext) -> Answer:
        """The request's scores, all from workers of one fingerprint."""
        own, pairs = self._settings.for_model(fingerprint.model), request.pairs
        fields = await self._worker_fields(request, fingerprint, own, context.deadline)
        # A listwise model's score of a pair depends on the other pairs.
        digests = () if own.listwise else self._cache.digests(pairs, fingerprint, fields, context)
        # Texts that have digests needn't be read once more.
        distinct, positions = dedup(range(len(pairs)) if own.listwise else digests or pairs.texts())
        whole = Chunk(
            pairs=pairs,
            fingerprint=fingerprint,
            fields=fields,
            # Nobody asks for them when all is known.
            pair_tokens=(),
            context=context,
            tokens=0,
            digests=digests,
        ).part(distinct)
        # What was found on a fingerprint that went away meanwhile is of no use on another.
        context.stats.cache_hits = context.stats.coalesced = 0
        scores = await self._cache.lookup(whole)
        answer = await self._fill(whole, scores)
        self._metrics.documents("duplicate", len(pairs) - len(distinct))
        return expand(answer, positions)

    async def _fill(self, whole: Chunk, scores: Sequence[float | None]) -> Answer:
        """The answer for all pairs: `scores` has those that are known, the others are computed."""
        found = Answer([score for score in scores if score is not None], 0)
        if len(found.scores) == len(scores):
            return found
        missing = [place for place, score in enumerate(scores) if score is None] if found.scores else range(len(scores))
        began = perf_counter()
        tokens = pair_tokens(whole.pairs, whole.fingerprint.max_model_len)
        fresh = await self._singleflight.score(whole.with_pair_tokens(tokens).part(missing))
        whole.context.stats.workers_s = perf_counter() - began
        if not found.scores:
            return fresh
        known = [place for place, score in enumerate(scores) if score is not None]
        return merge([(known, found), (missing, fresh)], len(scores))

    async def _worker_fields(
        self, request: RerankRequest, fingerprint: Fingerprint, own: ModelSettings, deadline: float
    ) -> dict[str, Any]:
        query = max(request.pairs.queries, key=most_tokens)
        query_tokens = most_tokens(query)
        if truncate.needs_count(query, fingerprint.max_model_len):
            query_tokens = await self._token_counter.count(query, fingerprint, deadline)
        return truncate.worker_fields(
            request.fields,
            mode=own.truncation,
            long_documents=request.long_documents or self._settings.long_documents,
            max_model_len=fingerprint.max_model_len,
            template_tokens=own.template_tokens,
            query_tokens=query_tokens,
        )

    def _complete(self, answer: Answer, model: str) -> Scored:
        """The answer with a score for every document; where workers refused one, as far as the settings allow."""
        if not answer.refused:
            return Scored(model=model, scores=answer.scores, tokens=answer.tokens)
        scored = [score for place, score in enumerate(answer.scores) if place not in answer.refused]
        self._metrics.document_errors(len(answer.refused))
        if self._settings.document_errors == "error" or not scored:
            raise _named(answer.refused)
        self._metrics.documents("refused", len(answer.refused))
        lowest = min(scored)
        scores = [lowest if place in answer.refused else score for place, score in enumerate(answer.scores)]
        unscored = {place: error.reason for place, error in answer.refused.items()}
        return Scored(model=model, scores=scores, tokens=answer.tokens, unscored=unscored)


def pair_tokens(pairs: Pairs, max_model_len: int) -> list[int]:
    """The likely tokens of each pair, at most `max_model_len`, past which a worker never reads."""
    queries, documents = likely_tokens(pairs.queries), likely_tokens(pairs.documents)
    if len(queries) == 1:
        beside = queries[0] + SPECIAL_TOKENS
        tokens = [document + beside for document in documents]
    else:
        tokens = [query + document + SPECIAL_TOKENS for query, document in zip(queries, documents, strict=True)]
    return tokens if max(tokens) <= max_model_len else [min(one, max_model_len) for one in tokens]


def _named(refused: Mapping[int, WorkerError]) -> BadInput | BadGateway:
    """The error that names the documents no worker would score."""
    places = [f"documents[{index}]" for index in sorted(refused)]
    more = f" and {len(places) - _NAMED_DOCUMENTS} more" if len(places) > _NAMED_DOCUMENTS else ""
    first = refused[min(refused)]
    reason, words = first.reason, first.words
    message = f"{', '.join(places[:_NAMED_DOCUMENTS])}{more}: {reason}"
    # A worker that can't score a text says nothing about whether the client wrote it wrongly.
    is_input = any(isinstance(error, ContentRejected) for error in refused.values())
    return (BadInput if is_input else BadGateway)(message, param=places[0], words=words)


def _to_client_error(error: WorkerError) -> RerankError:
    """The error a client is told when `error` ended the last attempt."""
    words = error.words
    match error:
        case ContentRejected():
            return BadInput(error.reason, words=words)
        case AttemptTimeout():
            return DeadlineExceeded(f"Time ran out: {error.reason}.")
        case Unavailable() | Unreachable() | OutOfFiles():
            wait_s = error.retry_after_s or 1.0
            return NoWorker(f"No worker can serve now: {error.reason}.", retry_after_s=wait_s, words=words)
        case _:
            return BadGateway(f"No worker gave a usable answer: {error.reason}.", words=words)
