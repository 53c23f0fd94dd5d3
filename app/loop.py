"""The event loop that something runs in, by whose clock deadlines and timers go, and whether that stood still."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

_TICK_S = 0.5
# Timers of a busy process are late too; all limits for workers are longer than this.
_STALL_S = 0.5
# For all that ran out meanwhile to be told: one turn of the loop, or a few when much was due.
_AFTERMATH_S = 1.0


class OnLoop:
    """Whatever lives in one event loop, but is made before that runs.

    `asyncio.get_running_loop` asks the kernel for the process's number each time: decision 0013.
    """

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()


class StallDetector(OnLoop):
    """Tells when this process itself has just stood still: it got no CPU, was frozen, or something blocked its loop.

    All time limits then end at once, before the answers that have arrived meanwhile are read. Whatever failed in that
    moment says nothing about a worker.
    """

    def __init__(self) -> None:
        self._due_at = float("inf")
        self._ended_at = float("-inf")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Look out until the end of the block."""
        self._due_at = self._loop.time()
        self._tick()
        try:
            yield
        finally:
            self._timer.cancel()

    @property
    def has_just_stalled(self) -> bool:
        """Whether a standstill of half a second or more ended less than a second ago."""
        now = self._loop.time()
        return now - self._due_at > _STALL_S or now - self._ended_at < _AFTERMATH_S

    def _tick(self) -> None:
        now = self._loop.time()
        if now - self._due_at > _STALL_S:
            self._ended_at = now
        self._due_at = now + _TICK_S
        self._timer = self._loop.call_at(self._due_at, self._tick)
