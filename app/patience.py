"""How long to wait for a worker that gives no sign of life."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.fleet.worker import Worker

_STEPS = 10


@asynccontextmanager
async def patience_with(worker: Worker, *, quiet_s: float, until: float) -> AsyncIterator[None]:
    """Let the block go on until the worker has answered nobody for `quiet_s`.

    A worker that answers other calls meanwhile is busy, not hung. The silence is counted in steps, and a late one
    counts as one: while this process gets too little CPU to read what workers have long answered, it blames none.

    Args:
        worker: Called in the block.
        quiet_s: Silence after which it counts as hung.
        until: When the block ends in any case, on the loop's clock.

    Raises:
        TimeoutError: the time is over.
    """
    loop = asyncio.get_running_loop()
    steps, answered_at = 0, worker.last_success_at
    timer: asyncio.TimerHandle

    def step() -> None:
        nonlocal steps, answered_at, timer
        steps = steps + 1 if worker.last_success_at == answered_at else 0
        answered_at = worker.last_success_at
        if steps < _STEPS:
            timer = loop.call_later(quiet_s / _STEPS, step)
        elif not limit.expired():
            limit.reschedule(loop.time())

    async with asyncio.timeout_at(until) as limit:
        timer = loop.call_later(quiet_s / _STEPS, step)
        try:
            yield
        finally:
            timer.cancel()
