"""Whether a worker still has the weights it had.

A worker that is replaced under the same name and version answers with other scores. The same weights never answer quite
alike either: other batch shapes move scores by up to 0.05 in bf16, but hardly those of all pairs at once.
"""

from collections.abc import Sequence

_PRECISION = 0.05


def same_weights(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two answers to the same fixed pairs can come from the same weights: some score stayed where it was."""
    return any(abs(a - b) <= _PRECISION for a, b in zip(one, other, strict=True))
