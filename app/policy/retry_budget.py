"""The retry budget: how much work may be done twice.

A bucket of tokens: every first attempt pays in a share of one, every retry or hedge takes one out. When most attempts
fail, retries can then add no more than that share to the load, where "three tries each" would triple it.
Source: Finagle's `RetryBudget`; the Google SRE book, "Handling Overload", gives 10 % as a server-wide ratio.
"""


class RetryBudget:
    """Tokens for repeated work.

    Args:
        ratio: Tokens that each first attempt pays in.
        reserve: Tokens there are at the start, and that come back by themselves within `_REFILL_S`: so that a gateway
            with little traffic can retry at all.
    """

    _REFILL_S = 10.0
    _FULL = 100.0

    def __init__(self, *, ratio: float, reserve: float) -> None:
        self._ratio = ratio
        self._reserve = reserve
        self._tokens = reserve
        self._refilled_at: float | None = None

    def deposit(self) -> None:
        """Pay in for a first attempt."""
        self._tokens = min(self._tokens + self._ratio, self._reserve + self._FULL)

    def withdraw(self, now: float) -> bool:
        """Take one token; False when there is none."""
        self._tokens, self._refilled_at = self.left(now), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def left(self, now: float) -> float:
        """The tokens there are at `now`."""
        if self._refilled_at is None or self._tokens >= self._reserve:
            return self._tokens
        grown = self._reserve * (now - self._refilled_at) / self._REFILL_S
        return min(self._tokens + grown, self._reserve)
