"""A pace: how long to wait so that of very many who want to begin at once only a few do so per second."""


class Pace:
    """Times of beginning that lie at least `1 / per_s` apart once more than `burst` have come at once (GCRA).

    Args:
        per_s: How many may begin per second in the long run.
        burst: How many may begin at once after a pause.
    """

    def __init__(self, *, per_s: float, burst: int) -> None:
        self._step_s = 1 / per_s
        self._burst_s = burst / per_s
        self._full_at = float("-inf")

    def delay_s(self, now: float) -> float:
        """Seconds from `now` until the next one may begin; each call takes a place."""
        self._full_at = max(self._full_at, now) + self._step_s
        return max(0.0, self._full_at - self._burst_s - now)
