"""One request -> scores: fold, look up what is known, have the rest computed, merge."""

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

from app.cache.pairs import PairCache
from app.dispatch import Dispatch
from app.errors import (
    AllMisconfigured,
    BadGateway,
    BadInput,
    FingerprintGone,
    NoWorker,
    OutOfTime,
    Refused,
    WorkerError,
    told_to_client,
)
from app.fallback import Fallback
from app.fleet.fleet import Fleet
from app.flights import Flights
from app.loop import OnLoop
from app.metrics import Metrics
from app.policy import truncate
from app.policy.estimate import SPECIAL_TOKENS, likely_tokens, most_tokens
from app.policy.fold import fold
from app.policy.merge import merge, unfold
from app.settings import ModelSettings, Settings
from app.work import Answer, Caller, Chunk, Fingerprint, Pairs, RerankRequest, Scored, Tally

_NAMED_DOCUMENTS = 5


class Gateway(OnLoop):
    """Scores a request as one unsplit call to a worker would, faster and more dependably."""

    def __init__(
        self,
        *,
        fleet: Fleet,
        cache: PairCache,
        flights: Flights,
        dispatch: Dispatch,
        fallback: Fallback | None,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        self._fleet = fleet
        self._cache = cache
        self._flights = flights
        self._dispatch = dispatch
        self._fallback = fallback
        self._settings = settings
        self._metrics = metrics

    async def score(self, request: RerankRequest, caller: Caller, tally: Tally) -> Scored:
        """One finite score per document of the request.

        Args:
            request: Freed from its dialect.
            caller: Who asks, and until when.
            tally: Counts on as the work goes on.

        Raises:
            RerankError: what the client is to be told.
        """
        fallback = self._fallback if caller.takes_degraded else None
        if fallback and fallback.holds(request.model):
            return await fallback.score(request, caller, tally)
        try:
            return await self._score_by_workers(request, caller, tally)
        except (NoWorker, AllMisconfigured) as error:
            if fallback is None:
                raise
            fallback.enter(request.model, error)
            return await fallback.score(request, caller, tally)

    async def _score_by_workers(self, request: RerankRequest, caller: Caller, tally: Tally) -> Scored:
        now = self._loop.time()
        if now >= caller.deadline:
            raise OutOfTime("Time ran out before the request had come whole: allow it more, or send it faster.")
        until = min(caller.deadline, now + self._settings.no_worker_wait_s)
        tally.model = model = await self._fleet.resolve(request.model, until=until)
        while True:
            fingerprint = await self._fleet.pin(model, until=until)
            try:
                answer = await self._score_on(fingerprint, request, caller, tally)
            except FingerprintGone:
                # Scores of two fingerprints don't mix: the request starts again, whole, on another.
                until = caller.deadline
                if self._loop.time() >= until:
                    raise OutOfTime(f"Time ran out while workers of {model} came and went.") from None
            except WorkerError as exc:
                raise told_to_client(exc) from exc
            else:
                return self._complete(answer, request.model or model)

    async def _score_on(self, fingerprint: Fingerprint, request: RerankRequest, caller: Caller, tally: Tally) -> Answer:
        """The request's scores, all from workers of one fingerprint."""
        own, pairs = self._settings.for_model(fingerprint.model), request.pairs
        fields = await self._worker_fields(request, fingerprint, own, caller.deadline)
        # A listwise model's score of a pair depends on the other pairs.
        digests = () if own.listwise else self._cache.digests(pairs, fingerprint, fields, caller)
        # Texts that have digests needn't be read once more.
        distinct, positions = fold(range(len(pairs)) if own.listwise else digests or pairs.texts())
        whole = Chunk(
            pairs=pairs,
            fingerprint=fingerprint,
            fields=fields,
            # Nobody asks for them when all is known.
            pair_tokens=(),
            caller=caller,
            tokens=0,
            digests=digests,
        ).part(distinct)
        # What was found on a fingerprint that went away meanwhile is of no use on another.
        tally.cache_hits = tally.joined = 0
        scores = await self._cache.lookup(whole, tally)
        answer = await self._fill(whole, scores, tally)
        self._metrics.documents("duplicate", len(pairs) - len(distinct))
        return unfold(answer, positions)

    async def _fill(self, whole: Chunk, scores: Sequence[float | None], tally: Tally) -> Answer:
        """The answer for all pairs: `scores` has those that are known, the others are computed."""
        found = Answer([score for score in scores if score is not None], 0)
        if len(found.scores) == len(scores):
            return found
        missing = [place for place, score in enumerate(scores) if score is None] if found.scores else range(len(scores))
        began = perf_counter()
        tokens = pair_tokens(whole.pairs, whole.fingerprint.max_model_len)
        fresh = await self._flights.score(whole.weighed(tokens).part(missing), tally)
        tally.workers_s = perf_counter() - began
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
            query_tokens = await self._dispatch.count_tokens(query, fingerprint, deadline)
        return truncate.worker_fields(
            request.fields,
            mode=own.truncation,
            long_documents=request.long_documents or self._settings.long_documents,
            max_model_len=fingerprint.max_model_len,
            template_tokens=own.template_tokens,
            query_tokens=query_tokens,
        )

    def _complete(self, answer: Answer, model: str) -> Scored:
        """The answer with a score for every document, as far as settings allow that where workers refused one."""
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
    """What each pair most likely costs a worker, which never reads on past `max_model_len`."""
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
    is_input = any(isinstance(error, Refused) for error in refused.values())
    return (BadInput if is_input else BadGateway)(message, param=places[0], words=words)
