"""Whose chunk is next, and on which worker: a slot is permission for one call in flight."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import NamedTuple

from app.choice import candidates_for, that_take, weights
from app.errors import ChunkTooBig, Overloaded
from app.fleet.fleet import Fleet
from app.fleet.worker import Worker
from app.loop import OnLoop
from app.policy.admission import Load
from app.policy.balance import pick
from app.policy.company import Company
from app.policy.forecast import Arrivals, documents_before
from app.policy.share import FairQueue
from app.policy.throughput import Throughput
from app.slot import Slot
from app.work import Caller, Chunk, Fingerprint


@dataclass(slots=True, eq=False)
class _Waiter:
    """A chunk waiting for a slot in the turn of a request. `granted` becomes None when no worker is left."""

    chunk: Chunk
    turn: Caller
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
class _Line:
    """What waits for the workers of one fingerprint, how fast they get through it, and whose it is."""

    queue: FairQueue[_Waiter] = field(default_factory=FairQueue)
    arrivals: Arrivals = field(default_factory=Arrivals)
    throughput: Throughput = field(default_factory=Throughput)
    wake: asyncio.TimerHandle | None = None
    load: Load = field(default_factory=Load)
    company: Company = field(default_factory=Company)


class Schedule(OnLoop):
    """Grants slots by fair share, one line per fingerprint.

    Args:
        fleet: Whose workers have the slots.
        no_worker_wait_s: How long a chunk waits for a usable worker.
        rng: Breaks ties between equally loaded workers.
    """

    def __init__(self, fleet: Fleet, *, no_worker_wait_s: float, rng: Random) -> None:
        self._fleet = fleet
        self._no_worker_wait_s = no_worker_wait_s
        self._rng = rng
        self._lines: defaultdict[Fingerprint, _Line] = defaultdict(_Line)
        self._waiting: dict[Chunk, _Waiter] = {}
        fleet.on_change(self._serve_all)

    @property
    def waiting(self) -> int:
        """Chunks that wait for a slot."""
        return sum(len(line.queue) for line in self._lines.values())

    @property
    def waiting_documents(self) -> int:
        """Documents of the chunks that wait for a slot."""
        return sum(line.queue.documents for line in self._lines.values())

    def outlook(self, key: str, documents: int, fingerprint: Fingerprint) -> Outlook:
        """What a new request of `documents` would meet."""
        line = self._lines.get(fingerprint)
        if line is None:
            return Outlook(0, 0, None, is_overload=False)
        waiting = line.queue.documents_before(key=key, documents=documents)
        per_s = line.throughput.per_s(len(self._fleet.usable(fingerprint)))
        if not waiting or per_s is None:
            return Outlook(waiting, waiting, per_s, line.load.is_overload)
        before = documents_before(
            documents=documents,
            waiting=waiting,
            most=line.queue.most_before(key=key, documents=documents),
            arriving_per_s=line.arrivals.per_s(self._loop.time()),
            per_s=per_s,
        )
        return Outlook(waiting, before, per_s, line.load.is_overload)

    def strength(self, fingerprint: Fingerprint) -> int:
        """How many workers of full speed the usable ones are worth; at least 1."""
        found = weights(self._fleet.usable(fingerprint), self._loop.time())
        return max(1, round(sum(1 / weight for weight in found.values())))

    async def slot(self, chunk: Chunk, *, avoid: AbstractSet[Worker]) -> Slot:
        """A worker for one call with this chunk.

        Args:
            chunk: Its fingerprint says which workers may score it.
            avoid: Workers that are taken only when no other is usable.

        Raises:
            Overloaded: no slot came free before the chunk's deadline.
            ChunkTooBig: no worker takes so many documents in one call.
            FingerprintGone: see `Fleet.reach`, as for NoWorker and BadGateway.
        """
        line, now = self._lines[chunk.fingerprint], self._loop.time()
        line.company.enter(chunk.caller, now)
        line.arrivals.record(len(chunk.pairs), now)
        try:
            return await self._slot(chunk, avoid)
        except BaseException:
            line.company.leave(chunk.caller, self._loop.time())
            raise

    async def _slot(self, chunk: Chunk, avoid: AbstractSet[Worker]) -> Slot:
        slot = None
        while slot is None:
            now = self._loop.time()
            usable = self._fleet.usable(chunk.fingerprint)
            if not usable:
                until = min(chunk.caller.deadline, now + self._no_worker_wait_s)
                await self._fleet.reach(chunk.fingerprint, until=until)
            elif not that_take(usable, chunk, now):
                raise ChunkTooBig
            else:
                slot = self._slot_at_once(chunk, avoid, usable, now) or await self._slot_in_turn(chunk, avoid)
        return slot

    def spare_slot(self, chunk: Chunk, *, avoid: AbstractSet[Worker]) -> Slot | None:
        """A slot on a worker not in `avoid` that is free now and that nobody waits for; None when there is none."""
        now = self._loop.time()
        free = [w for w in self._fleet.usable(chunk.fingerprint) if w not in avoid and w.has_room(now)]
        line = self._lines[chunk.fingerprint]
        if not free or len(line.queue):
            return None
        line.company.enter(chunk.caller, now)
        return self._grant(chunk, free, now)

    def hurry(self, chunk: Chunk, caller: Caller) -> None:
        """Let a chunk that waits, and that `caller` needs too, go on in the caller's turn if that comes earlier."""
        waiter = self._waiting.get(chunk)
        if waiter is None:
            return
        queue, owner = self._lines[chunk.fingerprint].queue, waiter.turn
        is_earlier = _comes_earlier(caller, owner, len(chunk.pairs), queue)
        if is_earlier and queue.remove(waiter, key=owner.key, request=owner):
            self._push(waiter, caller)

    def scored(self, chunk: Chunk) -> None:
        """Count a chunk that was scored towards its line's throughput."""
        line = self._lines[chunk.fingerprint]
        usable, now = self._fleet.usable(chunk.fingerprint), self._loop.time()
        # A retry may wait for one worker while others are idle: that is no saturation.
        is_saturated = len(line.queue) > 0 and not any(worker.has_room(now) for worker in usable)
        line.throughput.record(documents=len(chunk.pairs), workers=len(usable), is_saturated=is_saturated, now=now)

    def _slot_at_once(
        self, chunk: Chunk, avoid: AbstractSet[Worker], usable: Sequence[Worker], now: float
    ) -> Slot | None:
        """A slot for who would be the only one to wait; None when others wait, or no worker has room."""
        line = self._lines[chunk.fingerprint]
        if len(line.queue):
            return None
        free = [worker for worker in usable if worker.has_room(now, alone=line.company.is_alone(now))]
        candidates = candidates_for(chunk, avoid, usable=usable, free=free, waiting=0, now=now) if free else ()
        return self._grant(chunk, candidates, now) if candidates else None

    async def _slot_in_turn(self, chunk: Chunk, avoid: AbstractSet[Worker]) -> Slot | None:
        """A slot when it is the chunk's turn; None when no worker is left."""
        waiter = _Waiter(chunk, chunk.caller, avoid, self._loop.create_future())
        self._push(waiter, chunk.caller)
        self._serve(chunk.fingerprint)
        return waiter.granted.result() if waiter.granted.done() else await self._wait(waiter)

    def _push(self, waiter: _Waiter, caller: Caller) -> None:
        waiter.turn = caller
        self._lines[waiter.chunk.fingerprint].queue.push(
            waiter, key=caller.key, request=caller, documents=len(waiter.chunk.pairs), priority=caller.priority
        )

    async def _wait(self, waiter: _Waiter) -> Slot | None:
        self._waiting[waiter.chunk] = waiter
        timer = self._loop.call_at(waiter.chunk.caller.deadline, _give_up, waiter)
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
        if self._lines[chunk.fingerprint].queue.remove(waiter, key=waiter.turn.key, request=waiter.turn):
            return
        granted = waiter.granted
        if granted.done() and not granted.cancelled() and not granted.exception() and (slot := granted.result()):
            self._give_back(slot)

    def _release(self, slot: Slot) -> None:
        """The call is over."""
        chunk = slot.chunk
        self._lines[chunk.fingerprint].company.leave(chunk.caller, self._loop.time())
        self._give_back(slot)

    def _give_back(self, slot: Slot) -> None:
        """Nobody uses the slot any more: the next may have it."""
        chunk = slot.chunk
        slot.worker.give_back(documents=len(chunk.pairs), tokens=chunk.tokens)
        # The slot may go to a chunk of any model the worker serves; the chunk's own goes first.
        for fingerprint in dict.fromkeys((chunk.fingerprint, *slot.worker.serves.values())):
            self._serve(fingerprint)

    def _serve_all(self) -> None:
        for fingerprint, line in list(self._lines.items()):
            if not self._fleet.usable(fingerprint):
                line.throughput.interrupt()
            self._serve(fingerprint)

    def _serve(self, fingerprint: Fingerprint) -> None:
        """Grant free slots to those who wait, in fair order; send everybody away when no worker is left."""
        line = self._lines[fingerprint]
        now = self._loop.time()
        self._grant_free_slots(line, fingerprint, now)
        line.load.observe(line.queue.documents, now)

    def _grant_free_slots(self, line: _Line, fingerprint: Fingerprint, now: float) -> None:
        usable = self._fleet.usable(fingerprint)
        if not usable:
            _send_away(line.queue)
        while len(line.queue):
            free = [worker for worker in usable if worker.has_room(now, alone=line.company.is_alone(now))]
            candidates = partial(_candidates, usable, free, line.queue.documents, now)
            taken = line.queue.take(candidates) if free else None
            if taken is None:
                self._wake_after_rest(line, fingerprint, usable, now)
                return
            waiter, found = taken
            # The task of a waiter that was cancelled just now hasn't run yet to take it out of the queue.
            if not waiter.granted.done():
                waiter.granted.set_result(self._grant(waiter.chunk, found, now))

    def _grant(self, chunk: Chunk, candidates: Sequence[Worker], now: float) -> Slot:
        weigh = weights(candidates, now)
        worker = pick(candidates, load=lambda worker: (worker.tokens + chunk.tokens) * weigh[worker], rng=self._rng)
        worker.take(documents=len(chunk.pairs), tokens=chunk.tokens)
        return Slot(worker, chunk, worker.breaker.generation, worker.documents, worker.tokens, self._release)

    def _wake_after_rest(self, line: _Line, fingerprint: Fingerprint, usable: Sequence[Worker], now: float) -> None:
        """A worker that rests comes free without anybody's doing."""
        rests = [worker.rests_until for worker in usable if worker.rests_until > now]
        if rests:
            if line.wake:
                line.wake.cancel()
            line.wake = self._loop.call_at(min(rests), self._serve, fingerprint)


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


def _comes_earlier(caller: Caller, owner: Caller, documents: int, queue: FairQueue[_Waiter]) -> bool:
    """Whether `documents` that are the last of what waits for `owner` come earlier as the last of `caller`'s."""
    if caller.key != owner.key:
        # Which of the key's requests go before this one doesn't matter here: earlier than that is earlier for certain.
        return queue.waiting_of(caller.key) + documents < queue.waiting_of(owner.key, owner)
    if caller.priority != owner.priority:
        return caller.priority < owner.priority
    return queue.waiting_of(caller.key, caller) + documents < queue.waiting_of(owner.key, owner)
