"""Membership: workers are added to the registry, held back and removed as its sources see them come and go."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple

import structlog

from app.aio import cancel
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.telemetry.supervision import supervised
from app.workers.connect import LinkFactory
from app.workers.discovery.source import Endpoints, Source
from app.workers.prober import Prober
from app.workers.registry import Registry
from app.workers.worker import Worker
from app.workers.worker_gauges import watch_worker


class _Member(NamedTuple):
    """A worker in the registry, and the event that removes it."""

    worker: Worker
    left: asyncio.Event


class Membership:
    """Adds workers to the registry, and removes them.

    A removed worker gets no new chunk. It finishes the calls it has, each of which ends by its own deadline; then its
    connections are closed and its metrics are gone. At the same address another worker may have been added by then,
    with its state new.

    Args:
        registry: The workers; its sources say which belong to it.
        settings: How much each worker may hold.
        prober: Watches each worker while it is there.
        metrics: Show each worker until it has finished.
        link_factory: Makes the link to the worker at a URL.
    """

    def __init__(
        self, registry: Registry, settings: Settings, *, prober: Prober, metrics: Metrics, link_factory: LinkFactory
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._prober = prober
        self._metrics = metrics
        self._link_factory = link_factory
        self._seen: dict[Source, Endpoints] = {}
        self._members: dict[str, _Member] = {}
        # Removed workers that haven't finished are among them.
        self._stays: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the sources until the end of the block, then close all workers."""
        follow = partial(supervised, "discovery", metrics=self._metrics)
        follows = [asyncio.create_task(follow(partial(self._follow, source))) for source in self._registry.sources]
        try:
            yield
        finally:
            await cancel(follows)
            await cancel(list(self._stays))

    async def _follow(self, source: Source) -> None:
        # After a failure the registry may be half of what was seen.
        self._adjust()
        async for seen in source.watch():
            self._seen[source] = seen
            self._adjust()

    def _adjust(self) -> None:
        """Make the registry what the sources see together; a worker that is ready for one of them is ready.

        Workers are added before others are removed: waiting requests aren't sent away in between.
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
        worker = Worker(self._link_factory(url, self._settings), self._settings)
        member = self._members[url] = _Member(worker, asyncio.Event())
        stay = asyncio.create_task(self._stay(member))
        self._stays.add(stay)
        stay.add_done_callback(self._end)
        watch_worker(worker, self._metrics)
        self._log.info("worker_joined", worker=worker.name)
        self._registry.join(worker)

    def _leave(self, url: str) -> None:
        member = self._members.pop(url)
        member.left.set()
        self._log.info("worker_left", worker=member.worker.name, calls=member.worker.calls)
        self._registry.leave(member.worker)

    async def _stay(self, member: _Member) -> None:
        """Probe a worker until it is removed, let it finish its calls, and close it."""
        worker = member.worker
        watch = asyncio.create_task(self._prober.watch(worker))
        try:
            await member.left.wait()
            watch.cancel()
            await worker.finish()
        finally:
            await cancel([watch])
            self._metrics.forget_worker(worker.name, owner=worker)
            await worker.link.close()

    def _end(self, stay: asyncio.Task[None]) -> None:
        """Forget a worker that has finished; one whose connections can't be closed is gone all the same."""
        self._stays.discard(stay)
        if not stay.cancelled() and (failure := stay.exception()):
            self._metrics.task_failed("worker_close")
            self._log.error("task_failed", task="worker_close", exc_info=failure)
