"""Load shedding: a request that can't be done in time is refused at once.

A queue that only grows turns every answer into a late one. So a request that can't be done in time is refused when it
comes, with the time after which it could be: that costs nothing, and what was let in keeps its latency.
"""

from typing import Literal, NamedTuple

_INTERVAL_S = 2.0
# A burst that takes the five seconds it may, beside half of the usual load, gets shorter by a fifth in that time.
_HARDLY_SHORTER = 0.95
_OVERLOAD_WAIT_SHARE = 0.05
_OVERLOAD_WAIT_TIMES_OWN = 4


class Load:
    """Tells overload from a burst: a burst is over after its first moment, and what it left waiting gets less.

    A queue that at the end of two seconds is about as long as it ever was in them gets no shorter. That is overload,
    and it lasts until the queue has been empty.
    """

    def __init__(self) -> None:
        self.is_overload = False
        self._since: float | None = None
        self._longest = 0

    def observe(self, waiting: int, now: float) -> None:
        """Note that `waiting` documents wait now."""
        if not waiting:
            self.is_overload = False
            self._since, self._longest = None, 0
            return
        self._longest = max(self._longest, waiting)
        if self._since is None:
            self._since = now
        elif now - self._since >= _INTERVAL_S:
            self.is_overload = self.is_overload or waiting > _HARDLY_SHORTER * self._longest
            self._since, self._longest = now, waiting


class Outlook(NamedTuple):
    """The wait ahead of a new request.

    Args:
        waiting: Documents that wait now and, under fair shares, will be granted before it is done.
        before: All that will be, with those that are still to come.
        in_flight: Documents that the workers have already, and have yet to score before any of these.
        per_s: Documents per second that the workers get through; None when that isn't known yet.
        is_overload: As `Load` tells.
    """

    waiting: int
    before: float
    in_flight: float
    per_s: float | None
    is_overload: bool


class Shed(NamedTuple):
    """The refusal of a request: why, and in how many seconds it could be let in."""

    reason: Literal["queue", "deadline"]
    for_s: float


def shed(outlook: Outlook, *, documents: int, left_s: float, burst_s: float) -> Shed | None:
    """The refusal of a request; None lets it in.

    Args:
        outlook: The wait ahead of it.
        documents: Of the request, cached ones left out.
        left_s: Until the request's deadline.
        burst_s: How long a request may wait for its turn after a burst.
    """
    waiting, before, in_flight, per_s, is_overload = outlook
    if waiting == 0 or per_s is None:
        return None
    own_s = documents / per_s
    too_long_s = waiting / per_s - allowed_wait_s(is_overload=is_overload, burst_s=burst_s, own_s=own_s)
    too_late_s = (in_flight + before) / per_s + own_s - left_s
    later = Shed("deadline", too_late_s) if too_late_s > too_long_s else Shed("queue", too_long_s)
    return later if later.for_s > 0 else None


def allowed_wait_s(*, is_overload: bool, burst_s: float, own_s: float) -> float:
    """Seconds that a request may wait for its turn.

    After a burst it may wait long: it will be over. In overload every answer would be late by the queue's length, so
    the queue is kept short: a request may wait a small part of that, or a few times as long as it takes itself.
    Source: Maurer, "Fail at Scale" (ACM Queue 2015), after CoDel (Nichols and Jacobson 2012).

    Args:
        is_overload: As `Load` tells.
        burst_s: How long a request may wait after a burst.
        own_s: How long the workers take for the request alone.
    """
    if not is_overload:
        return burst_s
    return min(burst_s, max(burst_s * _OVERLOAD_WAIT_SHARE, own_s * _OVERLOAD_WAIT_TIMES_OWN))
