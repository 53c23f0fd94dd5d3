"""The forecast for a new request: how many documents will be scored before it is done.

One part of them is on the workers when it comes, another waits. The third keeps coming: of that it has to let pass what
fair shares give to others, and no more.
"""

from collections import deque

# So many seconds in a row have to bring documents for these to count as a stream: a burst that ends sooner brings
# nothing that isn't waiting already.
_SECONDS = 3


class Arrivals:
    """The rate at which documents keep coming."""

    def __init__(self) -> None:
        # The documents that came in each of the last whole seconds, the current one last.
        self._by_second: deque[int] = deque([0] * (_SECONDS + 1), maxlen=_SECONDS + 1)
        self._second = 0

    def record(self, documents: int, now: float) -> None:
        """Count documents that came."""
        self._turn_to(now)
        self._by_second[-1] += documents

    def per_s(self, now: float) -> int:
        """The documents that come every second: the least that came in one of the last three."""
        self._turn_to(now)
        return min(list(self._by_second)[:-1])

    def _turn_to(self, now: float) -> None:
        passed = int(now) - self._second
        self._second += passed
        self._by_second.extend([0] * min(passed, _SECONDS + 1))


def documents_before(*, documents: int, waiting: int, most: int, arriving_per_s: float, per_s: float) -> float:
    """The documents granted to others before a new request is done.

    While it waits more come, of which it lets pass all that fits: the queue of workers that get done `per_s` and are
    sent `arriving_per_s` ends in `1 / (per_s - arriving_per_s)` seconds per document. What comes is no more than fair
    shares leave to others, however: clients that send when they have their answer don't send more than that.

    Args:
        documents: Of the request.
        waiting: Of those that wait now, the ones that fair shares put before it.
        most: What fair shares let pass at most; at least `waiting`.
        arriving_per_s: Documents that keep coming.
        per_s: Documents that the workers get through.
    """
    if arriving_per_s >= per_s:
        return most
    return min(most, (waiting + documents) * per_s / (per_s - arriving_per_s) - documents)


def documents_in_flight(*, documents: int, calls: int, workers: int) -> float:
    """The documents that workers have yet to score of those they were sent.

    Each worker works on one call at a time, as engines score in order of arrival; on average half of that is done.

    Args:
        documents: Of all calls in flight.
        calls: How many these are.
        workers: How many have them.
    """
    return documents * (1 - min(1.0, workers / calls) / 2) if calls else 0.0
