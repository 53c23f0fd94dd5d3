"""SIGTERM, SIGINT and SIGHUP of a process that serves: at no moment has one of them its default, which is death."""

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
    """Takes signals from now on, until the process is gone.

    While a loop is told of them, all go there. Before that SIGHUP is kept for it, and the others end the process; so
    they do afterwards, when SIGHUP means nothing any more. Handlers of the loop's own would go when it is closed.
    """

    def __init__(self) -> None:
        self._tell: Take | None = None
        self._is_hung_up = False
        for each in _SIGNALS:
            signal.signal(each, self._take)

    @contextmanager
    def told_to(self, take: Take, loop: AbstractEventLoop) -> Iterator[None]:
        """Have `take` called in the loop for every signal until the end of the block, and for an earlier SIGHUP."""

        def tell(sig: signal.Signals) -> None:
            loop.call_soon_threadsafe(take, sig)

        self._tell = tell
        if self._is_hung_up:
            tell(signal.SIGHUP)
        try:
            yield
        finally:
            self._tell = None

    def _take(self, number: int, _: FrameType | None) -> None:
        if self._tell:
            self._tell(signal.Signals(number))
        elif number == signal.SIGHUP:
            self._is_hung_up = True
        else:
            log.flush()
            # An exception could come where it is lost, and there is nothing to clean up.
            os._exit(128 + number)
