"""One request -> scores: dedup, look up what is known, wait for what is under way, admit and compute the rest."""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TypeVar

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
    SuspectModel,
    Unavailable,
    UnknownModel,
    Unreachable,
    WorkerError,
)
from app.policy.dedup import dedup
from app.policy.merge import Part, expand, merge
from app.policy.score_scale import Scaling
from app.policy.split import split
from app.policy.token_estimate import pair_tokens
from app.queueing.admission import Admission
from app.queueing.scheduler import Scheduler
from app.scoring.fallback import Fallback
from app.scoring.preparation import Preparation, Prepared
from app.scoring.singleflight import Singleflight, Wait, scores_of
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.types import Answer, Chunk, Fingerprint, RequestContext, RerankRequest, Scored
from app.workers.lexical import LEXICAL_MODEL
from app.workers.profiles import Profiles
from app.workers.registry import Registry

# Computations of others that a request waits for to get the same pair; after that it starts one of its own.
_MOST_CHANCES = 2
_NAMED_DOCUMENTS = 5

T = TypeVar("T")


@dataclass(kw_only=True, eq=False, repr=False)
class Gateway(OnLoop):
    """Scores requests as one unsplit call to a worker would, faster and more dependably."""

    registry: Registry
    profiles: Profiles
    cache: ScoreCache
    singleflight: Singleflight
    admission: Admission
    scheduler: Scheduler
    preparation: Preparation
    fallback: Fallback | None
    settings: Settings
    metrics: Metrics

    async def score(self, request: RerankRequest, context: RequestContext) -> Scored:
        """One finite score per document of the request.

        Args:
            request: Freed from its dialect.
            context: Who asks, and until when; its stats count on as the work goes on.

        Raises:
            RerankError: the answer to the client.
        """
        if model := self.registry.configured(request.model):
            self.metrics.asked_for(model, len(request.pairs))
        fallback = self.fallback if context.takes_degraded else None
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
        until = min(context.deadline, now + self.settings.no_worker_wait_s)
        model = await self._waited_for(self.registry.resolve(request.model, until=until), context)
        context.stats.model = model
        degraded = LEXICAL_MODEL if model == LEXICAL_MODEL and request.model not in {None, "", LEXICAL_MODEL} else None
        if degraded and not context.takes_degraded:
            raise UnknownModel(f"The model `{request.model:.80}` does not exist here; there is {model}.", param="model")
        while True:
            pinned = await self._waited_for(self.registry.pin(model, until=until), context)
            fingerprint = self._unless_suspect(pinned)
            try:
                prepared = await self.preparation.prepare(request, fingerprint, context, is_degraded=bool(degraded))
                answer = await self._score_on(fingerprint, prepared, context)
            except FingerprintGone:
                # Scores of two fingerprints don't mix: the request starts again, whole, on another.
                until = context.deadline
                if self._loop.time() >= until:
                    raise DeadlineExceeded(f"Time ran out while workers of {model} came and went.") from None
            except WorkerError as exc:
                raise _to_client_error(exc) from exc
            else:
                answer = prepared.by_document(answer)
                return self._complete(answer, request.model or model, prepared.scaling, degraded=degraded)

    def _unless_suspect(self, pinned: Fingerprint) -> Fingerprint:
        """The fingerprint; when the settings refuse it as suspect, one of other workers that serve the model rightly.

        Raises:
            SuspectModel: there is none.
        """
        suspicion = self.profiles.suspicion_of(pinned) if self.settings.suspect_models == "refuse" else None
        if suspicion is None:
            return pinned
        for fingerprint in self.registry.fingerprints(pinned.model):
            if not self.profiles.suspicion_of(fingerprint):
                return fingerprint
        raise SuspectModel(f"{pinned.model:.60} is served wrongly: {suspicion.seen}; {suspicion.fix}")

    async def _waited_for(self, work: Awaitable[T], context: RequestContext) -> T:
        """The result of `work`, whose time counts for the request as a wait for a usable worker, in vain or not."""
        began = self._loop.time()
        try:
            return await work
        finally:
            context.stats.no_worker_s += self._loop.time() - began

    async def _score_on(self, fingerprint: Fingerprint, prepared: Prepared, context: RequestContext) -> Answer:
        """The scores of the pairs, all from workers of one fingerprint."""
        pairs, fields, is_whole = prepared.pairs, prepared.fields, prepared.is_whole
        # Where a pair's score depends on the other pairs, it is worth nothing beside others.
        digests = () if is_whole else self.cache.digests(pairs, fingerprint, fields, context)
        # Texts that have digests needn't be read once more.
        distinct, positions = dedup(range(len(pairs)) if is_whole else digests or pairs.texts())
        chunk = Chunk(
            pairs=pairs, fingerprint=fingerprint, fields=fields, context=context, digests=digests, is_whole=is_whole
        )
        # What was found on a fingerprint that went away meanwhile is of no use on another.
        context.stats.cache_hits = context.stats.coalesced = 0
        answer = await self._look_up_or_compute(chunk.part(distinct))
        self.metrics.documents("duplicate", len(pairs) - len(distinct))
        return expand(answer, positions)

    async def _look_up_or_compute(self, chunk: Chunk) -> Answer:
        """The scores of distinct pairs: those that are remembered, and the others anew."""
        found = await self.cache.lookup(chunk)
        scores = [score for score in found if score is not None]
        if len(scores) == len(found):
            return Answer(scores, 0)
        parts: list[Part] = []
        missing: Sequence[int] = range(len(found))
        if scores:
            parts.append(([place for place, score in enumerate(found) if score is not None], Answer(scores, 0)))
            missing = [place for place, score in enumerate(found) if score is None]
        began = perf_counter()
        try:
            tokens = pair_tokens(chunk.pairs, chunk.fingerprint.max_model_len)
            parts += await self._compute(replace(chunk, pair_tokens=tokens, tokens=sum(tokens)), missing)
        finally:
            chunk.context.stats.workers_s += perf_counter() - began
        return merge(parts, len(found))

    async def _compute(self, chunk: Chunk, places: Sequence[int]) -> list[Part]:
        """The scores of the pairs at `places`, from computations of this request and of others.

        The pairs of another request's computation that fails are sorted anew, twice at most: then they are computed.
        """
        parts: list[Part] = []
        waits = self._begin(chunk, places, _MOST_CHANCES)
        try:
            while waits:
                ended, waits = await self.singleflight.wait(waits, deadline=chunk.context.deadline)
                for wait in ended:
                    scored, answer = self._part(chunk, wait)
                    parts.append((scored, answer))
                    if len(scored) < len(wait.places):
                        missing = sorted(set(wait.places).difference(scored))
                        waits += self._begin(chunk, missing, wait.chances - 1)
        finally:
            await self.singleflight.leave(waits)
        return parts

    def _begin(self, chunk: Chunk, places: Sequence[int], chances: int) -> list[Wait]:
        """Sort out which pairs are under way, join those; admit the others, split them and start their chunks."""
        under_way, left = self.singleflight.sort(chunk, places) if chances else ({}, places)
        if left and chances == _MOST_CHANCES:
            self.admission.admit(chunk.context, len(left), chunk.fingerprint, now=self._loop.time())
        elif left:
            # The failure of another request's computation is no reason to shed a request that was let in.
            self.admission.check_limits(chunk.context.key, len(left))
        pieces = self._split(chunk, left)
        waits = [Wait(self.singleflight.start(chunk.part(piece)), piece) for piece in pieces]
        chunk.context.stats.chunks += len(waits)
        self.singleflight.join(under_way, chunk.context)
        return waits + [Wait(computation, shared, chances) for computation, shared in under_way.items()]

    def _split(self, chunk: Chunk, places: Sequence[int]) -> Sequence[Sequence[int]]:
        """The places, by chunk."""
        if not places or chunk.is_whole:
            return [places] if places else []
        workers = self.scheduler.effective_workers(chunk.fingerprint)
        is_all = len(places) == len(chunk.pairs)
        pieces = split(
            chunk.pair_tokens if is_all else [chunk.pair_tokens[place] for place in places],
            workers=workers,
            max_batch=self.settings.max_batch,
            max_batch_tokens=self.settings.max_batch_tokens,
            min_batch=self.settings.min_batch,
        )
        return pieces if is_all else [[places[index] for index in piece] for piece in pieces]

    def _part(self, chunk: Chunk, wait: Wait) -> Part:
        """The scores that an ended computation gave, and the places of their pairs."""
        if not wait.chances:
            answer = wait.computation.task.result()
            self.metrics.documents("worker", len(answer.scores) - len(answer.refused))
            return wait.places, answer
        scores = scores_of(wait.computation)
        places = [place for place in wait.places if chunk.digests[place] in scores]
        chunk.context.stats.coalesced += len(places)
        self.metrics.documents("coalesced", len(places))
        return places, Answer([scores[chunk.digests[place]] for place in places], 0)

    def _complete(self, answer: Answer, model: str, scaling: Scaling, *, degraded: str | None) -> Scored:
        """The answer with a score for every document; where workers refused one, as far as the settings allow."""
        whole = Scored(
            model=model,
            scores=scaling.apply(answer.scores),
            tokens=answer.tokens,
            degraded=degraded,
            by_passage=answer.by_passage,
            score_scale=scaling.scale,
        )
        if not answer.refused:
            return whole
        scored = [score for place, score in enumerate(whole.scores) if place not in answer.refused]
        self.metrics.document_errors(len(answer.refused))
        if self.settings.document_errors == "error" or not scored:
            raise _named(answer.refused)
        self.metrics.documents("refused", len(answer.refused))
        lowest = min(scored)
        scores = [lowest if place in answer.refused else score for place, score in enumerate(whole.scores)]
        unscored = {place: error.message for place, error in answer.refused.items()}
        return replace(whole, scores=scores, unscored=unscored)


