"""The cache that replicas share: Redis or Valkey. Whatever happens to it, requests only lose its help."""

import asyncio
import math
import struct
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from time import perf_counter, time

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from app.metrics import Metrics
from app.policy.breaker import Breaker, State

# The number is that of the layout below: replicas of two layouts share nothing.
_PREFIX = b"rerank:1:"
_GENERATIONS = _PREFIX + b"generations"
# The score, the second since 1970 at which it expires, and the beginning of its digest, by which an answer that belongs
# to another question is told apart.
_VALUE = struct.Struct("<dI4s")
_TAG = slice(4)
# One SET per pair costs the client 9 us, this script 1 us.
_SET_ALL = "for i, key in ipairs(KEYS) do redis.call('SET', key, ARGV[i + 1], 'EX', ARGV[1]) end"
_PAIRS_PER_WRITE = 500
_MOST_TO_WRITE = 100_000
_CONNECTIONS = 32
_WATCH_INTERVAL_S = 5.0
_WATCH_TIMEOUT_S = 1.0

Known = tuple[float, int]
Merge = Callable[[Mapping[str, int]], Mapping[str, int]]


class RedisTier:
    """Looks pairs up within a time limit, and writes in the background.

    Args:
        url: As `Redis.from_url` takes it.
        timeout_s: How long a lookup may take.
        ttl_s: How long scores are kept.
        merge: Takes the generations the replicas know and gives back those that are newer here.
        metrics: Count and time what is asked of it.
    """

    def __init__(self, url: str, *, timeout_s: float, ttl_s: int, merge: Merge, metrics: Metrics) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=_WATCH_TIMEOUT_S,
            socket_timeout=_WATCH_TIMEOUT_S,
            socket_connect_timeout=_WATCH_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis = Redis.from_pool(pool)
        self._set_all = self._redis.register_script(_SET_ALL)
        self._timeout_s = timeout_s
        self._ttl_s = ttl_s
        self._merge = merge
        self._metrics = metrics
        self._breaker = Breaker()
        self._to_write: dict[bytes, bytes] = {}
        self._has_to_write = asyncio.Event()
        self._in_doubt = asyncio.Event()
        self._log = structlog.get_logger()

    @property
    def is_usable(self) -> bool:
        """Whether it is asked at all: not while it is in doubt."""
        return self._breaker.state is State.CLOSED

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watch it and write to it until the end of the block."""
        tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._write_on())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._redis.aclose()

    async def lookup(self, digests: Sequence[bytes]) -> Sequence[Known | None]:
        """Score and expiry of some pairs; None for those that aren't known, or can't be had in time."""
        if not self.is_usable:
            return [None] * len(digests)
        generation, began = self._breaker.generation, perf_counter()
        try:
            async with asyncio.timeout(self._timeout_s):
                values = await self._redis.mget([_PREFIX + digest for digest in digests])
            found = [_read(value, digest) for value, digest in zip(values, digests, strict=True)]
        except (RedisError, OSError, TimeoutError, ValueError) as exc:
            self._report(exc, generation)
            return [None] * len(digests)
        finally:
            self._metrics.shared_tier("lookup", perf_counter() - began)
        self._breaker.report(failed=False, generation=generation)
        return found

    def store(self, digests: Sequence[bytes], scores: Sequence[float], expiry: int) -> None:
        """Write the scores of some pairs as soon as possible; nobody waits for it."""
        room = _MOST_TO_WRITE - len(self._to_write)
        if not self.is_usable or room < len(digests):
            return
        for digest, score in zip(digests, scores, strict=True):
            self._to_write[_PREFIX + digest] = _VALUE.pack(score, expiry, digest[_TAG])
        self._has_to_write.set()

    async def _write_on(self) -> None:
        while True:
            await self._has_to_write.wait()
            batch = dict(islice(self._to_write.items(), _PAIRS_PER_WRITE))
            for key in batch:
                del self._to_write[key]
            if not self._to_write:
                self._has_to_write.clear()
            await self._write(batch)

    async def _write(self, batch: Mapping[bytes, bytes]) -> None:
        generation, began = self._breaker.generation, perf_counter()
        try:
            async with asyncio.timeout(_WATCH_TIMEOUT_S):
                await self._set_all(keys=list(batch), args=[self._ttl_s, *batch.values()])
        except ResponseError as exc:
            # It is full, or read-only: it can still be read.
            self._metrics.shared_tier_failed("refused")
            self._log.warning("shared_cache_refuses", reason=str(exc))
        except (RedisError, OSError, TimeoutError) as exc:
            self._report(exc, generation)
        finally:
            self._metrics.shared_tier("store", perf_counter() - began)

    async def _watch(self) -> None:
        """Exchange generations with the other replicas now and then, which shows as well whether it works."""
        while True:
            self._in_doubt.clear()
            self._breaker.begin_probe()
            try:
                async with asyncio.timeout(_WATCH_TIMEOUT_S):
                    await self._exchange_generations()
            except (RedisError, OSError, TimeoutError, ValueError) as exc:
                self._suspect(exc)
                await asyncio.sleep(self._breaker.probe_at - asyncio.get_running_loop().time())
                continue
            if not self.is_usable:
                self._breaker.close()
                self._log.info("shared_cache_usable")
            try:
                async with asyncio.timeout(_WATCH_INTERVAL_S):
                    await self._in_doubt.wait()
            except TimeoutError:
                continue

    async def _exchange_generations(self) -> None:
        known = await self._redis.hgetall(_GENERATIONS)
        newer = self._merge({_text(model): int(number) for model, number in known.items()})
        if newer:
            await self._redis.hset(_GENERATIONS, mapping={model: str(number) for model, number in newer.items()})

    def _report(self, exc: Exception, generation: int) -> None:
        self._metrics.shared_tier_failed("timeout" if isinstance(exc, TimeoutError) else "error")
        if self._breaker.report(failed=True, generation=generation):
            self._suspect(exc)

    def _suspect(self, exc: Exception) -> None:
        if self.is_usable:
            self._log.warning("shared_cache_down", reason=str(exc) or "no answer in time")
        self._breaker.trip(asyncio.get_running_loop().time())
        self._to_write.clear()
        self._has_to_write.clear()
        self._in_doubt.set()


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode()


def _read(value: object, digest: bytes) -> Known | None:
    """Score and expiry as `value` has them; None when it isn't of ours, or not of this pair."""
    if not isinstance(value, bytes) or len(value) != _VALUE.size:
        return None
    score, expiry, tag = _VALUE.unpack(value)
    is_right = tag == digest[_TAG] and math.isfinite(score) and expiry > time()
    return (score, expiry) if is_right else None
