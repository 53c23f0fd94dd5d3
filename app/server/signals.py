"""Handlers for SIGTERM, SIGINT and SIGHUP, set from the first to the last moment of a process that serves."""

import os
import signal
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from app.telemetry import log

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
Take = Callable[[signal.Signals], None]


class Signals:
    """Signal handlers that are in place from now on until the process ends.

    While an event loop takes signals, all of them go there. Before that SIGHUP is kept for it, and the others end the
    process. Afterwards SIGHUP is ignored, and the others still end the process. The loop's own handlers would be gone
    once it is closed, and Python's are at its own end: only what is ignored stays so.
    """

    def __init__(self) -> None:
        self._tell: Take | None = None
        self._is_hung_up = False
        for each in _SIGNALS:
            signal.signal(each, self._take)

    @contextmanager
    def told_to(self, take: Take, loop: AbstractEventLoop) -> Iterator[None]:
        """Call `take` in the loop for every signal until the end of the block, and for an earlier SIGHUP."""

        def tell(sig: signal.Signals) -> None:
            loop.call_soon_threadsafe(take, sig)

        self._tell = tell
        if self._is_hung_up:
            tell(signal.SIGHUP)
        try:
            yield
        finally:
            self._tell = None
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _take(self, number: int, _: FrameType | None) -> None:
        if self._tell:
            self._tell(signal.Signals(number))
        elif number == signal.SIGHUP:
            self._is_hung_up = True
        else:
            log.flush()
            # An exception could be swallowed where it is raised, and there is nothing to clean up.
            os._exit(128 + number)
