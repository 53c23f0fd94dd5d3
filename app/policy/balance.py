"""Which worker gets the next call."""

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

W = TypeVar("W")


def pick(candidates: Sequence[W], *, load: Callable[[W], float], rng: Random) -> W:
    """The less loaded of two candidates drawn by chance.

    Two choices spread work almost as evenly as looking at all of them, and unlike "the least loaded" don't send every
    replica of the gateway to the same worker at once (Mitzenmacher 2001).

    Args:
        candidates: At least one.
        load: Estimated work in flight.
        rng: Draws the two.
    """
    if len(candidates) == 1:
        return candidates[0]
    first, second = rng.sample(candidates, 2)
    return second if load(second) < load(first) else first
