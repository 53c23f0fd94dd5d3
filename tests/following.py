"""What a source of workers sees, as it comes in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.workers.discovery.source import Endpoints, Source


class Followed:
    """All that a source saw so far."""

    def __init__(self) -> None:
        self.all: list[Endpoints] = []

    @property
    def last(self) -> Endpoints | None:
        return self.all[-1] if self.all else None

    async def follow(self, source: Source) -> None:
        async for one in source.watch():
            self.all.append(one)


@asynccontextmanager
async def followed(source: Source) -> AsyncIterator[Followed]:
    """What the source sees until the end of the block."""
    seen = Followed()
    task = asyncio.create_task(seen.follow(source))
    await asyncio.sleep(0.001)
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
