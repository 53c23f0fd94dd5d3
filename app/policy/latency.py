"""The usual latency of calls by size, and the time limits that follow from it."""

from bisect import bisect_left, insort
from collections import defaultdict, deque
from math import ceil

_SAMPLES = 200
_FEWEST = 20
# The quantiles move slowly; sorting at every call would cost more than it tells.
_SAMPLES_PER_SORT = 10
# Before it is known what is usual. A client with a short deadline ends many calls earlier: no worker's fault.
_STALL_TIMEOUT_S = 5.0


class Latencies:
    """Recent latencies of calls, by size. Sizes are grouped by powers of two: within one group they at most double."""

    def __init__(self) -> None:
        self._groups: defaultdict[int, _Group] = defaultdict(_Group)
        # The groups that tell something, in rising order.
        self._known: list[int] = []

    def record(self, tokens: int, seconds: float) -> None:
        """Note that a call of `tokens` took `seconds`."""
        size = tokens.bit_length()
        group = self._groups[size]
        group.add(seconds)
        if len(group.samples) == _FEWEST:
            insort(self._known, size)

    def quantile(self, share: float, tokens: int) -> float | None:
        """Seconds within which `share` of the calls of about this size ended; None before enough were seen.

        A size that wasn't seen often enough takes no longer than the next bigger one; one beyond all that were seen
        takes in proportion longer at most, since the fixed part of a call doesn't grow.
        """
        if not self._known:
            return None
        size = tokens.bit_length()
        nearest = self._known[min(bisect_left(self._known, size), len(self._known) - 1)]
        ordered = self._groups[nearest].ordered
        seconds = ordered[min(len(ordered), ceil(share * len(ordered))) - 1]
        return float(seconds * 2 ** max(0, size - nearest))


class _Group:
    def __init__(self) -> None:
        self.samples: deque[float] = deque(maxlen=_SAMPLES)
        self.ordered: list[float] = []
        self._unsorted = 0

    def add(self, seconds: float) -> None:
        self.samples.append(seconds)
        self._unsorted += 1
        if self._unsorted >= _SAMPLES_PER_SORT or len(self.samples) <= _FEWEST:
            self.ordered = sorted(self.samples)
            self._unsorted = 0


def stall_timeout_s(p99_s: float | None) -> float:
    """Seconds without an answer after which a worker counts as hung, if nothing else ends the attempt before.

    Args:
        p99_s: Seconds within which 99 % of calls of this size end; None when unknown.
    """
    return _STALL_TIMEOUT_S if p99_s is None else max(1.0, 5 * p99_s)


def attempt_limit_s(*, left_s: float, p99_s: float | None) -> float:
    """Seconds one attempt may take before another worker is tried; half of what is left always stays for that one.

    Args:
        left_s: Seconds until the request's deadline.
        p99_s: As for `stall_timeout_s`.
    """
    half = left_s / 2
    return half if p99_s is None else min(half, stall_timeout_s(p99_s))
