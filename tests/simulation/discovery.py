"""Simulated discovery: what a gateway's source of workers sees, and when."""

import asyncio
from collections.abc import AsyncIterator

from app.workers.discovery.source import Endpoints


class SimulatedSource:
    """A source that sees what the world shows it."""

    def __init__(self, seen: dict[str, bool]) -> None:
        self.name = "simulated://workers"
        self.problem: str | None = None
        self.has_answered = False
        self._seen = dict(seen)
        self._changes: asyncio.Queue[Endpoints] = asyncio.Queue()
        self._changes.put_nowait(dict(seen))

    def show(self, url: str, *, is_ready: bool) -> None:
        """There is a worker, ready or not."""
        self._seen[url] = is_ready
        self._changes.put_nowait(dict(self._seen))

    def hide(self, url: str) -> None:
        """There is no such worker any more."""
        self._seen.pop(url, None)
        self._changes.put_nowait(dict(self._seen))

    async def watch(self) -> AsyncIterator[Endpoints]:
        while True:
            seen = await self._changes.get()
            self.has_answered = True
            yield seen
