"""The Redis tier of the cache, shared between replicas: Redis or Valkey. When it fails, requests only lose its help.

One task opens a connection, keeps exchanging generations and names and writing, and opens another when something goes
wrong. Requests only use a connection on which a lookup has been answered in time.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import KW_ONLY, dataclass
from secrets import token_bytes
from time import perf_counter
from typing import NoReturn

import structlog
from redis.exceptions import RedisError, ResponseError

from app.aio import cancel_on_exit, until_one_ends
from app.cache.check_results import CheckResults
from app.cache.redis_codec import Known, key_of, value_of
from app.cache.redis_commands import (
    Redis,
    read_generations,
    read_names,
    read_results,
    write_generations,
    write_names,
    write_results,
)
from app.cache.redis_primaries import RedisPrimaries
from app.cache.redis_timeout import look_up
from app.cache.replica_sync import Generations, WeightNames
from app.cache.write_queue import WriteQueue
from app.policy.breaker import Breaker
from app.policy.pair_digest import DIGEST_BYTES
from app.telemetry.metrics import Metrics
from app.telemetry.supervision import supervised

_PAIRS_PER_WRITE = 500
_MOST_TO_WRITE = 100_000
_LAST_WRITES_S = 0.5
# Names of weights that are in use are written again after this part of the time for which they are kept.
_RENEWAL = 0.25
_LONGEST_REASON = 200
# Of so many keys by chance, each server of a cluster is asked for one.
_PROBES_PER_SERVER = 16

_FAILURES = (RedisError, OSError, TimeoutError, ValueError)


@dataclass(eq=False, repr=False)
class RedisTier:
    """Looks pairs up within a time limit, and writes in the background.

    Args:
        url: That of a server, of sentinels or of a cluster.
        timeout_s: How long a lookup may take.
        ttl_s: How long scores are kept.
        generations: Of the models, which replicas have to agree on.
        weight_names: Their names, which replicas have to agree on.
        results: Those of model checks, so that one replica makes each.
        metrics: Count and time its calls.
        breaker: Decides when it is left alone, and when it is tried again.
        exchange_interval_s: How long other replicas may not hear of a new generation.
        background_timeout_s: How long anything may take that no request waits for: connecting, exchanging, writing.
    """

    url: str
    _: KW_ONLY
    timeout_s: float
    ttl_s: int
    generations: Generations
    weight_names: WeightNames
    results: CheckResults
    metrics: Metrics
    breaker: Breaker
    exchange_interval_s: float = 5.0
    background_timeout_s: float = 1.0

    def __post_init__(self) -> None:
        self._primaries = RedisPrimaries(self.url)
        self._renew_at = float("-inf")
        self._redis: Redis | None = None
        self._exchange_is_due = asyncio.Event()
        self._write_queue = WriteQueue(_MOST_TO_WRITE)
        self._log = structlog.get_logger()
        # What the log said last: it tells of changes, not of requests.
        self._logged_usable: bool | None = None
        self._logged_refused = False

    @property
    def is_usable(self) -> bool:
        """True while lookups are sent to it: not before one has been answered in time."""
        return self._redis is not None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the tier connected until the end of the block; what waits to be written then has half a second."""
        async with cancel_on_exit(supervised("redis", self._run, metrics=self.metrics, failed=self._leave_out)):
            try:
                yield
            finally:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LAST_WRITES_S):
                        await self._write_queue.until_done()

    async def lookup(self, digests: Sequence[bytes]) -> Sequence[Known | None]:
        """The score and expiry of each pair; None where they aren't known, or don't come in time."""
        redis, generation, began = self._redis, self.breaker.generation, perf_counter()
        if redis is None or not digests:
            return [None] * len(digests)
        try:
            found = await look_up(redis, digests, within_s=self.timeout_s)
        except _FAILURES as exc:
            self._count(exc)
            if self.breaker.report(failed=True, generation=generation):
                self._redis = None
                redis.report_failure(exc)
            return [None] * len(digests)
        finally:
            self.metrics.redis_call("lookup", perf_counter() - began)
        self.breaker.report(failed=False, generation=generation)
        return found

    def store(self, digests: Sequence[bytes], scores: Sequence[float], expiry: int) -> None:
        """Write the scores of pairs in the background, as soon as possible."""
        if self.is_usable:
            pairs = zip(digests, scores, strict=True)
            self._write_queue.put([(key_of(digest), value_of(digest, score, expiry)) for digest, score in pairs])

    def exchange_soon(self) -> None:
        """Tell other replicas of a new generation, or name, without waiting for the next exchange."""
        self._exchange_is_due.set()

    async def _run(self) -> None:
        """Use one connection after the other, for ever."""
        while True:
            try:
                await self._connect_and_use()
            except _FAILURES as exc:
                self._leave_out(exc)
            await asyncio.sleep(max(0.0, self.breaker.probe_at - asyncio.get_running_loop().time()))

    async def _connect_and_use(self) -> NoReturn:
        """Open the connection, and use it until something goes wrong."""
        self.breaker.begin_probe()
        async with self._primaries.connected(within_s=self.background_timeout_s) as redis:
            try:
                await until_one_ends(redis.read(), redis.until_failure(), self._use(redis))
            finally:
                self._redis = None

    async def _use(self, redis: Redis) -> NoReturn:
        """Check that the connection answers in time, then exchange and write on it."""
        # A server can answer within the second that an exchange has, and still be too slow for requests.
        probe = [token_bytes(DIGEST_BYTES) for _ in range(_PROBES_PER_SERVER * redis.servers)]
        await look_up(redis, probe, within_s=self.timeout_s)
        # By old generations, scores would be found that another replica has flushed.
        await self._exchange(redis)
        self._redis = redis
        self.breaker.close()
        if not self._logged_usable:
            self._logged_usable = True
            self._log.info("redis_usable")
        await until_one_ends(self._keep_writing(redis), self._keep_exchanging(redis))

    async def _keep_exchanging(self, redis: Redis) -> NoReturn:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.exchange_interval_s):
                    await self._exchange_is_due.wait()
            self._exchange_is_due.clear()
            await self._exchange(redis)

    async def _exchange(self, redis: Redis) -> None:
        """Merge generations, names and results of other replicas, and tell them those that are newer here."""
        async with asyncio.timeout(self.background_timeout_s):
            newer = self.generations.merge(await read_generations(redis))
            if newer:
                await self._is_accepted(write_generations(redis, newer))
            longer = self.weight_names.merge(await read_names(redis, self.weight_names.fingerprints()))
            now = asyncio.get_running_loop().time()
            if now >= self._renew_at:
                longer, self._renew_at = self.weight_names.in_use(), now + _RENEWAL * self.ttl_s
            if longer:
                await self._is_accepted(write_names(redis, longer, ttl_s=self.ttl_s))
            # By the names, on which replicas agree only now.
            self.results.merge(await read_results(redis, self.results.wanted()))
            if found := self.results.take_unwritten():
                await self._is_accepted(write_results(redis, found))

    async def _keep_writing(self, redis: Redis) -> NoReturn:
        while True:
            batch = await self._write_queue.take(_PAIRS_PER_WRITE)
            began = perf_counter()
            try:
                async with asyncio.timeout(self.background_timeout_s):
                    is_accepted = await self._is_accepted(redis.set_all(batch, ttl_s=self.ttl_s))
            except _FAILURES as exc:
                self._count(exc)
                raise
            finally:
                self.metrics.redis_call("store", perf_counter() - began)
            self._write_queue.written()
            if not is_accepted:
                # What refuses one write refuses the next.
                await asyncio.sleep(self.exchange_interval_s)

    async def _is_accepted(self, writing: Awaitable[None]) -> bool:
        """True when the server accepts a write; one that is full or read-only refuses, and can still be read."""
        try:
            await writing
        except ResponseError as exc:
            self.metrics.redis_failed("refused")
            if not self._logged_refused:
                self._log.warning("redis_refuses_writes", reason=self._reason(exc))
            self._logged_refused = True
            return False
        if self._logged_refused:
            self._log.info("redis_takes_writes")
        self._logged_refused = False
        return True

    def _leave_out(self, exc: BaseException) -> None:
        """Leave the tier out of lookups until the breaker lets it be tried again."""
        self.breaker.trip(asyncio.get_running_loop().time())
        self._write_queue.clear()
        if self._logged_usable is not False:
            self._logged_usable = False
            self._log.warning("redis_down", reason=self._reason(exc))

    def _count(self, exc: Exception) -> None:
        self.metrics.redis_failed("timeout" if isinstance(exc, TimeoutError) else "error")

    def _reason(self, exc: BaseException) -> str:
        """The reason for the log, without the password, which a server that doesn't know AUTH repeats in its answer."""
        reason = str(exc) or "no answer in time"
        return reason.replace(self._primaries.password or "\0", "**********")[:_LONGEST_REASON]
