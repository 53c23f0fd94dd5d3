"""The cache of pair scores: the memory tier is asked first, then the tier that replicas share."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter, time
from typing import TYPE_CHECKING, Any

from app.cache.memory_tier import MemoryTier
from app.cache.replica_sync import Generations, WeightNames
from app.policy.pair_digest import pair_digests
from app.telemetry.metrics import Metrics
from app.telemetry.metrics.catalog.requests import Source
from app.types import Chunk, Fingerprint, Pairs, RequestContext, RequestStats

if TYPE_CHECKING:
    # Loading its library takes a sixth of the start, which only those pay who use it.
    from app.cache.redis_tier import RedisTier


@dataclass(kw_only=True, eq=False, repr=False)
class ScoreCache:
    """Scores by pair.

    Args:
        memory: The tier of this process.
        redis: The tier that replicas share, if there is one.
        generations: Of the models.
        weight_names: Their names, as replicas agree on them.
        secret: Of the digests, at most 64 bytes.
        ttl_s: How long scores are kept.
        across_keys: Whether API keys share scores.
        metrics: Count hits and evictions.
        clock: Seconds since 1970.
    """

    memory: MemoryTier
    redis: "RedisTier | None"
    generations: Generations
    weight_names: WeightNames
    secret: bytes
    ttl_s: int
    across_keys: bool
    metrics: Metrics
    clock: Callable[[], float] = time

    def digests(
        self, pairs: Pairs, fingerprint: Fingerprint, fields: Mapping[str, Any], context: RequestContext
    ) -> Sequence[bytes]:
        """The digests of the pairs, their names in the cache; none for a request with `no-store`."""
        if context.cache == "no-store":
            return ()
        agreed = self._agreed(fingerprint)
        return pair_digests(
            pairs,
            secret=self.secret,
            tenant="" if self.across_keys else context.key,
            generation=self.generations.of(fingerprint.model),
            fingerprint=agreed,
            fields=fields,
        )

    async def lookup(self, chunk: Chunk) -> Sequence[float | None]:
        """The score of each of a chunk's pairs; None where it isn't known."""
        if not chunk.digests or chunk.context.cache == "no-cache":
            return [None] * len(chunk.pairs)
        stats, began = chunk.context.stats, perf_counter()
        try:
            scores = self.memory.lookup(chunk.digests, self.clock())
            unknown = scores.count(None)
            self._count("memory", len(scores) - unknown, stats)
            if unknown and self.redis:
                self._count("redis", await self._fill(scores, chunk.digests, self.redis), stats)
        finally:
            stats.cache_s += perf_counter() - began
        return scores

    def store(self, chunk: Chunk, scores: Sequence[float]) -> None:
        """Keep the scores that a worker gave a chunk."""
        if not chunk.digests:
            return
        expiry = int(self.clock()) + self.ttl_s
        self.metrics.evicted(self.memory.store(chunk.digests, scores, expiry))
        if self.redis:
            self.redis.store(chunk.digests, scores, expiry)

    def flush(self, model: str) -> None:
        """Forget all scores of a model, here at once, on other replicas within seconds."""
        self.generations.flush(model, self.clock())
        if self.redis:
            self.redis.exchange_soon()

    async def _fill(self, scores: list[float | None], digests: Sequence[bytes], redis: "RedisTier") -> int:
        """Add the scores that the shared tier knows, and keep them in memory. Returns how many those were."""
        missing = [place for place, score in enumerate(scores) if score is None]
        found = await redis.lookup([digests[place] for place in missing])
        by_expiry: defaultdict[int, dict[bytes, float]] = defaultdict(dict)
        for place, known in zip(missing, found, strict=True):
            if known:
                score, expiry = known
                scores[place] = by_expiry[expiry][digests[place]] = score
        for expiry, fresh in by_expiry.items():
            self.metrics.evicted(self.memory.store([*fresh], [*fresh.values()], expiry))
        return len(found) - found.count(None)

    def _agreed(self, fingerprint: Fingerprint) -> Fingerprint:
        """The fingerprint with the name that all replicas have for its weights."""
        agreed = self.weight_names.agreed(fingerprint)
        if agreed is None:
            agreed = self.weight_names.add(fingerprint)
            if self.redis:
                self.redis.exchange_soon()
        return agreed

    def _count(self, source: Source, documents: int, stats: RequestStats) -> None:
        stats.cache_hits += documents
        self.metrics.documents(source, documents)
