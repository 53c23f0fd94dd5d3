"""Pairs without a score -> scores: those that another request is having computed are waited for, the rest computed.

A flight is a chunk under way. It belongs to all requests that wait for it: it goes on as long as there is one, whoever
started it. A flight that fails is nobody's result but its starter's; who joined it computes the pairs anew, or joins
whoever was first to do so. But that only once: else a hundred requests for a pair that can't be scored would fail one
after the other, each when it has waited for all before it.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from app.admission import Admission
from app.dispatch import Dispatch
from app.errors import OutOfTime
from app.loop import OnLoop
from app.metrics import Metrics
from app.parallel import in_parallel, results_of
from app.policy.merge import merge
from app.policy.split import split
from app.schedule import Schedule
from app.settings import Settings
from app.spans import Span, current_span
from app.work import Answer, Chunk, Tally

# Flights that a request joins for the same pair; after that it has one of its own.
_MOST_JOINS = 2
# Places in a chunk, and the scores of the pairs there.
_Part = tuple[Sequence[int], Answer]


@dataclass(slots=True, eq=False)
class _Flight:
    """A chunk under way.

    Args:
        chunk: What is being scored.
        task: Scores it.
        span: Of the request that started it.
        pairs: Those of the chunk that may be joined: others of it were under way before.
        waiting: How many requests wait for it.
    """

    chunk: Chunk
    task: asyncio.Task[Answer]
    span: Span
    pairs: Collection[bytes]
    waiting: int = 0


class Flights(OnLoop):
    """Gets pairs scored, each once at a time.

    Args:
        admission: Lets in what has to be computed.
        dispatch: Computes it.
        schedule: Tells over how many workers to spread, and lets chunks go first that more urgent requests wait for.
        settings: Sizes of chunks.
        metrics: Count where scores came from.
    """

    def __init__(
        self,
        *,
        admission: Admission,
        dispatch: Dispatch,
        schedule: Schedule,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        self._admission = admission
        self._dispatch = dispatch
        self._schedule = schedule
        self._settings = settings
        self._metrics = metrics
        self._under_way: dict[bytes, _Flight] = {}

    @property
    def pairs(self) -> int:
        """Pairs under way that other requests may join."""
        return len(self._under_way)

    async def score(self, chunk: Chunk, tally: Tally, *, joins: int = _MOST_JOINS) -> Answer:
        """The scores of a chunk of any size.

        Args:
            chunk: Pairs of one request.
            tally: Counts on as the work goes on.
            joins: How many flights may be joined for a pair, one after the other.

        Raises:
            WorkerError, RerankError, FingerprintGone: as `Dispatch.score` and `Admission.admit`; also OutOfTime
                when the deadline passes while another request's flight is waited for.
        """
        joined, own = self._sort(chunk, joins)
        for span in {flight.span for flight in joined}:
            current_span.get().joins(span)
        if own:
            self._admission.admit(chunk.caller, len(own), chunk.fingerprint, now=self._loop.time())
        started = {self._start(chunk.part(piece), tally): piece for piece in self._split(chunk, own)}
        tally.chunks += len(started)
        flights = [*started, *joined]
        for flight in flights:
            flight.waiting += 1
        works = [self._joined(flight, chunk, places, tally, joins - 1) for flight, places in joined.items()]
        if started:
            works.append(self._own(started))
        try:
            parts = await in_parallel(works)
        finally:
            await self._leave(flights)
        return merge(chain.from_iterable(parts), len(chunk.pairs))

    def _sort(self, chunk: Chunk, joins: int) -> tuple[dict[_Flight, list[int]], Sequence[int]]:
        """Which pairs are under way with whom, and which are left to us."""
        if not joins or not chunk.digests or chunk.caller.cache == "no-cache":
            return {}, range(len(chunk.pairs))
        if self._under_way.keys().isdisjoint(chunk.digests):
            return {}, range(len(chunk.pairs))
        joined: dict[_Flight, list[int]] = {}
        own = []
        for place, digest in enumerate(chunk.digests):
            flight = self._under_way.get(digest)
            if flight is None:
                own.append(place)
            else:
                joined.setdefault(flight, []).append(place)
        return joined, own

    def _split(self, chunk: Chunk, own: Sequence[int]) -> Sequence[Sequence[int]]:
        """The pairs that are left to us, by chunk."""
        if not own:
            return []
        if self._settings.for_model(chunk.fingerprint.model).listwise:
            return [own]
        is_all = len(own) == len(chunk.pairs)
        pieces = split(
            chunk.pair_tokens if is_all else [chunk.pair_tokens[place] for place in own],
            workers=self._schedule.strength(chunk.fingerprint),
            max_batch=self._settings.max_batch,
            max_batch_tokens=self._settings.max_batch_tokens,
            min_batch=self._settings.min_batch,
        )
        return pieces if is_all else [[own[index] for index in piece] for piece in pieces]

    def _start(self, chunk: Chunk, tally: Tally) -> _Flight:
        pairs: Collection[bytes] = chunk.digests
        if not self._under_way.keys().isdisjoint(pairs):
            pairs = [*set(pairs).difference(self._under_way)]
        task = asyncio.create_task(self._dispatch.score(chunk, tally))
        flight = _Flight(chunk, task, current_span.get(), pairs)
        self._under_way.update(dict.fromkeys(pairs, flight))
        # What is pending belongs to the flight: who started it may leave while others wait for it.
        self._admission.begin(chunk.caller.key, len(chunk.pairs))
        flight.task.add_done_callback(lambda _: self._landed(flight))
        return flight

    async def _own(self, started: Mapping[_Flight, Sequence[int]]) -> Sequence[_Part]:
        """What all flights of this request find out. Others may wait for them too, so they go on when it doesn't."""
        answers = await results_of([flight.task for flight in started])
        self._metrics.documents("worker", sum(len(answer.scores) - len(answer.refused) for answer in answers))
        return list(zip(started.values(), answers, strict=True))

    async def _joined(
        self, flight: _Flight, chunk: Chunk, places: Sequence[int], tally: Tally, joins: int
    ) -> Sequence[_Part]:
        """The scores of the pairs at `places`, all of which are part of the flight; `joins` are left if it fails."""
        part = chunk.part(places)
        self._schedule.hurry(flight.chunk, part.caller)
        left_s = part.caller.deadline - self._loop.time()
        done, _ = await asyncio.wait([flight.task], timeout=max(0.0, left_s))
        if not done:
            message = f"Time ran out while another request had {len(part.pairs)} of the documents scored."
            raise OutOfTime(message)
        scores = _scores(flight)
        known = [place for place, digest in enumerate(part.digests) if digest in scores]
        tally.joined += len(known)
        self._metrics.documents("flight", len(known))
        given = Answer([scores[part.digests[place]] for place in known], 0)
        if len(known) == len(part.pairs):
            return [(places, given)]
        missing = [place for place, digest in enumerate(part.digests) if digest not in scores]
        anew = await self.score(part.part(missing), tally, joins=joins)
        return [([places[place] for place in known], given), ([places[place] for place in missing], anew)]

    async def _leave(self, flights: Sequence[_Flight]) -> None:
        """Wait no longer. Flights that nobody waits for any more are cancelled, and gone when this returns."""
        abandoned = []
        for flight in flights:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                self._end(flight)
                flight.task.cancel()
                abandoned.append(flight.task)
        if abandoned:
            await asyncio.wait(abandoned)

    def _landed(self, flight: _Flight) -> None:
        """It is over."""
        self._end(flight)
        self._admission.end(flight.chunk.caller.key, len(flight.chunk.pairs))
        if not flight.task.cancelled():
            # Whoever waits learns of it; when nobody does, asyncio would complain that nobody asked.
            flight.task.exception()

    def _end(self, flight: _Flight) -> None:
        """Nobody can join it from now on."""
        for digest in flight.pairs:
            del self._under_way[digest]
        flight.pairs = ()


def _scores(flight: _Flight) -> dict[bytes, float]:
    """What a flight that ended found out, by digest; nothing when it failed."""
    if flight.task.cancelled() or flight.task.exception():
        return {}
    answer = flight.task.result()
    pairs = enumerate(zip(flight.chunk.digests, answer.scores, strict=True))
    return {digest: score for place, (digest, score) in pairs if place not in answer.refused}
