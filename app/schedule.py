"""Whose chunk is next, and on which worker: a slot is permission for one call in flight."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

from app.errors import Overloaded
from app.fleet.fleet import Fleet
from app.fleet.worker import Worker
from app.policy.balance import pick
from app.work import Chunk, Fingerprint


@dataclass(slots=True, eq=False)
class _Waiter:
    """A chunk waiting for a slot. `granted` is its worker, or None when its last worker has gone."""

    chunk: Chunk
    avoid: AbstractSet[Worker]
    granted: asyncio.Future[Worker | None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Schedule:
    """Grants slots in order of arrival, one queue per fingerprint.

    Args:
        fleet: Whose workers have the slots.
        max_calls: Slots per worker.
        no_worker_wait_s: How long a chunk waits for a usable worker.
        rng: The two choices of balancing.
    """

    def __init__(self, fleet: Fleet, *, max_calls: int, no_worker_wait_s: float, rng: Random) -> None:
        self._fleet = fleet
        self._max_calls = max_calls
        self._no_worker_wait_s = no_worker_wait_s
        self._rng = rng
        self._queues: dict[Fingerprint, deque[_Waiter]] = {}
        fleet.on_change(self._serve_all)

    @asynccontextmanager
    async def slot(self, chunk: Chunk, *, avoid: AbstractSet[Worker]) -> AsyncIterator[Worker]:
        """A worker for one call with this chunk; the slot is free again at the end of the block.

        Args:
            chunk: Its fingerprint says which workers may score it.
            avoid: Workers that are taken only when no other is usable.

        Raises:
            Overloaded: no slot came free before the chunk's deadline.
            FingerprintGone: see `Fleet.reach`, as for NoWorker and BadGateway.
        """
        worker = await self._acquire(chunk, avoid)
        try:
            yield worker
        finally:
            self._release(worker, chunk)

    @property
    def waiting(self) -> int:
        """Chunks that wait for a slot."""
        return sum(map(len, self._queues.values()))

    async def _acquire(self, chunk: Chunk, avoid: AbstractSet[Worker]) -> Worker:
        loop = asyncio.get_running_loop()
        worker = None
        while worker is None:
            await self._fleet.reach(chunk.fingerprint, until=min(chunk.deadline, loop.time() + self._no_worker_wait_s))
            waiter = _Waiter(chunk, avoid)
            self._queues.setdefault(chunk.fingerprint, deque()).append(waiter)
            self._serve(chunk.fingerprint)
            worker = waiter.granted.result() if waiter.granted.done() else await self._wait(waiter)
        return worker

    async def _wait(self, waiter: _Waiter) -> Worker | None:
        try:
            async with asyncio.timeout_at(waiter.chunk.deadline):
                return await waiter.granted
        except BaseException as exc:
            self._forget(waiter)
            if isinstance(exc, TimeoutError):
                message = "The workers are busy: no slot came free in time. Send less at once, or add workers."
                raise Overloaded(message, retry_after_s=1.0) from None
            raise

    def _forget(self, waiter: _Waiter) -> None:
        """Whoever waited has left: nothing stays queued, and a slot granted in the same moment goes on to the next."""
        queue = self._queues.get(waiter.chunk.fingerprint, ())
        if waiter in queue:
            self._queues[waiter.chunk.fingerprint].remove(waiter)
        elif waiter.granted.done() and not waiter.granted.cancelled() and (worker := waiter.granted.result()):
            self._release(worker, waiter.chunk)

    def _release(self, worker: Worker, chunk: Chunk) -> None:
        worker.give_back(chunk.tokens)
        # The slot may go to a chunk of any model the worker serves; the chunk's own goes first.
        self._serve(chunk.fingerprint)
        for fingerprint in worker.serves.values():
            self._serve(fingerprint)

    def _serve_all(self) -> None:
        for fingerprint in list(self._queues):
            self._serve(fingerprint)

    def _serve(self, fingerprint: Fingerprint) -> None:
        """Grant free slots to those who wait, in order; send everybody away when no worker is left."""
        queue = self._queues.get(fingerprint)
        if queue is None:
            return
        usable = self._fleet.usable(fingerprint)
        while queue and (grant := self._next_grant(queue, usable)):
            waiter, worker = grant
            queue.remove(waiter)
            if worker:
                worker.take(waiter.chunk.tokens)
            waiter.granted.set_result(worker)
        if not queue:
            del self._queues[fingerprint]

    def _next_grant(self, queue: deque[_Waiter], usable: list[Worker]) -> tuple[_Waiter, Worker | None] | None:
        """Who is next and where to, or None when nobody can be served now."""
        free = [worker for worker in usable if worker.calls < self._max_calls]
        for waiter in queue:
            if usable and not free:
                return None
            # A waiter whose task was just cancelled is still queued until that task runs.
            if waiter.granted.done():
                continue
            if not usable:
                return waiter, None
            if candidates := _candidates(waiter, usable, free):
                return waiter, pick(candidates, load=lambda worker: worker.tokens, rng=self._rng)
        return None


def _candidates(waiter: _Waiter, usable: list[Worker], free: list[Worker]) -> list[Worker]:
    """The free workers this chunk should go to; none when an untried one is usable but busy."""
    if all(worker in waiter.avoid for worker in usable):
        return free
    return [worker for worker in free if worker not in waiter.avoid]
