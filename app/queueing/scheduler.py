"""Whose chunk is next, and on which worker: a slot is permission for one call in flight."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import NamedTuple

from app.aio import OnLoop
from app.errors import ChunkTooBig, Overloaded
from app.policy.balance import pick
from app.policy.fair_queue import FairQueue
from app.policy.forecast import Arrivals, documents_before
from app.policy.lone_request import LoneRequest
from app.policy.shedding import Load
from app.policy.throughput import Throughput
from app.queueing.placement import candidates_for, load_factors, that_fit
from app.queueing.slot import Slot
from app.types import Chunk, Fingerprint, RequestContext
from app.workers.registry import Registry
from app.workers.worker import Worker


@dataclass(slots=True, eq=False)
class _Waiter:
    """A chunk waiting for a slot in the turn of a request. `granted` becomes None when no worker is left."""

    chunk: Chunk
    turn: RequestContext
    avoid: AbstractSet[Worker]
    granted: "asyncio.Future[Slot | None]"


class Outlook(NamedTuple):
    """What a new request would meet.

    Args:
        waiting: Documents that wait now and will be granted before it is done.
        before: All documents that will be granted before it is done, with those that are still to come.
        per_s: Documents per second that the workers get through; None when that isn't known.
        is_overload: Whether the queue only grows.
    """

    waiting: int
    before: float
    per_s: float | None
    is_overload: bool


@dataclass(slots=True)
class _ModelQueue:
    """What waits for the workers of one fingerprint, how fast they get through it, and whose it is."""

    queue: FairQueue[_Waiter] = field(default_factory=FairQueue)
    arrivals: Arrivals = field(default_factory=Arrivals)
    throughput: Throughput = field(default_factory=Throughput)
    wake: asyncio.TimerHandle | None = None
    load: Load = field(default_factory=Load)
    lone_request: LoneRequest = field(default_factory=LoneRequest)


class Scheduler(OnLoop):
    """Grants slots by fair share, one line per fingerprint.

    Args:
        registry: Whose workers have the slots.
        no_worker_wait_s: How long a chunk waits for a usable worker.
        rng: Breaks ties between equally loaded workers.
    """

    def __init__(self, registry: Registry, *, no_worker_wait_s: float, rng: Random) -> None:
        self._registry = registry
        self._no_worker_wait_s = no_worker_wait_s
        self._rng = rng
        self._queues: defaultdict[Fingerprint, _ModelQueue] = defaultdict(_ModelQueue)
        self._waiting: dict[Chunk, _Waiter] = {}
        registry.on_change(self._serve_all)

    @property
    def waiting(self) -> int:
        """Chunks that wait for a slot."""
        return sum(len(model_queue.queue) for model_queue in self._queues.values())

    @property
    def waiting_documents(self) -> int:
        """Documents of the chunks that wait for a slot."""
        return sum(model_queue.queue.documents for model_queue in self._queues.values())

    def outlook(self, key: str, documents: int, fingerprint: Fingerprint) -> Outlook:
        """What a new request of `documents` would meet."""
        model_queue = self._queues.get(fingerprint)
        if model_queue is None:
            return Outlook(0, 0, None, is_overload=False)
        waiting = model_queue.queue.documents_before(key=key, documents=documents)
        per_s = model_queue.throughput.per_s(len(self._registry.usable(fingerprint)))
        if not waiting or per_s is None:
            return Outlook(waiting, waiting, per_s, model_queue.load.is_overload)
        before = documents_before(
            documents=documents,
            waiting=waiting,
            most=model_queue.queue.most_before(key=key, documents=documents),
            arriving_per_s=model_queue.arrivals.per_s(self._loop.time()),
            per_s=per_s,
        )
        return Outlook(waiting, before, per_s, model_queue.load.is_overload)

    def effective_workers(self, fingerprint: Fingerprint) -> int:
        """How many workers of full speed the usable ones are worth; at least 1."""
        found = load_factors(self._registry.usable(fingerprint), self._loop.time())
        return max(1, round(sum(1 / weight for weight in found.values())))

    async def slot(self, chunk: Chunk, *, avoid: AbstractSet[Worker]) -> Slot:
        """A worker for one call with this chunk.

        Args:
            chunk: Its fingerprint says which workers may score it.
            avoid: Workers that are taken only when no other is usable.

        Raises:
            Overloaded: no slot came free before the chunk's deadline.
            ChunkTooBig: no worker takes so many documents in one call.
            FingerprintGone: see `Registry.reach`, as for NoWorker and BadGateway.
        """
        model_queue, now = self._queues[chunk.fingerprint], self._loop.time()
        model_queue.lone_request.enter(chunk.context, now)
        model_queue.arrivals.record(len(chunk.pairs), now)
        try:
            return await self._slot(chunk, avoid)
        except BaseException:
            model_queue.lone_request.leave(chunk.context, self._loop.time())
            raise

    async def _slot(self, chunk: Chunk, avoid: AbstractSet[Worker]) -> Slot:
        slot = None
        while slot is None:
            now = self._loop.time()
            usable = self._registry.usable(chunk.fingerprint)
            if not usable:
                until = min(chunk.context.deadline, now + self._no_worker_wait_s)
                await self._registry.wait_for_usable(chunk.fingerprint, until=until)
            elif not that_fit(usable, chunk, now):
                raise ChunkTooBig
            else:
                slot = self._slot_at_once(chunk, avoid, usable, now) or await self._slot_in_turn(chunk, avoid)
        return slot

    def spare_slot(self, chunk: Chunk, *, avoid: AbstractSet[Worker]) -> Slot | None:
        """A slot on a worker not in `avoid` that is free now and that nobody waits for; None when there is none."""
        now = self._loop.time()
        free = [w for w in self._registry.usable(chunk.fingerprint) if w not in avoid and w.has_room(now)]
        model_queue = self._queues[chunk.fingerprint]
        if not free or len(model_queue.queue):
            return None
        model_queue.lone_request.enter(chunk.context, now)
        return self._grant(chunk, free, now)

    def reprioritize(self, chunk: Chunk, context: RequestContext) -> None:
        """Let a chunk that waits, and that `context` needs too, go on in the request's turn if that comes earlier."""
        waiter = self._waiting.get(chunk)
        if waiter is None:
            return
        queue, owner = self._queues[chunk.fingerprint].queue, waiter.turn
        is_earlier = _comes_earlier(context, owner, len(chunk.pairs), queue)
        if is_earlier and queue.remove(waiter, key=owner.key, request=owner):
            self._push(waiter, context)

    def scored(self, chunk: Chunk) -> None:
        """Count a chunk that was scored towards its line's throughput."""
        model_queue = self._queues[chunk.fingerprint]
        usable, now = self._registry.usable(chunk.fingerprint), self._loop.time()
        # A retry may wait for one worker while others are idle: that is no saturation.
        is_saturated = len(model_queue.queue) > 0 and not any(worker.has_room(now) for worker in usable)
        model_queue.throughput.record(
            documents=len(chunk.pairs), workers=len(usable), is_saturated=is_saturated, now=now
        )

    def _slot_at_once(
        self, chunk: Chunk, avoid: AbstractSet[Worker], usable: Sequence[Worker], now: float
    ) -> Slot | None:
        """A slot for who would be the only one to wait; None when others wait, or no worker has room."""
        model_queue = self._queues[chunk.fingerprint]
        if len(model_queue.queue):
            return None
        free = [worker for worker in usable if worker.has_room(now, alone=model_queue.lone_request.is_alone(now))]
        candidates = candidates_for(chunk, avoid, usable=usable, free=free, waiting=0, now=now) if free else ()
        return self._grant(chunk, candidates, now) if candidates else None

    async def _slot_in_turn(self, chunk: Chunk, avoid: AbstractSet[Worker]) -> Slot | None:
        """A slot when it is the chunk's turn; None when no worker is left."""
        waiter = _Waiter(chunk, chunk.context, avoid, self._loop.create_future())
        self._push(waiter, chunk.context)
        self._serve(chunk.fingerprint)
        return waiter.granted.result() if waiter.granted.done() else await self._wait(waiter)

    def _push(self, waiter: _Waiter, context: RequestContext) -> None:
        waiter.turn = context
        self._queues[waiter.chunk.fingerprint].queue.push(
            waiter, key=context.key, request=context, documents=len(waiter.chunk.pairs), priority=context.priority
        )

    async def _wait(self, waiter: _Waiter) -> Slot | None:
        self._waiting[waiter.chunk] = waiter
        timer = self._loop.call_at(waiter.chunk.context.deadline, _give_up, waiter)
        try:
            return await waiter.granted
        except BaseException:
            self._forget(waiter)
            raise
        finally:
            timer.cancel()
            del self._waiting[waiter.chunk]

    def _forget(self, waiter: _Waiter) -> None:
        """Whoever waited has left: nothing stays queued, and a slot granted in the same moment goes on to the next."""
        chunk = waiter.chunk
        if self._queues[chunk.fingerprint].queue.remove(waiter, key=waiter.turn.key, request=waiter.turn):
            return
        granted = waiter.granted
        if granted.done() and not granted.cancelled() and not granted.exception() and (slot := granted.result()):
            self._give_back(slot)

    def _release(self, slot: Slot) -> None:
        """The call is over."""
        chunk = slot.chunk
        self._queues[chunk.fingerprint].lone_request.leave(chunk.context, self._loop.time())
        self._give_back(slot)

    def _give_back(self, slot: Slot) -> None:
        """Nobody uses the slot any more: the next may have it."""
        chunk = slot.chunk
        slot.worker.give_back(documents=len(chunk.pairs), tokens=chunk.tokens)
        # The slot may go to a chunk of any model the worker serves; the chunk's own goes first.
        for fingerprint in dict.fromkeys((chunk.fingerprint, *slot.worker.serves.values())):
            self._serve(fingerprint)

    def _serve_all(self) -> None:
        for fingerprint, model_queue in list(self._queues.items()):
            if not self._registry.usable(fingerprint):
                model_queue.throughput.interrupt()
            self._serve(fingerprint)

    def _serve(self, fingerprint: Fingerprint) -> None:
        """Grant free slots to those who wait, in fair order; send everybody away when no worker is left."""
        model_queue = self._queues[fingerprint]
        now = self._loop.time()
        self._grant_free_slots(model_queue, fingerprint, now)
        model_queue.load.observe(model_queue.queue.documents, now)

    def _grant_free_slots(self, model_queue: _ModelQueue, fingerprint: Fingerprint, now: float) -> None:
        usable = self._registry.usable(fingerprint)
        if not usable:
            _send_away(model_queue.queue)
        while len(model_queue.queue):
            free = [worker for worker in usable if worker.has_room(now, alone=model_queue.lone_request.is_alone(now))]
            candidates = partial(_candidates, usable, free, model_queue.queue.documents, now)
            taken = model_queue.queue.take(candidates) if free else None
            if taken is None:
                self._wake_after_back_off(model_queue, fingerprint, usable, now)
                return
            waiter, found = taken
            # The task of a waiter that was cancelled just now hasn't run yet to take it out of the queue.
            if not waiter.granted.done():
                waiter.granted.set_result(self._grant(waiter.chunk, found, now))

    def _grant(self, chunk: Chunk, candidates: Sequence[Worker], now: float) -> Slot:
        factors = load_factors(candidates, now)
        worker = pick(candidates, load=lambda worker: (worker.tokens + chunk.tokens) * factors[worker], rng=self._rng)
        worker.take(documents=len(chunk.pairs), tokens=chunk.tokens)
        return Slot(worker, chunk, worker.breaker.generation, worker.documents, worker.tokens, self._release)

    def _wake_after_back_off(
        self, model_queue: _ModelQueue, fingerprint: Fingerprint, usable: Sequence[Worker], now: float
    ) -> None:
        """A worker that rests comes free without anybody's doing."""
        back_offs = [worker.backs_off_until for worker in usable if worker.backs_off_until > now]
        if back_offs:
            if model_queue.wake:
                model_queue.wake.cancel()
            model_queue.wake = self._loop.call_at(min(back_offs), self._serve, fingerprint)


