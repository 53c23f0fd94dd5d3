"""Balancing: the least loaded worker gets the next call."""

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

W = TypeVar("W")

# With a thousand workers a choice costs a thirtieth. With one of twenty idle, an idle one is among them in 80 of 100
# draws; where none is, there is a second draw.
_MOST_COMPARED = 32
# Among all of very many, each call would go to a worker whose connections have been closed meanwhile.
_STAYS_S = 1.0
# Below it a difference in speed may be noise; to act on that would send all calls of all gateways to one worker.
_MARKEDLY_SLOWER = 2.0


def pick(candidates: Sequence[W], *, load: Callable[[W], float], rng: Random) -> W:
    """The least loaded candidate; among equals one drawn by chance.

    The gateway knows its own work in flight exactly, so it needn't guess from two samples: decision 0006 compares. The
    draw keeps several gateways, all idle, from sending their first call to the same worker.

    Args:
        candidates: At least one.
        load: Work in flight.
        rng: Breaks ties.
    """
    loads = [load(candidate) for candidate in candidates]
    least = min(loads)
    return rng.choice([candidate for candidate, one in zip(candidates, loads, strict=True) if one == least])


class Neighbours:
    """Which of very many workers are compared: some that stand side by side, for a second the same.

    Args:
        rng: Draws where they stand, so that all workers have their turn and replicas don't meet.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._share = 0.0
        self._until = float("-inf")

    def among(self, workers: Sequence[W], now: float) -> Sequence[W]:
        """The workers to compare: all of up to 32, else as many of them."""
        if len(workers) <= _MOST_COMPARED:
            return workers
        if now >= self._until:
            self.move(now)
        start = int(self._share * len(workers))
        end = start + _MOST_COMPARED
        return [*workers[start:end], *workers[: max(0, end - len(workers))]]

    def move(self, now: float) -> None:
        """Compare others from now on."""
        self._share = self._rng.random()
        self._until = now + _STAYS_S


def load_factor(own: float | None, fastest: float | None) -> float:
    """The factor by which a worker's load counts for more than the fastest one's; 1 where the difference may be noise.

    Args:
        own: The factor by which its calls take longer than is usual for their size; None when unknown.
        fastest: The same of the fastest worker.
    """
    if own is None or not fastest or own < _MARKEDLY_SLOWER * fastest:
        return 1.0
    return own / fastest
