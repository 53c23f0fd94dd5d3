"""Time limit of a call to a worker that answers nobody: it has hung, and isn't just busy."""

import asyncio
from types import TracebackType

from app.workers.worker import Worker

_STEPS = 10


class StallTimeout:
    """Ends the block with TimeoutError once the worker has answered nobody for `quiet_s`.

    A worker that answers other calls meanwhile is busy, not hung. The silence is counted in steps, and a late one
    counts as one: while this process gets too little CPU to read what workers have long answered, it blames none.

    Args:
        worker: Called in the block.
        quiet_s: Seconds of silence after which it counts as hung.
        until: When the block ends in any case, on the loop's clock, in seconds.
        useful_until: When silence stops ending the block, on the loop's clock: another worker couldn't be done in time.
    """

    def __init__(self, worker: Worker, *, quiet_s: float, until: float, useful_until: float) -> None:
        self._worker = worker
        self._step_s = quiet_s / _STEPS
        self._useful_until = useful_until
        self._limit = asyncio.timeout_at(until)
        self._steps = 0
        self._answered_at = worker.last_success_at

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._step_s, self._step)

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._limit.__aexit__(kind, exc, trace)

    def _step(self) -> None:
        answered_at = self._worker.last_success_at
        self._steps = self._steps + 1 if answered_at == self._answered_at else 0
        self._answered_at = answered_at
        if self._steps < _STEPS:
            self._timer = self._loop.call_later(self._step_s, self._step)
        elif self._loop.time() <= self._useful_until and not self._limit.expired():
            self._limit.reschedule(self._loop.time())