def _give_up(waiter: _Waiter) -> None:
    """Its time is over."""
    if not waiter.granted.done():
        message = "The workers are busy: no slot came free in time. Send less at once, or add workers."
        waiter.granted.set_exception(Overloaded(message, reason="deadline", retry_after_s=1.0))


def _send_away(queue: FairQueue[_Waiter]) -> None:
    """Tell all who wait that no worker is left."""
    while taken := queue.take(lambda _: True):
        waiter, _ = taken
        if not waiter.granted.done():
            waiter.granted.set_result(None)


def _candidates(
    usable: Sequence[Worker], free: Sequence[Worker], waiting: int, now: float, waiter: _Waiter
) -> Sequence[Worker]:
    return candidates_for(waiter.chunk, waiter.avoid, usable=usable, free=free, waiting=waiting, now=now)


def _comes_earlier(context: RequestContext, owner: RequestContext, documents: int, queue: FairQueue[_Waiter]) -> bool:
    """Whether `documents` that are the last of what waits for `owner` come earlier as the last of `context`'s."""
    if context.key != owner.key:
        # Which of the key's requests go before this one doesn't matter here: earlier than that is earlier for certain.
        return queue.waiting_of(context.key) + documents < queue.waiting_of(owner.key, owner)
    if context.priority != owner.priority:
        return context.priority < owner.priority
    return queue.waiting_of(context.key, context) + documents < queue.waiting_of(owner.key, owner)
