"""Hedging: a second attempt goes out while the first, slower than usual, hasn't answered."""

# Dean and Barroso, "The Tail at Scale" (2013): a hedge after the 95th percentile adds at most 5 % of load.
HEDGE_AT_SHARE = 0.95
HEDGE_RATIO = 0.05
HEDGE_RESERVE = 2.0
_SHORTEST_S = 0.01


def hedge_after_s(usual_s: float | None) -> float | None:
    """Seconds to wait for the first attempt; None before it is known what is usual."""
    return None if usual_s is None else max(_SHORTEST_S, usual_s)
