"""A circuit breaker per worker: a worker that fails gets no work until a probe succeeds.

    CLOSED     it works; results are counted
      -> OPEN        3 failures in a row, or 10 among the last 20 results, or one that leaves no doubt (`trip`); with a
                     probe due at once, after what may have been a restart (`suspend`)
    OPEN       no call is sent
      -> HALF_OPEN   the pause is over: a probe is under way
    HALF_OPEN  only the probe calls it
      -> CLOSED      the probe succeeded
      -> OPEN        the probe failed

No client's request is risked on a worker in doubt. The result of a call that began before the last change of state says
nothing about the worker as it is now, and is discarded.
"""

from collections import deque
from enum import Enum

_FAILURES_IN_A_ROW = 3
_RESULTS = 20
_FAILURES_AMONG_RESULTS = 10
_LONGEST_PAUSE_S = 4.0
# Opening again within this time is flapping: each pause is then twice the one before.
_FLAPPING_S = 30.0


class State(Enum):
    """The states of a breaker; metrics and logs show their values."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class Breaker:
    """The breaker of one worker. It starts OPEN, with a probe due at once: a worker has to show itself first.

    Args:
        pause_s: Seconds it stays OPEN before a probe; up to 4 when it opens again within 30.
    """

    def __init__(self, pause_s: float = 1.0) -> None:
        self.state = State.OPEN
        self.probe_at = float("-inf")
        self.generation = 0
        self._failed: deque[bool] = deque(maxlen=_RESULTS)
        self._shortest_pause_s = self._pause_s = pause_s
        self._tripped_at = float("-inf")
        self._is_tripped = True

    def report(self, *, failed: bool, generation: int) -> bool:
        """Count the result of a call begun in `generation`; True when it was one failure too many: time to `trip`."""
        if generation != self.generation or self.state is not State.CLOSED:
            return False
        self._failed.append(failed)
        if not failed:
            return False
        last = list(self._failed)[-_FAILURES_IN_A_ROW:]
        in_a_row = len(last) == _FAILURES_IN_A_ROW and all(last)
        return in_a_row or sum(self._failed) >= _FAILURES_AMONG_RESULTS

    def trip(self, now: float) -> None:
        """Open the breaker, whatever its state, after a failure that leaves no doubt."""
        if not self._is_tripped:
            is_flapping = now - self._tripped_at < _FLAPPING_S
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S) if is_flapping else self._shortest_pause_s
            self._tripped_at = now
            self._is_tripped = True
        self._failed.clear()
        self._become(State.OPEN)
        self.probe_at = now + self._pause_s

    def suspend(self, now: float) -> None:
        """Open the breaker for a probe that is due at once; results count on, and no pause gets longer.

        A probe that is under way is due anew: it may have met the worker as it was. One that waits for its pause is
        late enough.
        """
        if self.state is not State.OPEN:
            self._become(State.OPEN)
            self.probe_at = now

    def begin_probe(self) -> None:
        """Let one probe through an OPEN breaker; a CLOSED one stays as it is."""
        if self.state is State.OPEN:
            self._become(State.HALF_OPEN)

    def close(self) -> None:
        """Close the breaker after a probe that succeeded."""
        self._is_tripped = False
        if self.state is not State.CLOSED:
            self._become(State.CLOSED)

    def _become(self, state: State) -> None:
        self.state = state
        self.generation += 1
