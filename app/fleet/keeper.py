"""Keeps the fleet to what its sources see: workers join, are held back, leave."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple

import structlog

from app.fleet.discovery.source import Seen, Source
from app.fleet.fleet import Fleet
from app.fleet.probe import Probe
from app.fleet.worker import Worker
from app.metrics import Metrics
from app.parallel import supervised


class _Post(NamedTuple):
    """A worker's place in the fleet, and what ends it."""

    worker: Worker
    left: asyncio.Event


class Keeper:
    """Lets workers join and leave.

    A worker that left gets no new chunk. It finishes the calls it has, each of which ends by its own deadline; then its
    connections are closed and its metrics are gone. At the same address another worker may have joined by then, with
    its state new.

    Args:
        fleet: Whom it keeps; its sources say who belongs to it.
        probe: Watches each worker while it is there.
        metrics: Show each worker until it has finished.
        hire: The worker behind a URL.
    """

    def __init__(self, fleet: Fleet, *, probe: Probe, metrics: Metrics, hire: Callable[[str], Worker]) -> None:
        self._fleet = fleet
        self._probe = probe
        self._metrics = metrics
        self._hire = hire
        self._seen: dict[Source, Seen] = {}
        self._posts: dict[str, _Post] = {}
        # Those that left and haven't finished are among them.
        self._terms: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the fleet until the end of the block, then let go of all workers."""
        follow = partial(supervised, "discovery", metrics=self._metrics)
        follows = [asyncio.create_task(follow(partial(self._follow, source))) for source in self._fleet.sources]
        try:
            yield
        finally:
            await _ended(follows)
            await _ended(self._terms)

    async def _follow(self, source: Source) -> None:
        # After a failure the fleet may be half of what was seen.
        self._adjust()
        async for seen in source.watch():
            self._seen[source] = seen
            self._adjust()

    def _adjust(self) -> None:
        """Make the fleet what the sources see together; who is ready for one of them is ready.

        Whoever comes, comes before others go: those who wait aren't sent away in between.
        """
        wanted: dict[str, bool] = {}
        for seen in self._seen.values():
            for url, is_ready in seen.items():
                wanted[url] = wanted.get(url, False) or is_ready
        for url in wanted:
            if url not in self._posts:
                self._welcome(url)
        for url, is_ready in sorted(wanted.items(), key=lambda one: not one[1]):
            self._posts[url].worker.is_ready = is_ready
        for url in self._posts.keys() - wanted.keys():
            self._dismiss(url)

    def _welcome(self, url: str) -> None:
        post = self._posts[url] = _Post(self._hire(url), asyncio.Event())
        term = asyncio.create_task(self._serve_out(post))
        self._terms.add(term)
        term.add_done_callback(self._end)
        self._metrics.watch_worker(post.worker)
        self._log.info("worker_joined", worker=post.worker.name)
        self._fleet.join(post.worker)

    def _dismiss(self, url: str) -> None:
        post = self._posts.pop(url)
        post.left.set()
        self._log.info("worker_left", worker=post.worker.name, calls=post.worker.calls)
        self._fleet.leave(post.worker)

    async def _serve_out(self, post: _Post) -> None:
        """A worker's time from when it joined until it has finished, a while after it left."""
        worker = post.worker
        watch = asyncio.create_task(self._probe.watch(worker))
        try:
            await post.left.wait()
            watch.cancel()
            await worker.finish()
        finally:
            await _ended([watch])
            self._metrics.forget_worker(worker)
            await worker.link.close()

    def _end(self, term: asyncio.Task[None]) -> None:
        """A worker's time is over; one whose connections can't be closed is gone all the same."""
        self._terms.discard(term)
        if not term.cancelled() and (failure := term.exception()):
            self._metrics.task_failed("worker_close")
            self._log.error("task_failed", task="worker_close", exc_info=failure)


async def _ended(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel the tasks, and wait until they are done with it."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
