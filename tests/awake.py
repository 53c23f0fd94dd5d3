"""A clock for bounds on real time that leaves out what a machine that stands still takes."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

_TICK_S = 0.005
# What a busy machine may keep a thread waiting; all beyond it is standstill.
_BUSY_S = 0.1


@contextmanager
def awake_clock() -> Iterator[Callable[[], float]]:
    """A clock in seconds that takes no standstill for more than 0.1 s.

    It stands still when nothing in this process runs, as when a virtual machine is paused: a thread that wants to run
    all the time is the witness. A coroutine that blocks the loop, or something awaited, leaves that thread running.
    """
    witness = _Witness()
    witness.start()
    try:
        yield witness.now
    finally:
        witness.is_over.set()
        witness.join()


class _Witness(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="awake", daemon=True)
        self.is_over = threading.Event()
        # When it ran last, and all that was lost by then; replaced as one, since two threads read it.
        self._seen = (perf_counter(), 0.0)

    def run(self) -> None:
        while not self.is_over.wait(_TICK_S):
            at = perf_counter()
            self._seen = (at, self._lost(at))

    def now(self) -> float:
        at = perf_counter()
        return at - self._lost(at)

    def _lost(self, at: float) -> float:
        seen_at, lost_s = self._seen
        return lost_s + max(0.0, at - seen_at - _BUSY_S)
