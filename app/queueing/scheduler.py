"""The scheduler: grants slots, each of which is permission for one call in flight on one worker."""

from collections import defaultdict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from random import Random

from app.aio import OnLoop
from app.errors import ChunkTooBig, Overloaded
from app.policy.balance import Neighbours, pick
from app.policy.shedding import Outlook
from app.queueing.model_queue import ModelQueue, Waiter
from app.queueing.placement import candidates_for, fits, load_factors
from app.queueing.slot import Slot
from app.settings import Settings
from app.types import Chunk, Fingerprint, RequestContext
from app.workers.registry import Registry
from app.workers.worker import Worker


class Scheduler(OnLoop):
    """Grants slots by fair share, in one queue per fingerprint.

    Args:
        registry: The workers, each of which has a few slots.
        settings: How long a chunk waits for a usable worker.
        rng: Breaks ties between equally loaded workers, and draws which of very many are compared.
    """

    def __init__(self, registry: Registry, settings: Settings, *, rng: Random) -> None:
        self._registry = registry
        self._no_worker_wait_s = settings.no_worker_wait_s
        self._rng = rng
        self._neighbours = Neighbours(rng)
        self._queues: defaultdict[Fingerprint, ModelQueue] = defaultdict(ModelQueue)
        self._waiting: dict[Chunk, Waiter] = {}
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
        """The wait ahead of a new request of `documents`."""
        workers = len(self._registry.usable(fingerprint))
        return self._queues[fingerprint].outlook(key, documents, workers=workers, now=self._loop.time())

    def effective_workers(self, fingerprint: Fingerprint) -> int:
        """The number of full-speed workers that the usable ones add up to; at least 1."""
        usable, now = self._registry.usable(fingerprint), self._loop.time()
        some = self._neighbours.among(usable, now)
        factors = load_factors(some, now)
        return max(1, round(sum(1 / factor for factor in factors.values()) * len(usable) / max(1, len(some))))

    async def slot(self, chunk: Chunk, *, avoid: AbstractSet[Worker]) -> Slot:
        """A slot for one call with this chunk, once it is the chunk's turn.

        Args:
            chunk: Its fingerprint says which workers may score it.
            avoid: Workers that are taken only when no other is usable.

        Raises:
            Overloaded: no slot came free before the chunk's deadline.
            ChunkTooBig: no worker takes so many documents in one call.
            FingerprintGone, NoWorker, AllMisconfigured: as `Registry.wait_for_usable`.
        """
        model_queue = self._queues[chunk.fingerprint]
        model_queue.lone_request.enter(chunk.context)
        model_queue.arrivals.record(len(chunk.pairs), self._loop.time())
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
            elif not any(fits(worker, chunk, now) for worker in usable):
                raise ChunkTooBig
            else:
                slot = self._slot_at_once(chunk, avoid, usable, now) or await self._slot_in_turn(chunk, avoid)
        return slot

    def spare_slot(self, chunk: Chunk, *, avoid: AbstractSet[Worker]) -> Slot | None:
        """A free slot on a worker not in `avoid`, while no chunk waits; None when there is none."""
        now = self._loop.time()
        usable = self._neighbours.among(self._registry.usable(chunk.fingerprint), now)
        free = [worker for worker in usable if worker not in avoid and worker.has_room(now)]
        model_queue = self._queues[chunk.fingerprint]
        if not free or len(model_queue.queue):
            return None
        model_queue.lone_request.enter(chunk.context)
        return self._grant(chunk, free, now)

    def reprioritize(self, chunk: Chunk, context: RequestContext) -> None:
        """Move a waiting chunk, which the request `context` needs too, to that request's turn if it comes earlier."""
        waiter = self._waiting.get(chunk)
        if waiter is None:
            return
        model_queue = self._queues[chunk.fingerprint]
        if model_queue.would_come_earlier(waiter, context) and model_queue.remove(waiter):
            model_queue.push(waiter, context)

    def scored(self, chunk: Chunk) -> None:
        """Count a scored chunk towards its queue's throughput."""
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
        """A slot without waiting; None when others wait, or no worker has room."""
        model_queue = self._queues[chunk.fingerprint]
        if len(model_queue.queue):
            return None
        some, free = self._with_room(usable, model_queue, now)
        candidates = candidates_for(chunk, avoid, usable=some, free=free, waiting=0, now=now) if free else ()
        return self._grant(chunk, candidates, now) if candidates else None

    async def _slot_in_turn(self, chunk: Chunk, avoid: AbstractSet[Worker]) -> Slot | None:
        """A slot once it is the chunk's turn; None when no worker is left."""
        waiter = Waiter(chunk, chunk.context, avoid, self._loop.create_future())
        self._queues[chunk.fingerprint].push(waiter, chunk.context)
        self._serve(chunk.fingerprint)
        return waiter.granted.result() if waiter.granted.done() else await self._wait(waiter)

    async def _wait(self, waiter: Waiter) -> Slot | None:
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

    def _forget(self, waiter: Waiter) -> None:
        """Take a waiter out of the queue after it was cancelled; a slot granted in the same moment goes to the next."""
        chunk = waiter.chunk
        if self._queues[chunk.fingerprint].remove(waiter):
            return
        granted = waiter.granted
        if granted.done() and not granted.cancelled() and not granted.exception() and (slot := granted.result()):
            self._give_back(slot)

    def _release(self, slot: Slot) -> None:
        """Take a slot back after its call."""
        chunk = slot.chunk
        self._queues[chunk.fingerprint].lone_request.leave(chunk.context, self._loop.time())
        self._give_back(slot)

    def _give_back(self, slot: Slot) -> None:
        """Free a slot's place on its worker, and grant it to the next."""
        chunk = slot.chunk
        slot.worker.give_back(documents=len(chunk.pairs), tokens=chunk.tokens)
        self._queues[chunk.fingerprint].end(chunk)
        # The slot may go to a chunk of any model the worker serves; the chunk's own goes first.
        for fingerprint in dict.fromkeys((chunk.fingerprint, *slot.worker.serves.values())):
            self._serve(fingerprint)

    def _serve_all(self) -> None:
        for fingerprint, model_queue in list(self._queues.items()):
            if not self._registry.usable(fingerprint):
                model_queue.throughput.interrupt()
            self._serve(fingerprint)

    def _serve(self, fingerprint: Fingerprint) -> None:
        """Grant free slots in fair order; send all waiters away when no worker is left."""
        model_queue, now = self._queues[fingerprint], self._loop.time()
        usable = self._registry.usable(fingerprint)
        if not usable:
            model_queue.send_all_away()
        while len(model_queue.queue):
            some, free = self._with_room(usable, model_queue, now)
            candidates = partial(_candidates, some, free, model_queue.queue.documents, now)
            taken = model_queue.queue.take(candidates) if free else None
            if taken is None:
                self._wake_after_back_off(model_queue, fingerprint, usable, now)
                break
            waiter, found = taken
            # The task of a waiter that was cancelled just now hasn't run yet to take it out of the queue.
            if not waiter.granted.done():
                waiter.granted.set_result(self._grant(waiter.chunk, found, now))
        model_queue.load.observe(model_queue.queue.documents, now)

    def _with_room(
        self, usable: Sequence[Worker], model_queue: ModelQueue, now: float
    ) -> tuple[Sequence[Worker], Sequence[Worker]]:
        """The workers to compare, and those of them that have room.

        While none of them is idle others are compared for each chunk, and all where these have no room either.
        """
        alone = model_queue.lone_request.is_alone(now)
        some = self._neighbours.among(usable, now)
        free = [worker for worker in some if worker.has_room(now, alone=alone)]
        if len(some) < len(usable) and all(worker.calls for worker in free):
            self._neighbours.move(now)
            some = self._neighbours.among(usable, now)
            free = [worker for worker in some if worker.has_room(now, alone=alone)]
            if not free:
                return usable, [worker for worker in usable if worker.has_room(now, alone=alone)]
        return some, free

    def _grant(self, chunk: Chunk, candidates: Sequence[Worker], now: float) -> Slot:
        factors = load_factors(candidates, now)
        worker = pick(candidates, load=lambda worker: (worker.tokens + chunk.tokens) * factors[worker], rng=self._rng)
        worker.take(documents=len(chunk.pairs), tokens=chunk.tokens)
        self._queues[chunk.fingerprint].begin(chunk)
        return Slot(worker, chunk, worker.breaker.generation, worker.documents, worker.tokens, self._release)

    def _wake_after_back_off(
        self, model_queue: ModelQueue, fingerprint: Fingerprint, usable: Sequence[Worker], now: float
    ) -> None:
        """Serve again when the first worker's back-off ends: no event announces that."""
        back_offs = [worker.backs_off_until for worker in usable if worker.backs_off_until > now]
        if back_offs:
            if model_queue.wake:
                model_queue.wake.cancel()
            model_queue.wake = self._loop.call_at(min(back_offs), self._serve, fingerprint)


def _give_up(waiter: Waiter) -> None:
    """Refuse a waiter whose deadline has passed."""
    if not waiter.granted.done():
        message = (
            "The workers are busy: no slot came free in time (RERANK_DEADLINE_S, or timeout_ms). "
            "Send less at once, or add workers."
        )
        waiter.granted.set_exception(Overloaded(message, reason="deadline", retry_after_s=1.0))


def _candidates(
    usable: Sequence[Worker], free: Sequence[Worker], waiting: int, now: float, waiter: Waiter
) -> Sequence[Worker]:
    return candidates_for(waiter.chunk, waiter.avoid, usable=usable, free=free, waiting=waiting, now=now)
