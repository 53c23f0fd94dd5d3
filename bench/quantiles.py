"""What many measurements say together."""

import math
from collections.abc import Sequence


def quantile(values: Sequence[float], share: float) -> float:
    """The least of `values` that `share` of them don't pass: the nearest rank, no number nobody has seen.

    Args:
        values: At least one, in any order.
        share: From 0 to 1.
    """
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def median(values: Sequence[float]) -> float:
    """The middle one; of an even number of values the lower of the two."""
    return quantile(values, 0.5)
