"""The cache of one gateway, without the gateway: what replicas share, they share by such."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from time import time
from typing import Any

from app.cache import replica_sync
from app.cache.check_results import CheckResults
from app.cache.memory_tier import MemoryTier
from app.cache.redis_tier import RedisTier
from app.cache.score_cache import ScoreCache
from app.policy.breaker import Breaker
from app.policy.pair_digest import DIGEST_BYTES
from app.telemetry.metrics import Metrics
from tests.waiting import until


@dataclass
class Replica:
    """One replica's tier and what belongs to it."""

    tier: RedisTier
    cache: ScoreCache
    breaker: Breaker = field(repr=False)
    generations: replica_sync.Generations
    metrics: Metrics = field(repr=False)

    def store(self, scores: Mapping[bytes, float], ttl_s: int = 60) -> None:
        self.tier.store(list(scores), list(scores.values()), int(time()) + ttl_s)

    async def lookup(self, digests: Sequence[bytes]) -> list[float | None]:
        return [known and known[0] for known in await self.tier.lookup(digests)]

    async def until_usable(self) -> None:
        await until(lambda: self.tier.is_usable)

    def sample(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    @property
    def failures(self) -> float:
        return sum(self.sample("rerank_redis_failures_total", reason=reason) for reason in ("timeout", "error"))


@asynccontextmanager
async def replica(url: str, *, is_usable: bool = True, **given: Any) -> AsyncIterator[Replica]:
    """A replica that shares by the Redis at `url`, usable when the block begins unless it can't be."""
    metrics, weights = Metrics(), replica_sync.WeightNames()
    results = given.pop("results", None) or CheckResults(weights)
    generations = given.pop("generations", None) or replica_sync.Generations()
    chosen: dict[str, Any] = {"timeout_s": 0.1, "ttl_s": 60, "exchange_interval_s": 0.1} | given
    breaker = Breaker(pause_s=0.05)
    tier = RedisTier(
        url,
        generations=generations,
        weight_names=weights,
        results=results,
        metrics=metrics,
        breaker=breaker,
        **chosen,
    )
    cache = ScoreCache(
        memory=MemoryTier(2**20),
        redis=tier,
        generations=generations,
        weight_names=weights,
        secret=b"s" * 16,
        ttl_s=60,
        across_keys=False,
        metrics=metrics,
    )
    made = Replica(tier, cache, breaker, generations, metrics)
    async with tier.running():
        if is_usable:
            await made.until_usable()
        yield made


def digests(count: int, first: int = 0) -> list[bytes]:
    return [
        blake2b(number.to_bytes(8, "big"), digest_size=DIGEST_BYTES).digest() for number in range(first, first + count)
    ]


def scores_of(pairs: Sequence[bytes]) -> dict[bytes, float]:
    """A score for each, that is no other's."""
    return {digest: int.from_bytes(digest[:6], "big") / 2**48 for digest in pairs}
