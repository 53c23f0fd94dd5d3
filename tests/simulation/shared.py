"""The cache that replicas share, simulated at its port: slow, gone, flushed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from unittest.mock import patch

from app.cache import redis
from app.cache.pairs import Known
from tests.simulation.clock import VirtualLoop
from tests.simulation.plan import SharedTrouble

_EXCHANGE_INTERVAL_S = 5.0


class SimulatedTier:
    """The server: what it holds, and what is wrong with it."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.pairs: dict[bytes, Known] = {}
        self.agreed: dict[str, int] = {}
        self.has_ended = False
        self._loop = loop
        self._gone_until = self._slow_until = 0.0

    @property
    def is_there(self) -> bool:
        """Whether it answers."""
        return self._loop.now >= self._gone_until

    def trouble(self, kind: SharedTrouble, lasts_s: float) -> None:
        """Something is wrong with it for a while."""
        if kind == "flushed":
            self.pairs.clear()
            self.agreed.clear()
        elif kind == "gone":
            self._gone_until = self._loop.now + lasts_s
        else:
            self._slow_until = self._loop.now + lasts_s

    @property
    def delay_s(self) -> float:
        """How long it takes to answer."""
        return 0.5 if self._loop.now < self._slow_until else 0.001


class SimulatedClient:
    """What a replica has in the place of `RedisTier`."""

    def __init__(self, server: SimulatedTier, *, timeout_s: float, merge: Callable[..., Mapping[str, int]]) -> None:
        self._server = server
        self._timeout_s = timeout_s
        self._merge = merge
        self._news = asyncio.Event()

    @property
    def is_usable(self) -> bool:
        return self._server.is_there

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        exchange = asyncio.create_task(self._exchange())
        try:
            yield
        finally:
            exchange.cancel()
            await asyncio.gather(exchange, return_exceptions=True)

    async def lookup(self, digests: Sequence[bytes]) -> Sequence[Known | None]:
        await asyncio.sleep(min(self._timeout_s, self._server.delay_s))
        if not self._server.is_there or self._server.delay_s > self._timeout_s:
            return [None] * len(digests)
        return [self._server.pairs.get(digest) for digest in digests]

    def store(self, digests: Sequence[bytes], scores: Sequence[float], expiry: int) -> None:
        if self._server.is_there:
            pairs = zip(digests, scores, strict=True)
            self._server.pairs.update({digest: (score, expiry) for digest, score in pairs})

    def exchange_soon(self) -> None:
        self._news.set()

    async def _exchange(self) -> None:
        while True:
            if self._server.is_there:
                self._server.agreed.update(self._merge(dict(self._server.agreed)))
            self._news.clear()
            try:
                async with asyncio.timeout(_EXCHANGE_INTERVAL_S):
                    await self._news.wait()
            except TimeoutError:
                pass


@contextmanager
def sharing(loop: VirtualLoop, replicas: int) -> Iterator[SimulatedTier]:
    """Have replicas that are made until the end of the block share this cache, if there are several."""
    server = SimulatedTier(loop)

    def client(_: str, *, timeout_s: float, merge: Callable[..., Mapping[str, int]], **__: Any) -> SimulatedClient:
        return SimulatedClient(server, timeout_s=timeout_s, merge=merge)

    if replicas == 1:
        yield server
        return
    with patch.object(redis, "RedisTier", client):
        yield server
