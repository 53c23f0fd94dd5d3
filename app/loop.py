"""The event loop that something runs in, by whose clock deadlines and timers go."""

import asyncio
from functools import cached_property


class OnLoop:
    """Whatever lives in one event loop, but is made before that runs.

    `asyncio.get_running_loop` asks the kernel for the process's number each time: decision 0013.
    """

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()
