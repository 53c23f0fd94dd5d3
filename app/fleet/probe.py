"""Keeps asking each worker what it is, so that the fleet's picture of it stays true."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from random import Random

import structlog

from app.errors import WorkerError
from app.fleet.worker import Worker

# A worker that came back is used within about this time.
_UNUSABLE_PAUSE_S = 1.0
_JITTER = 0.2


class Probe:
    """One endless watch per worker.

    Args:
        revisions: The configured revision by model, part of the fingerprint.
        interval_s: How often a usable worker is asked.
        changed: Called after every change of a worker's state.
        rng: Spreads the questions of several gateways.
    """

    def __init__(
        self, *, revisions: Mapping[str, str], interval_s: float, changed: Callable[[], None], rng: Random
    ) -> None:
        self._revisions = revisions
        self._interval_s = interval_s
        self._changed = changed
        self._rng = rng
        self._suspected: defaultdict[Worker, asyncio.Event] = defaultdict(asyncio.Event)
        self._log = structlog.get_logger()

    def suspect(self, worker: Worker, trouble: WorkerError) -> None:
        """Take the worker out of use and ask it again at once."""
        if worker.is_usable:
            worker.suspect(trouble)
            self._log.warning("worker_suspected", worker=worker.name, reason=trouble.reason)
            self._changed()
        self._suspected[worker].set()

    async def watch(self, worker: Worker) -> None:
        """Ask the worker what it is, for ever."""
        suspected = self._suspected[worker]
        while True:
            await self.ask(worker)
            pause_s = self._interval_s if worker.is_usable else _UNUSABLE_PAUSE_S
            if not worker.is_usable:
                # Failing calls may not turn the pause into a busy loop.
                suspected.clear()
            try:
                async with asyncio.timeout(pause_s * self._rng.uniform(1 - _JITTER, 1 + _JITTER)):
                    await suspected.wait()
            except TimeoutError:
                continue
            suspected.clear()

    async def ask(self, worker: Worker) -> None:
        """Ask once, and take what it says as true."""
        before = _seen(worker)
        try:
            identity = await worker.link.identify()
        except WorkerError as exc:
            worker.suspect(exc)
        else:
            worker.identified(identity, self._revisions)
        if _seen(worker) != before:
            reason = {"reason": worker.trouble.reason} if worker.trouble else {}
            self._log.info(
                "worker_changed", worker=worker.name, usable=worker.is_usable, models=sorted(worker.serves), **reason
            )
            self._changed()


def _seen(worker: Worker) -> tuple[object, ...]:
    """What those who wait for the worker go by; the kind of its trouble counts, since some don't pass by themselves."""
    return worker.serves, type(worker.trouble)
