"""Model changes: a worker's scores of fixed pairs show whether it still has the weights it had.

A worker that is replaced under the same name and version answers with other scores. The same weights never answer quite
alike either: another batch shape moved scores of a 12-layer model by up to 0.05 in bfloat16, but hardly those of all
pairs at once. A pair that scores 0 or 1 with both tells nothing: it is irrelevant, or a copy, to any model.
"""

from collections.abc import Sequence

_PRECISION = 0.05
# Two readings of one pair: each may be off.
_LARGEST_NOISE = 2 * _PRECISION
# 0.9 and 0.8 are further apart than 0.1.
_ROUNDING = 1e-9
# Of one model. A worker that answers anything at all gets a new name each time, and must not fill memory.
_MOST_READINGS = 32


def same_weights(one: Sequence[float], other: Sequence[float]) -> bool:
    """True when two answers to the same fixed pairs can come from the same weights.

    They can't when some pair moved by more than 0.1, or all pairs that tell something, at least half of them, by more
    than 0.05. Beyond [0, 1], where models without an activation score, these are shares of the largest score.
    """
    scale = _scale(one, other)
    moves = [abs(a - b) / scale for a, b in zip(one, other, strict=True) if not _are_saturated(a, b, scale)]
    if max(moves, default=0.0) > _LARGEST_NOISE + _ROUNDING:
        return False
    return len(moves) < len(one) / 2 or min(moves) <= _PRECISION + _ROUNDING


def distance(one: Sequence[float], other: Sequence[float]) -> float:
    """The difference of the pair whose score moved most."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


class Readings:
    """The scores by which weights were first told apart.

    New scores are always compared with those, never with the last ones: weights that change little by little, or noise
    upon noise, can't move on for ever under one name.
    """

    def __init__(self) -> None:
        self._first_seen: list[Sequence[float]] = []

    def first_of(self, scores: Sequence[float]) -> Sequence[float]:
        """The scores that these weights gave first; of several that fit, the nearest."""
        alike = [earlier for earlier in self._first_seen if same_weights(earlier, scores)]
        if alike:
            return min(alike, key=lambda earlier: distance(earlier, scores))
        self._first_seen = [*self._first_seen[1 - _MOST_READINGS :], scores]
        return scores


def _are_saturated(one: float, other: float, scale: float) -> bool:
    """True when a pair scores 0 or 1 with both."""
    if scale > 1:
        return False
    return max(one, other) <= _PRECISION or min(one, other) >= 1 - _PRECISION


def _scale(one: Sequence[float], other: Sequence[float]) -> float:
    return max(1.0, *map(abs, one), *map(abs, other))
