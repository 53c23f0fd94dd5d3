"""Which worker gets the next call."""

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

W = TypeVar("W")


def pick(candidates: Sequence[W], *, load: Callable[[W], float], rng: Random) -> W:
    """The least loaded candidate; among equals one drawn by chance.

    The gateway knows its own work in flight exactly, so it needn't guess from two samples: decision 0006 compares. The
    draw keeps several gateways, all idle, from sending their first call to the same worker.

    Args:
        candidates: At least one.
        load: Estimated work in flight.
        rng: Breaks ties.
    """
    loads = [load(candidate) for candidate in candidates]
    least = min(loads)
    return rng.choice([candidate for candidate, one in zip(candidates, loads, strict=True) if one == least])
