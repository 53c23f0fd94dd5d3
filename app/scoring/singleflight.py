"""Pairs without a score -> scores: a pair that another request is having computed is waited for, not computed twice.

A computation is a chunk under way. It belongs to all requests that wait for it, and goes on as long as there is one,
whoever started it. When it fails, only the request that started it fails with it; the others compute the pairs anew, or
coalesce with the first that does. That happens only once: else a hundred requests for a pair that can't be scored would
fail one after the other, each when it has waited for all before it.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from app.aio import OnLoop, in_parallel, results_of
from app.errors import DeadlineExceeded
from app.policy.merge import merge
from app.policy.split import split
from app.queueing.admission import Admission
from app.queueing.scheduler import Scheduler
from app.scoring.attempts import Attempts
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.telemetry.spans import Span, current_span
from app.types import Answer, Chunk

# Computations that a request waits for to get the same pair; after that it starts one of its own.
_MOST_CHANCES = 2
# Places in a chunk, and the scores of the pairs there.
_Part = tuple[Sequence[int], Answer]


@dataclass(slots=True, eq=False)
class _Computation:
    """A chunk under way.

    Args:
        chunk: What is being scored.
        task: Scores it.
        span: Of the request that started it.
        pairs: Digests that other requests may wait for here; the chunk's others were under way before.
        waiting: How many requests wait for it.
    """

    chunk: Chunk
    task: asyncio.Task[Answer]
    span: Span
    pairs: Collection[bytes]
    waiting: int = 0


class Singleflight(OnLoop):
    """Scores pairs, each once at a time.

    Args:
        admission: Admits what has to be computed.
        attempts: Computes it.
        scheduler: Tells over how many workers to spread, and reprioritizes chunks that more urgent requests wait for.
        settings: Sizes of chunks.
        metrics: Count where scores came from.
    """

    def __init__(
        self,
        *,
        admission: Admission,
        attempts: Attempts,
        scheduler: Scheduler,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        self._admission = admission
        self._attempts = attempts
        self._scheduler = scheduler
        self._settings = settings
        self._metrics = metrics
        self._under_way: dict[bytes, _Computation] = {}

    @property
    def pairs(self) -> int:
        """Pairs under way that other requests may wait for."""
        return len(self._under_way)

    async def score(self, chunk: Chunk, *, chances: int = _MOST_CHANCES) -> Answer:
        """The scores of a chunk of any size.

        Args:
            chunk: Pairs of one request.
            chances: Computations of other requests that may be waited for to get a pair, one after the other.

        Raises:
            WorkerError, RerankError, FingerprintGone: as `Attempts.score` and `Admission.admit`; also DeadlineExceeded
                when the deadline passes while another request's computation is waited for.
        """
        coalesced, own = self._sort(chunk, chances)
        for span in {computation.span for computation in coalesced}:
            current_span.get().coalesces_with(span)
        if own and chances == _MOST_CHANCES:
            self._admission.admit(chunk.context, len(own), chunk.fingerprint, now=self._loop.time())
        elif own:
            # The failure of another request's computation is no reason to shed a request that was let in.
            self._admission.check_limits(chunk.context.key, len(own))
        started = {self._start(chunk.part(piece)): piece for piece in self._split(chunk, own)}
        chunk.context.stats.chunks += len(started)
        computations = [*started, *coalesced]
        for computation in computations:
            computation.waiting += 1
        works = [self._coalesce(computation, chunk, places, chances - 1) for computation, places in coalesced.items()]
        if started:
            works.append(self._own(started))
        try:
            parts = await in_parallel(works)
        finally:
            await self._leave(computations)
        return merge(chain.from_iterable(parts), len(chunk.pairs))

    def _sort(self, chunk: Chunk, chances: int) -> tuple[dict[_Computation, list[int]], Sequence[int]]:
        """Places of the pairs under way, by computation, and places of those left to compute."""
        if not chances or not chunk.digests or chunk.context.cache == "no-cache":
            return {}, range(len(chunk.pairs))
        if self._under_way.keys().isdisjoint(chunk.digests):
            return {}, range(len(chunk.pairs))
        coalesced: dict[_Computation, list[int]] = {}
        own = []
        for place, digest in enumerate(chunk.digests):
            computation = self._under_way.get(digest)
            if computation is None:
                own.append(place)
            else:
                coalesced.setdefault(computation, []).append(place)
        return coalesced, own

    def _split(self, chunk: Chunk, own: Sequence[int]) -> Sequence[Sequence[int]]:
        """The places in `own`, by chunk."""
        if not own:
            return []
        if self._settings.for_model(chunk.fingerprint.model).listwise:
            return [own]
        is_all = len(own) == len(chunk.pairs)
        pieces = split(
            chunk.pair_tokens if is_all else [chunk.pair_tokens[place] for place in own],
            workers=self._scheduler.effective_workers(chunk.fingerprint),
            max_batch=self._settings.max_batch,
            max_batch_tokens=self._settings.max_batch_tokens,
            min_batch=self._settings.min_batch,
        )
        return pieces if is_all else [[own[index] for index in piece] for piece in pieces]

    def _start(self, chunk: Chunk) -> _Computation:
        pairs: Collection[bytes] = chunk.digests
        if not self._under_way.keys().isdisjoint(pairs):
            pairs = [*set(pairs).difference(self._under_way)]
        task = asyncio.create_task(self._attempts.score(chunk))
        computation = _Computation(chunk, task, current_span.get(), pairs)
        self._under_way.update(dict.fromkeys(pairs, computation))
        # What is pending belongs to the computation: who started it may leave while others wait for it.
        self._admission.begin(chunk.context.key, len(chunk.pairs))
        computation.task.add_done_callback(lambda _: self._on_done(computation))
        return computation

    async def _own(self, started: Mapping[_Computation, Sequence[int]]) -> Sequence[_Part]:
        """The scores of the computations this request started. They go on without it while others wait for them."""
        answers = await results_of([computation.task for computation in started])
        self._metrics.documents("worker", sum(len(answer.scores) - len(answer.refused) for answer in answers))
        return list(zip(started.values(), answers, strict=True))

    async def _coalesce(
        self, computation: _Computation, chunk: Chunk, places: Sequence[int], chances: int
    ) -> Sequence[_Part]:
        """The scores of the pairs at `places`, all of another request's computation; `chances` are left if it fails."""
        part = chunk.part(places)
        self._scheduler.reprioritize(computation.chunk, part.context)
        left_s = part.context.deadline - self._loop.time()
        done, _ = await asyncio.wait([computation.task], timeout=max(0.0, left_s))
        if not done:
            message = f"Time ran out while another request had {len(part.pairs)} of the documents scored."
            raise DeadlineExceeded(message)
        scores = _scores(computation)
        known = [place for place, digest in enumerate(part.digests) if digest in scores]
        chunk.context.stats.coalesced += len(known)
        self._metrics.documents("coalesced", len(known))
        given = Answer([scores[part.digests[place]] for place in known], 0)
        if len(known) == len(part.pairs):
            return [(places, given)]
        missing = [place for place, digest in enumerate(part.digests) if digest not in scores]
        anew = await self.score(part.part(missing), chances=chances)
        return [([places[place] for place in known], given), ([places[place] for place in missing], anew)]

    async def _leave(self, computations: Sequence[_Computation]) -> None:
        """Stop waiting for computations. Those that nobody else waits for are cancelled, and over when this returns."""
        cancelled = []
        for computation in computations:
            computation.waiting -= 1
            if not computation.waiting and not computation.task.done():
                self._end(computation)
                computation.task.cancel()
                cancelled.append(computation.task)
        if cancelled:
            await asyncio.wait(cancelled)

    def _on_done(self, computation: _Computation) -> None:
        """Forget a computation that is over, and its pending documents."""
        self._end(computation)
        self._admission.end(computation.chunk.context.key, len(computation.chunk.pairs))
        if not computation.task.cancelled():
            # Whoever waits learns of it; when nobody does, asyncio would complain that nobody asked.
            computation.task.exception()

    def _end(self, computation: _Computation) -> None:
        """Let no further request wait for the computation."""
        for digest in computation.pairs:
            del self._under_way[digest]
        computation.pairs = ()


def _scores(computation: _Computation) -> dict[bytes, float]:
    """The scores of a computation that ended, by digest; none when it failed."""
    if computation.task.cancelled() or computation.task.exception():
        return {}
    answer = computation.task.result()
    pairs = enumerate(zip(computation.chunk.digests, answer.scores, strict=True))
    return {digest: score for place, (digest, score) in pairs if place not in answer.refused}
