"""Everything that scores, put together."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from hashlib import sha256
from random import Random
from secrets import token_bytes
from typing import TYPE_CHECKING

from app.aio import StallDetector
from app.cache import replica_sync
from app.cache.check_results import CheckResults
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
from app.scoring.preparation import Preparation
from app.scoring.singleflight import Singleflight
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.telemetry.metrics.catalog import caches, process, requests, workers
from app.workers.connect import LinkFactory, connect
from app.workers.discovery import sources
from app.workers.discovery.source import Source
from app.workers.membership import Membership
from app.workers.model_check import ModelCheck
from app.workers.prober import Prober
from app.workers.profiles import Profiles
from app.workers.registry import Registry
from app.workers.token_counter import TokenCounter

if TYPE_CHECKING:
    from app.cache.redis_tier import RedisTier

Search = Callable[[Sequence[str], Random], Sequence[Source]]


class Assembly:
    """Everything that scores, put together without its HTTP side.

    Args:
        settings: Checked and frozen.
        link_factory: Makes the link to each worker; where tests put workers of their own.
        search: Makes the sources of workers; where tests put sources of their own.
        rng: Chance for balancing and jitter; tests seed it.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        link_factory: LinkFactory = connect,
        search: Search = sources,
        rng: Random | None = None,
    ) -> None:
        rng = rng or Random()  # noqa: S311 - balancing and jitter, no secrets
        self.metrics = metrics = Metrics()
        self.stalls = stalls = StallDetector()
        self.registry = registry = Registry(search(settings.workers, rng), settings)
        self.prober = prober = Prober(settings, stalls=stalls, metrics=metrics, rng=rng)
        self.membership = Membership(registry, settings, prober=prober, metrics=metrics, link_factory=link_factory)
        self.scheduler = scheduler = Scheduler(registry, settings, rng=rng)
        self.admission = admission = Admission(scheduler, settings)
        weight_names = replica_sync.WeightNames()
        results = CheckResults(weight_names)
        self.profiles = profiles = Profiles(settings, results)
        self.cache, self.redis = _cache(settings, metrics, weight_names, results)
        self.model_check = ModelCheck(
            registry,
            profiles,
            results,
            settings,
            prober=prober,
            metrics=metrics,
            ask_replicas=self.redis.exchange_soon if self.redis else None,
        )
        self.attempts = Attempts(
            scheduler=scheduler,
            registry=registry,
            outcomes=CallOutcomes(registry=registry, scheduler=scheduler, prober=prober, stalls=stalls),
            cache=self.cache,
            metrics=metrics,
            settings=settings,
            rng=rng,
        )
        self.singleflight = Singleflight(attempts=self.attempts, admission=admission, scheduler=scheduler)
        token_counter = TokenCounter(registry=registry, prober=prober, stalls=stalls)
        self.gateway = Gateway(
            registry=registry,
            profiles=profiles,
            cache=self.cache,
            singleflight=self.singleflight,
            admission=admission,
            scheduler=scheduler,
            preparation=Preparation(profiles, token_counter, settings),
            fallback=None if settings.fallback == "none" else Fallback(registry, admission, settings, metrics),
            settings=settings,
            metrics=metrics,
        )
        self._watch(settings)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Find and watch workers until the end of the block, then let go of their connections."""
        with self.stalls.running():
            async with (
                self.redis.running() if self.redis else nullcontext(),
                self.membership.running(),
                self.model_check.running(),
            ):
                yield

    def _watch(self, settings: Settings) -> None:
        """Have the metrics read these states at every scrape."""
        read, memory, redis = self.metrics.read, self.cache.memory, self.redis
        read(requests.PENDING_DOCUMENTS, lambda: self.admission.pending_documents)
        read(requests.QUEUE_CHUNKS, lambda: self.scheduler.waiting)
        read(requests.QUEUE_DOCUMENTS, lambda: self.scheduler.waiting_documents)
        read(workers.RETRY_BUDGET, lambda: self.attempts.retries_left)
        read(requests.INFLIGHT_PAIRS, lambda: self.singleflight.pairs)
        read(caches.PAIRS, lambda: len(memory))
        read(caches.BYTES, lambda: memory.size_bytes)
        read(process.TASKS, lambda: len(asyncio.all_tasks()))
        for model in settings.models:
            # From the start: nothing else tells an autoscaler of a model without workers.
            self.metrics.asked_for(model, 0)
            read(requests.MODEL_PENDING_DOCUMENTS, partial(self.admission.pending_of, model), model)
        if redis:
            read(caches.REDIS_USABLE, lambda: redis.is_usable)


def _cache(
    settings: Settings, metrics: Metrics, weight_names: replica_sync.WeightNames, results: CheckResults
) -> tuple[ScoreCache, "RedisTier | None"]:
    generations = replica_sync.Generations()
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
            results=results,
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
