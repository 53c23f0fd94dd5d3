"""Everything that scores, put together."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from secrets import token_bytes
from typing import TYPE_CHECKING

from app.aio import StallDetector
from app.cache import replica_sync
from app.cache.memory_tier import MemoryTier
from app.cache.score_cache import ScoreCache
from app.policy.breaker import Breaker
from app.policy.pair_digest import SECRET_BYTES
from app.queueing.admission import Admission
from app.queueing.scheduler import Scheduler
from app.scoring.attempts import Attempts
from app.scoring.call_outcomes import CallOutcomes
from app.scoring.fallback import Fallback
from app.scoring.gateway import Gateway
from app.scoring.singleflight import Singleflight
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.telemetry.metrics.catalog import caches, process, requests, workers
from app.workers.connect import LinkFactory, connect
from app.workers.discovery import sources
from app.workers.discovery.source import Source
from app.workers.membership import Membership
from app.workers.prober import Prober
from app.workers.registry import Registry
from app.workers.token_counter import TokenCounter

if TYPE_CHECKING:
    from app.cache.redis_tier import RedisTier

Search = Callable[[Sequence[str], Random], Sequence[Source]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """Everything that scores, without its HTTP side."""

    registry: Registry
    prober: Prober
    membership: Membership
    scheduler: Scheduler
    admission: Admission
    cache: ScoreCache
    redis: "RedisTier | None"
    singleflight: Singleflight
    gateway: Gateway
    metrics: Metrics
    stalls: StallDetector

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Find and watch workers until the end of the block, then let go of their connections."""
        with self.stalls.running():
            async with self.redis.running() if self.redis else nullcontext(), self.membership.running():
                yield


def assemble(
    settings: Settings, *, link_factory: LinkFactory = connect, search: Search = sources, rng: Random | None = None
) -> Assembly:
    """Put the engine together.

    Args:
        settings: Checked and frozen.
        link_factory: Makes the link to each worker; where tests put workers of their own.
        search: Makes the sources of workers; where tests put sources of their own.
        rng: Chance for balancing and jitter; tests seed it.
    """
    rng = rng or Random()  # noqa: S311 - balancing and jitter, no secrets
    metrics, stalls = Metrics(), StallDetector()
    registry = Registry(search(settings.workers, rng), settings)
    prober = Prober(settings, stalls=stalls, metrics=metrics, rng=rng)
    scheduler = Scheduler(registry, settings, rng=rng)
    admission = Admission(scheduler, settings)
    cache, redis = _cache(settings, metrics)
    attempts = Attempts(
        scheduler=scheduler,
        registry=registry,
        outcomes=CallOutcomes(registry=registry, scheduler=scheduler, prober=prober, stalls=stalls),
        cache=cache,
        metrics=metrics,
        settings=settings,
        rng=rng,
    )
    singleflight = Singleflight(attempts=attempts, admission=admission, scheduler=scheduler)
    gateway = Gateway(
        registry=registry,
        cache=cache,
        singleflight=singleflight,
        admission=admission,
        scheduler=scheduler,
        token_counter=TokenCounter(registry=registry, prober=prober, stalls=stalls),
        fallback=None if settings.fallback == "none" else Fallback(registry, admission, settings, metrics),
        settings=settings,
        metrics=metrics,
    )
    assembly = Assembly(
        registry=registry,
        prober=prober,
        membership=Membership(registry, settings, prober=prober, metrics=metrics, link_factory=link_factory),
        scheduler=scheduler,
        admission=admission,
        cache=cache,
        redis=redis,
        singleflight=singleflight,
        gateway=gateway,
        metrics=metrics,
        stalls=stalls,
    )
    _watch(assembly, attempts)
    return assembly


def _watch(assembly: Assembly, attempts: Attempts) -> None:
    """Have the metrics read these states at every scrape."""
    read, memory, redis = assembly.metrics.read, assembly.cache.memory, assembly.redis
    read(requests.PENDING_DOCUMENTS, lambda: assembly.admission.pending_documents)
    read(requests.QUEUE_CHUNKS, lambda: assembly.scheduler.waiting)
    read(requests.QUEUE_DOCUMENTS, lambda: assembly.scheduler.waiting_documents)
    read(workers.RETRY_BUDGET, lambda: attempts.retries_left)
    read(requests.INFLIGHT_PAIRS, lambda: assembly.singleflight.pairs)
    read(caches.PAIRS, lambda: len(memory))
    read(caches.BYTES, lambda: memory.size_bytes)
    read(process.TASKS, lambda: len(asyncio.all_tasks()))
    if redis:
        read(caches.REDIS_USABLE, lambda: redis.is_usable)


def _cache(settings: Settings, metrics: Metrics) -> tuple[ScoreCache, "RedisTier | None"]:
    generations, weight_names = replica_sync.Generations(), replica_sync.WeightNames()
    redis = None
    if settings.redis_url and settings.cache:
        # Loading the library takes a sixth of the start, which only those pay who use it.
        from app.cache.redis_tier import RedisTier  # noqa: PLC0415

        redis = RedisTier(
            settings.redis_url.get_secret_value(),
            timeout_s=settings.redis_timeout_s,
            ttl_s=settings.cache_ttl_s,
            generations=generations,
            weight_names=weight_names,
            metrics=metrics,
            breaker=Breaker(),
        )
    cache = ScoreCache(
        memory=MemoryTier(settings.cache_max_bytes),
        redis=redis,
        generations=generations,
        weight_names=weight_names,
        secret=_cache_secret(settings),
        ttl_s=settings.cache_ttl_s,
        across_keys=settings.cache_across_keys,
        metrics=metrics,
    )
    return cache, redis


def _cache_secret(settings: Settings) -> bytes:
    """The key of the digests: what replicas share scores by has to be the same for all of them."""
    written = settings.cache_secret
    if written is not None:
        return sha256(written).digest()
    return b"" if settings.redis_url else token_bytes(SECRET_BYTES)
