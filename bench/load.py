"""Load on a server: as fast as some clients get answers, or at a constant rate whatever it answers.

Times are those of perf_counter(): uvloop's clock has steps of a millisecond.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count, takewhile
from time import perf_counter

from bench.connection import Connection, NotAnswered, connected


@dataclass(frozen=True)
class Outcome:
    """What clients saw.

    Attributes:
        latencies_s: One per request, in the order in which they were due; what was refused takes for ever.
        seconds: From the first request to the last answer.
    """

    latencies_s: list[float]
    seconds: float

    @property
    def per_s(self) -> float:
        """Answers per second."""
        return len(self.latencies_s) / self.seconds


async def closed_loop(url: str, requests: Iterator[bytes], *, clients: int, seconds: float = math.inf) -> Outcome:
    """Each client sends its next request when the last one is answered, until time or requests are at an end.

    Who waits for a slow answer sends nothing meanwhile, so these latencies are what a fixed number of callers sees, not
    what a load does: that is `constant_rate`.
    """
    latencies_s = []
    began = perf_counter()

    async def client(connection: Connection) -> None:
        for request in requests:
            sent_at = perf_counter()
            await connection.ask(request)
            latencies_s.append(perf_counter() - sent_at)
            if perf_counter() > began + seconds:
                break

    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(connected(url)) for _ in range(clients)]
        began = perf_counter()
        await asyncio.gather(*map(client, connections))
    return Outcome(latencies_s, perf_counter() - began)


async def in_sequence(url: str, requests: Iterator[bytes], number: int) -> list[float]:
    """The latencies of so many requests one after another, in seconds."""
    latencies_s = []
    async with connected(url) as connection:
        for _ in range(number):
            request = next(requests)
            sent_at = perf_counter()
            await connection.ask(request)
            latencies_s.append(perf_counter() - sent_at)
    return latencies_s


async def constant_rate(url: str, requests: Iterable[bytes], *, per_s: float, seconds: float) -> Outcome:
    """Requests are sent when they are due, however many wait for an answer, on as many connections as that takes.

    Latencies count from when a request was due: neither a stalled server nor a late client hides what is behind it
    (coordinated omission).
    """
    async with _pool(url) as pool:
        began = perf_counter()

        async def send(request: bytes, due: float) -> float:
            with suppress(NotAnswered):
                await pool.ask(request)
                return perf_counter() - due
            return math.inf

        tasks = []
        for due, request in zip(due_times(began, per_s=per_s, seconds=seconds), requests, strict=False):
            await asyncio.sleep(due - perf_counter())
            tasks.append(asyncio.create_task(send(request, due)))
        latencies_s = await asyncio.gather(*tasks)
    return Outcome(latencies_s, perf_counter() - began)


def due_times(began: float, *, per_s: float, seconds: float) -> Iterator[float]:
    """When each request is to be sent; multiplied rather than summed up, so that no error adds up."""
    return takewhile(lambda due: due < began + seconds, (began + number / per_s for number in count()))


class _Pool:
    """Connections that are used again, and more of them when all are busy."""

    def __init__(self, url: str, stack: AsyncExitStack) -> None:
        self._url = url
        self._stack = stack
        self._idle: list[Connection] = []

    async def ask(self, request: bytes) -> None:
        connection = self._idle.pop() if self._idle else await self._stack.enter_async_context(connected(self._url))
        try:
            await connection.ask(request)
        finally:
            self._idle.append(connection)


@asynccontextmanager
async def _pool(url: str) -> AsyncIterator[_Pool]:
    async with AsyncExitStack() as stack:
        yield _Pool(url, stack)