def _named(refused: Mapping[int, WorkerError]) -> BadInput | BadGateway:
    """The error that names the documents no worker would score."""
    places = [f"documents[{index}]" for index in sorted(refused)]
    more = f" and {len(places) - _NAMED_DOCUMENTS} more" if len(places) > _NAMED_DOCUMENTS else ""
    first = refused[min(refused)]
    message = f"{', '.join(places[:_NAMED_DOCUMENTS])}{more}: {first.redacted}"
    # A worker that can't score a text says nothing about whether the client wrote it wrongly.
    is_input = any(isinstance(error, ContentRejected) for error in refused.values())
    return (BadInput if is_input else BadGateway)(message, param=places[0], words=first.words)


def _to_client_error(error: WorkerError) -> RerankError:
    """The error a client is told when `error` ended the last attempt."""
    words = error.words
    match error:
        case ContentRejected():
            return BadInput(error.redacted, words=words)
        case AttemptTimeout():
            return DeadlineExceeded(f"Time ran out: {error.message}.")
        case Unavailable() | Unreachable() | OutOfFiles():
            wait_s = error.retry_after_s or 1.0
            return NoWorker(f"No worker can serve now: {error.redacted}.", retry_after_s=wait_s, words=words)
        case _:
            return BadGateway(f"No worker gave a usable answer: {error.redacted}.", words=words)
