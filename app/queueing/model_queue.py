"""The chunks that wait for the workers of one fingerprint, and the wait ahead of a new request among them."""

import asyncio
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from app.policy.fair_queue import FairQueue
from app.policy.forecast import Arrivals, documents_before, documents_in_flight
from app.policy.lone_request import LoneRequest
from app.policy.shedding import Load, Outlook
from app.policy.throughput import Throughput
from app.queueing.slot import Slot
from app.types import Chunk, RequestContext
from app.workers.worker import Worker


@dataclass(slots=True, eq=False)
class Waiter:
    """A chunk waiting for a slot.

    Args:
        chunk: Waits to be scored.
        turn: The request in whose turn it waits: its own, or another one that needs it too.
        avoid: Workers that are taken only when no other is usable.
        granted: Its slot; becomes None when no worker is left.
    """

    chunk: Chunk
    turn: RequestContext
    avoid: AbstractSet[Worker]
    granted: "asyncio.Future[Slot | None]"


@dataclass(slots=True)
class ModelQueue:
    """The fair queue for the workers of one fingerprint, with measurements of how fast they get through it.

    `calls` and `in_flight` count what was granted and isn't done: calls, and their documents.
    """

    queue: FairQueue[Waiter] = field(default_factory=FairQueue)
    arrivals: Arrivals = field(default_factory=Arrivals)
    throughput: Throughput = field(default_factory=Throughput)
    calls: int = 0
    in_flight: int = 0
    wake: asyncio.TimerHandle | None = None
    load: Load = field(default_factory=Load)
    lone_request: LoneRequest = field(default_factory=LoneRequest)

    def outlook(self, key: str, documents: int, *, workers: int, now: float) -> Outlook:
        """The wait ahead of a new request of `documents`, with so many usable workers."""
        waiting = self.queue.documents_before(key=key, documents=documents)
        per_s = self.throughput.per_s(workers)
        in_flight = documents_in_flight(documents=self.in_flight, calls=self.calls, workers=workers)
        before: float = waiting
        if waiting and per_s is not None:
            before = documents_before(
                documents=documents,
                waiting=waiting,
                most=self.queue.most_before(key=key, documents=documents),
                arriving_per_s=self.arrivals.per_s(now),
                per_s=per_s,
            )
        return Outlook(waiting, before, in_flight, per_s, self.load.is_overload)

    def begin(self, chunk: Chunk) -> None:
        """Count a chunk as in flight."""
        self.calls += 1
        self.in_flight += len(chunk.pairs)

    def end(self, chunk: Chunk) -> None:
        """Count a chunk as in flight no longer."""
        self.calls -= 1
        self.in_flight -= len(chunk.pairs)

    def push(self, waiter: Waiter, context: RequestContext) -> None:
        """Let a chunk wait in the turn of the request `context`."""
        waiter.turn = context
        self.queue.push(
            waiter, key=context.key, request=context, documents=len(waiter.chunk.pairs), priority=context.priority
        )

    def remove(self, waiter: Waiter) -> bool:
        """Take a chunk out ungranted; False when it wasn't waiting."""
        return self.queue.remove(waiter, key=waiter.turn.key, request=waiter.turn)

    def send_all_away(self) -> None:
        """Tell all waiters that no worker is left."""
        while taken := self.queue.take(lambda _: True):
            waiter, _ = taken
            if not waiter.granted.done():
                waiter.granted.set_result(None)

    def would_come_earlier(self, waiter: Waiter, context: RequestContext) -> bool:
        """True when the last chunk that waits in its request's turn comes earlier as the last of `context`'s."""
        queue, owner, documents = self.queue, waiter.turn, len(waiter.chunk.pairs)
        if context.key != owner.key:
            # Which of the key's requests go before this one doesn't matter here: ahead of them all is earlier.
            return queue.waiting_of(context.key) + documents < queue.waiting_of(owner.key, owner)
        if context.priority != owner.priority:
            return context.priority < owner.priority
        return queue.waiting_of(context.key, context) + documents < queue.waiting_of(owner.key, owner)
