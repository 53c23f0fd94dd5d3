"""Computations under way: a pair that another request is having computed is waited for, not computed twice.

A computation is a chunk under way. It belongs to all requests that wait for it, and goes on as long as there is one,
whoever started it. When it fails, only the request that started it fails with it; the others compute the pairs anew, or
coalesce with the first that does. That happens only once: else a hundred requests for a pair that can't be scored would
fail one after the other, each when it has waited for all before it.
"""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from app.aio import OnLoop, results_of
from app.errors import DeadlineExceeded
from app.queueing.admission import Admission
from app.queueing.scheduler import Scheduler
from app.scoring.attempts import Attempts
from app.telemetry.spans import Span, current_span
from app.types import Answer, Chunk, RequestContext


@dataclass(slots=True, eq=False)
class Computation:
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
    waiting: int = 1


class Wait(NamedTuple):
    """Pairs of a request that a computation is waited for.

    Args:
        computation: Scores them.
        places: Where they stand among the request's.
        chances: Computations of others that may be waited for to get them, this one included; 0: the request's own.
    """

    computation: Computation
    places: Sequence[int]
    chances: int = 0


class Singleflight(OnLoop):
    """Knows which pairs are under way, so that each is computed once at a time.

    Args:
        attempts: Computes chunks.
        admission: Counts as pending what is under way.
        scheduler: Reprioritizes chunks that more urgent requests wait for.
    """

    def __init__(self, *, attempts: Attempts, admission: Admission, scheduler: Scheduler) -> None:
        self._attempts = attempts
        self._admission = admission
        self._scheduler = scheduler
        self._under_way: dict[bytes, Computation] = {}

    @property
    def pairs(self) -> int:
        """Pairs under way that other requests may wait for."""
        return len(self._under_way)

    def sort(self, chunk: Chunk, places: Sequence[int]) -> tuple[dict[Computation, list[int]], Sequence[int]]:
        """The places of pairs under way, by computation, and of those left to compute."""
        if chunk.context.cache == "no-cache" or self._under_way.keys().isdisjoint(chunk.digests):
            return {}, places
        under_way: dict[Computation, list[int]] = {}
        left = []
        for place in places:
            computation = self._under_way.get(chunk.digests[place])
            if computation is None:
                left.append(place)
            else:
                under_way.setdefault(computation, []).append(place)
        return under_way, left

    def start(self, chunk: Chunk) -> Computation:
        """Begin to compute a chunk, for the request it belongs to."""
        pairs: Collection[bytes] = chunk.digests
        if not self._under_way.keys().isdisjoint(pairs):
            pairs = [*set(pairs).difference(self._under_way)]
        task = asyncio.create_task(self._attempts.score(chunk))
        computation = Computation(chunk, task, current_span.get(), pairs)
        self._under_way.update(dict.fromkeys(pairs, computation))
        # What is pending belongs to the computation: who started it may leave while others wait for it.
        self._admission.begin(chunk.context.key, len(chunk.pairs), chunk.fingerprint.model)
        task.add_done_callback(lambda _: self._on_done(computation))
        return computation

    def join(self, computations: Collection[Computation], context: RequestContext) -> None:
        """Have a request wait for computations of others; they move to its turn in the queue if that comes earlier."""
        for span in {computation.span for computation in computations}:
            current_span.get().coalesces_with(span)
        for computation in computations:
            computation.waiting += 1
            # Only once what was started in this turn of the loop is in the queue.
            self._loop.call_soon(self._scheduler.reprioritize, computation.chunk, context)

    async def wait(self, waits: Sequence[Wait], *, deadline: float) -> tuple[list[Wait], list[Wait]]:
        """Those of a request's waits that are over, once all are or one has failed, and those that are left.

        Raises:
            WorkerError, RerankError, FingerprintGone: a computation of the request's own failed, as `Attempts.score`.
            DeadlineExceeded: the deadline passed while others' computations were waited for.
        """
        own = [wait.computation.task for wait in waits if not wait.chances]
        if len(own) < len(waits):
            tasks, left_s = [wait.computation.task for wait in waits], max(0.0, deadline - self._loop.time())
            done, _ = await asyncio.wait(tasks, timeout=left_s, return_when=asyncio.FIRST_EXCEPTION)
            if not done:
                documents = sum(len(wait.places) for wait in waits if wait.chances)
                raise DeadlineExceeded(f"Time ran out while another request had {documents} of the documents scored.")
            own = [task for task in own if task in done]
        if own:
            await results_of(own)
        ended = [wait for wait in waits if wait.computation.task.done()]
        return ended, [wait for wait in waits if not wait.computation.task.done()]

    async def leave(self, waits: Iterable[Wait]) -> None:
        """Stop waiting. Computations that nobody else waits for are cancelled, and over when this returns."""
        cancelled = []
        for computation, _, _ in waits:
            computation.waiting -= 1
            if not computation.waiting and not computation.task.done():
                self._end(computation)
                computation.task.cancel()
                cancelled.append(computation.task)
        if cancelled:
            await asyncio.wait(cancelled)

    def _on_done(self, computation: Computation) -> None:
        """Forget a computation that is over, and its pending documents."""
        self._end(computation)
        chunk = computation.chunk
        self._admission.end(chunk.context.key, len(chunk.pairs), chunk.fingerprint.model)
        if not computation.task.cancelled():
            # Whoever waits learns of it; when nobody does, asyncio would complain that nobody asked.
            computation.task.exception()

    def _end(self, computation: Computation) -> None:
        """Let no further request wait for the computation."""
        for digest in computation.pairs:
            del self._under_way[digest]
        computation.pairs = ()


def scores_of(computation: Computation) -> dict[bytes, float]:
    """The scores of a computation that ended, by digest; none when it failed."""
    if computation.task.cancelled() or computation.task.exception():
        return {}
    answer = computation.task.result()
    pairs = enumerate(zip(computation.chunk.digests, answer.scores, strict=True))
    return {digest: score for place, (digest, score) in pairs if place not in answer.refused}
