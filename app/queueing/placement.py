"""Placement: the workers a chunk may go to, and the factors by which their loads compare."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from app.policy.balance import load_factor
from app.types import Chunk
from app.workers.worker import Worker


def candidates_for(
    chunk: Chunk,
    avoid: AbstractSet[Worker],
    *,
    usable: Sequence[Worker],
    free: Sequence[Worker],
    waiting: int,
    now: float,
) -> Sequence[Worker]:
    """The free workers a chunk should go to; none when it had better wait for one that is busy.

    Args:
        chunk: What is to be scored.
        avoid: Workers that have had it.
        usable: The workers that could score it, as far as they are compared.
        free: Those of them that have room now.
        waiting: Documents that wait for these workers.
        now: On the loop's clock.
    """
    if all(worker in avoid or worker.backs_off_long(now) for worker in usable):
        return that_fit(free, chunk, now) or free
    untried = [worker for worker in free if worker not in avoid]
    candidates = that_fit(untried, chunk, now) or untried
    if len(candidates) == len(usable):
        return candidates
    busy = [worker for worker in usable if worker.calls and worker.backs_off_until <= now and worker not in avoid]
    return _not_too_slow(candidates, that_fit(busy, chunk, now), chunk, waiting, now)


def that_fit(workers: Sequence[Worker], chunk: Chunk, now: float) -> list[Worker]:
    """The workers that take so many documents in one call."""
    return [worker for worker in workers if fits(worker, chunk, now)]


def fits(worker: Worker, chunk: Chunk, now: float) -> bool:
    """True when the worker takes so many documents in one call."""
    most = worker.max_call_documents(now)
    return most is None or len(chunk.pairs) <= most


def _not_too_slow(
    candidates: Sequence[Worker], busy: Sequence[Worker], chunk: Chunk, waiting: int, now: float
) -> Sequence[Worker]:
    """The candidates without those so slow that a busy worker would be done with the chunk earlier.

    With much that waits, one that is slow is better than none: then waiting takes long, too.
    """
    factors = load_factors([*candidates, *busy], now)
    if not busy or max(factors.values()) == 1:
        return candidates
    soonest = min((worker.tokens + chunk.tokens) * factors[worker] for worker in busy)
    until = soonest + waiting * chunk.tokens / len(chunk.pairs) / len(busy)
    return [worker for worker in candidates if (worker.tokens + chunk.tokens) * factors[worker] <= until]


def load_factors(workers: Sequence[Worker], now: float) -> dict[Worker, float]:
    """The factor of each worker's load: how much longer it takes for the same work than the fastest of them."""
    if len(workers) == 1:
        return {workers[0]: 1.0}
    measured = {worker: worker.slowness(now) for worker in workers}
    fastest = min((one for one in measured.values() if one is not None), default=None)
    return {worker: load_factor(own, fastest) for worker, own in measured.items()}
