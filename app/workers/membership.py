"""Keeps the registry to what its sources see: workers join, are held back, leave."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple

import structlog

from app.telemetry.metrics import Metrics
from app.telemetry.supervision import supervised
from app.workers.discovery.source import Endpoints, Source
from app.workers.prober import Prober
from app.workers.registry import Registry
from app.workers.worker import Worker
from app.workers.worker_gauges import watch_worker


class _Member(NamedTuple):
    """A worker's place in the registry, and what ends it."""

    worker: Worker
    left: asyncio.Event


class Membership:
    """Lets workers join and leave.

    A worker that left gets no new chunk. It finishes the calls it has, each of which ends by its own deadline; then its
    connections are closed and its metrics are gone. At the same address another worker may have joined by then, with
    its state new.

    Args:
        registry: Whom it keeps; its sources say who belongs to it.
        prober: Watches each worker while it is there.
        metrics: Show each worker until it has finished.
        make_worker: The worker behind a URL.
    """

    def __init__(
        self, registry: Registry, *, prober: Prober, metrics: Metrics, make_worker: Callable[[str], Worker]
    ) -> None:
        self._registry = registry
        self._prober = prober
        self._metrics = metrics
        self._make_worker = make_worker
        self._seen: dict[Source, Endpoints] = {}
        self._members: dict[str, _Member] = {}
        # Those that left and haven't finished are among them.
        self._stays: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the registry until the end of the block, then let go of all workers."""
        follow = partial(supervised, "discovery", metrics=self._metrics)
        follows = [asyncio.create_task(follow(partial(self._follow, source))) for source in self._registry.sources]
        try:
            yield
        finally:
            await _ended(follows)
            await _ended(self._stays)

    async def _follow(self, source: Source) -> None:
        # After a failure the registry may be half of what was seen.
        self._adjust()
        async for seen in source.watch():
            self._seen[source] = seen
            self._adjust()

    def _adjust(self) -> None:
        """Make the registry what the sources see together; who is ready for one of them is ready.

        Whoever comes, comes before others go: those who wait aren't sent away in between.
        """
        wanted: dict[str, bool] = {}
        for seen in self._seen.values():
            for url, is_ready in seen.items():
                wanted[url] = wanted.get(url, False) or is_ready
        for url in wanted:
            if url not in self._members:
                self._join(url)
        for url, is_ready in sorted(wanted.items(), key=lambda one: not one[1]):
            self._members[url].worker.is_ready = is_ready
        for url in self._members.keys() - wanted.keys():
            self._leave(url)

    def _join(self, url: str) -> None:
        member = self._members[url] = _Member(self._make_worker(url), asyncio.Event())
        stay = asyncio.create_task(self._stay(member))
        self._stays.add(stay)
        stay.add_done_callback(self._end)
        watch_worker(member.worker, self._metrics)
        self._log.info("worker_joined", worker=member.worker.name)
        self._registry.join(member.worker)

    def _leave(self, url: str) -> None:
        member = self._members.pop(url)
        member.left.set()
        self._log.info("worker_left", worker=member.worker.name, calls=member.worker.calls)
        self._registry.leave(member.worker)

    async def _stay(self, member: _Member) -> None:
        """A worker's time from when it joined until it has finished, a while after it left."""
        worker = member.worker
        watch = asyncio.create_task(self._prober.watch(worker))
        try:
            await member.left.wait()
            watch.cancel()
            await worker.finish()
        finally:
            await _ended([watch])
            self._metrics.forget_worker(worker.name, owner=worker)
            await worker.link.close()

    def _end(self, stay: asyncio.Task[None]) -> None:
        """A worker's time is over; one whose connections can't be closed is gone all the same."""
        self._stays.discard(stay)
        if not stay.cancelled() and (failure := stay.exception()):
            self._metrics.task_failed("worker_close")
            self._log.error("task_failed", task="worker_close", exc_info=failure)


async def _ended(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel the tasks, and wait until they are done with it."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
