"""Which workers a chunk may go to, and how much their work weighs."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from app.fleet.worker import Worker
from app.policy.balance import slowness
from app.work import Chunk


def candidates_for(
    chunk: Chunk, avoid: AbstractSet[Worker], *, usable: Sequence[Worker], free: Sequence[Worker], now: float
) -> Sequence[Worker]:
    """The free workers a chunk should go to; none when one it hasn't been to is usable but busy.

    Args:
        chunk: What is to be scored.
        avoid: Where it has been.
        usable: All workers that could score it.
        free: Those of them that have room now.
        now: On the loop's clock.
    """
    if all(worker in avoid or worker.rests_long(now) for worker in usable):
        return that_take(free, chunk, now) or free
    untried = [worker for worker in free if worker not in avoid]
    return that_take(untried, chunk, now) or untried


def that_take(workers: Sequence[Worker], chunk: Chunk, now: float) -> list[Worker]:
    """The workers that take so many documents in one call."""
    return [worker for worker in workers if (worker.ceiling(now) or len(chunk.pairs)) >= len(chunk.pairs)]


def weights(workers: Sequence[Worker], now: float) -> dict[Worker, float]:
    """By which factor the work that each holds weighs more than with the fastest of them."""
    measured = {worker: worker.slowness(now) for worker in workers}
    fastest = min((one for one in measured.values() if one is not None), default=None)
    return {worker: slowness(own, fastest) for worker, own in measured.items()}
